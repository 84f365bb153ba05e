//! Runs a built gateway: listeners up, signals watched, drained on the way out.
//!
//! Not here: building it (`wire`), what a drain means to a connection (`drain`) and what is closed after it (`closing`). Invariant:
//! readiness goes before anything else, and a disk that failed ends the process.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::closing::{self, Open};
use crate::door::Listeners;
use crate::wire::{Built, Gateway};
use aegis_corridor::shadow::ShadowThread;
use aegis_gateway_region::evidence;

/// Asks a running gateway to drain and stop, as SIGTERM does.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Notify>);

impl Stop {
    pub fn request(&self) {
        self.0.notify_one();
    }

    async fn requested(&self) {
        self.0.notified().await;
    }
}

/// How often overdue holds are charged.
const REAP_EVERY: Duration = Duration::from_secs(5);
/// How soon a revoked stream ends.
const REVOKED_EVERY: Duration = Duration::from_secs(1);
/// What the kernel gets to take the last bytes.
const FLUSH: Duration = Duration::from_millis(50);
/// How many holds one round charges at most.
const REAP_MAX: usize = 1_024;

/// Who asked a gateway to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoppedBy {
    Signal,
    Request,
    /// What must be on disk cannot be put there, and only the next start tells what was.
    Failure,
}

/// Serves until told to stop, then drains.
pub fn run(built: Built) -> anyhow::Result<StoppedBy> {
    let Built { gateway, stop, recovery, settled, follower, control, region, shadow_jobs } = built;
    control.block_on(aegis_corridor::recover::settle(&gateway.corridor, recovery))?;
    settled.mark();
    let reaper = control.spawn(reap(Arc::clone(&gateway)));
    let reloader = {
        let _entered = control.enter();
        let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be watched")?;
        control.spawn(reload_on_hangup(Arc::clone(&gateway), hangup))
    };
    let revoking = control.spawn(end_if_revoked(Arc::clone(&gateway)));
    let shadow = ShadowThread::start(Arc::clone(&gateway.corridor), shadow_jobs)?;
    let drained = Arc::clone(&gateway);
    let by = Arc::new(OnceLock::new());
    let told = Arc::clone(&by);
    let listeners = Listeners::new(&gateway)?;
    let region = region.run(control.handle())?;
    listeners.run_until(async move {
        let by = stopped(&drained, &stop).await;
        told.get_or_init(|| by);
    });
    reaper.abort();
    reloader.abort();
    revoking.abort();
    drop(shadow);
    closing::close(Open { gateway, control, region, follower })?;
    match by.get().copied().unwrap_or(StoppedBy::Signal) {
        StoppedBy::Failure => {
            anyhow::bail!("the disk of the hot state failed; the next start finds what reached it")
        }
        by => Ok(by),
    }
}

async fn reap(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(REAP_EVERY).await;
        match gateway.corridor.state.reap(aegis_corridor::clock::now(), REAP_MAX).await {
            Ok(0) => {}
            Ok(holds) => tracing::warn!(holds, "holds expired and were charged at their estimate"),
            Err(error) => tracing::error!(%error, "overdue holds could not be charged"),
        }
    }
}

/// SIGHUP asks for the policies to be read again, as it does elsewhere.
async fn reload_on_hangup(gateway: Arc<Gateway>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        gateway.reloading.run(&gateway).await;
    }
}

/// Ends this life once its operator says that somebody else may have the key of its audit stream; the next one has another.
async fn end_if_revoked(gateway: Arc<Gateway>) {
    let journal = &gateway.corridor.journal;
    let mut is_told = false;
    loop {
        tokio::time::sleep(REVOKED_EVERY).await;
        match evidence::revoked(&gateway.corridor.config.data_dir, journal.origin()) {
            Ok(Some(reason)) => {
                tracing::error!(stream = %journal.origin(), reason, "the audit stream's key was revoked");
                return journal.revoke(&reason);
            }
            Ok(None) => is_told = false,
            // Whoever wrote it may be another user, and believes that the stream ends.
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::error!(%error, "revoked.txt is there and cannot be read, so no revocation is heeded");
                }
            }
        }
    }
}

/// Returns when the listeners may close: a signal came, others had time to see "not ready", and every call is settled.
async fn stopped(gateway: &Gateway, stop: &Stop) -> StoppedBy {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be watched, so the gateway stops at once");
        return StoppedBy::Signal;
    };
    let by = tokio::select! {
        _ = terminate.recv() => StoppedBy::Signal,
        _ = interrupt.recv() => StoppedBy::Signal,
        () = stop.requested() => StoppedBy::Request,
        () = gateway.corridor.journal.disk_failed() => StoppedBy::Failure,
        () = gateway.corridor.state.failed() => StoppedBy::Failure,
    };
    match by {
        StoppedBy::Failure => {
            tracing::error!(
                "what was told before is final for this life: draining, to end and be started again"
            )
        }
        StoppedBy::Signal | StoppedBy::Request => tracing::info!("draining"),
    }
    gateway.corridor.drain.start();
    tokio::time::sleep(gateway.corridor.config.limits.drain).await;
    gateway.corridor.drain.close();
    if timeout(gateway.corridor.config.limits.grace, gateway.corridor.drain.settled())
        .await
        .is_err()
    {
        let calls = gateway.corridor.drain.calls();
        tracing::warn!(
            calls,
            "calls were still under way when the grace ended; the next start settles them"
        );
    }
    // The last answers may still be in a socket buffer's hands.
    tokio::time::sleep(FLUSH).await;
    by
}
