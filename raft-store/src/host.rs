//! What a voter takes from the machine it runs on: tasks, threads that may block, and the wall clock.
//!
//! Not here: its disk (`disk`) and its network (`wire`). Invariant: nothing else in this crate asks the machine for these, so
//! that in tests a simulated one can stand in.

use std::time::SystemTime;

use aegis_domain::Timestamp;
use openraft::AsyncRuntime as _;
use tokio::task::{JoinError, JoinHandle};

#[cfg(test)]
pub(crate) use crate::tests::sim::host::Runtime;
#[cfg(not(test))]
pub(crate) use openraft::TokioRuntime as Runtime;

pub(crate) fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    Runtime::spawn(work)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(test)]
    if crate::tests::sim::host::now().is_some() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Has something done beside everything else, by a thread that may take its time; at once where nothing runs beside anything.
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) {
    #[cfg(test)]
    if crate::tests::sim::host::now().is_some() {
        return work();
    }
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(work)),
        Err(_) => work(),
    }
}

/// By this machine's clock, which may be wrong (`clocks`).
pub(crate) fn now() -> Timestamp {
    #[cfg(test)]
    if let Some(now) = crate::tests::sim::host::now() {
        return now;
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ns(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
