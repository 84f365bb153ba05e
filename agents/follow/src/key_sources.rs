//! The published keys of foreign issuers, fetched in the background on a schedule.
//!
//! Not here: the tokens they sign (`identity`). Invariant: no token causes a fetch, and keys that were had stay until
//! others come in their place; an issuer that publishes an empty set is believed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use aegis_identity::KeySet;
use arc_swap::ArcSwap;
use tracing::warn;

use crate::fetch::Fetch;

const TIMEOUT: Duration = Duration::from_secs(10);
/// As much as `identity` reads of one.
const BYTES_MAX: u64 = 64 * 1_024;
/// An issuer that cannot be reached is asked again this soon.
const RETRY: Duration = Duration::from_secs(15);

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `ca`, in PEM, replaces the public authorities.
    Url {
        url: String,
        ca: Option<String>,
    },
    File(PathBuf),
}

/// The keys of several issuers, by the order they were given in.
#[derive(Debug)]
pub struct KeySources {
    current: Arc<ArcSwap<Vec<Option<KeySet>>>>,
    /// Ends the thread when it is dropped.
    _stop: Sender<()>,
}

impl KeySources {
    /// Begins to fetch; what is a SPIFFE bundle says so beside its source. What is a file is there at once.
    pub fn start(sources: Vec<(KeySource, bool)>, every: Duration) -> Self {
        let (stop, stopped) = channel();
        let files = sources.iter().map(|source| match &source.0 {
            KeySource::File(_) => fetch(source).ok(),
            KeySource::Url { .. } => None,
        });
        let current = Arc::new(ArcSwap::from_pointee(files.collect()));
        let shared = Arc::clone(&current);
        if !sources.is_empty() {
            let thread = thread::Builder::new().name("aegis-issuers".into());
            let started = thread.spawn(move || refresh(&sources, every, &shared, &stopped));
            if let Err(error) = started {
                warn!(cause = %error, "issuers' keys are not refreshed");
            }
        }
        Self { current, _stop: stop }
    }

    /// The keys as they are; `None` where none were ever had.
    pub fn current(&self) -> Arc<Vec<Option<KeySet>>> {
        self.current.load_full()
    }
}

fn refresh(
    sources: &[(KeySource, bool)],
    every: Duration,
    current: &ArcSwap<Vec<Option<KeySet>>>,
    stopped: &Receiver<()>,
) {
    loop {
        let before = current.load_full();
        let mut failed = false;
        let sets =
            sources.iter().zip(before.iter()).enumerate().map(
                |(index, (source, held))| match fetch(source) {
                    Ok(keys) => Some(keys),
                    Err(cause) => {
                        failed = true;
                        warn!(issuer = index, cause, "an issuer's keys cannot be refreshed");
                        held.clone()
                    }
                },
            );
        current.store(Arc::new(sets.collect()));
        let wait = if failed { RETRY.min(every) } else { every };
        match stopped.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn fetch((source, is_spiffe): &(KeySource, bool)) -> Result<KeySet, String> {
    let bytes = match source {
        KeySource::File(path) => std::fs::read(path).map_err(|error| error.to_string())?,
        KeySource::Url { url, ca } => Fetch::new(ca.as_deref(), TIMEOUT, BYTES_MAX)
            .and_then(|fetch| fetch.get(url, None))
            .map_err(|error| error.to_string())?,
    };
    let read = if *is_spiffe { KeySet::from_spiffe_bundle } else { KeySet::from_jwks };
    read(&bytes).map_err(|error| error.to_string())
}
