//! Telling the region what this gateway runs: on every change, and every few seconds.
//!
//! Not here: what comes of it (`control`). Invariant: nothing waits for a report, and a region that does not hear one
//! changes nothing here.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use aegis_domain::Region;
use aegis_ledger::{LineKey, Pointer, Rollout};
use aegis_policy_rollout::{Observed, Progress};
use tracing::warn;

use crate::error::FollowError;
use crate::follow::{Installer, Standing, Standings};
use crate::source::Source;
use crate::wire::{LineReport, Report, RolloutReport};

const EVERY: Duration = Duration::from_secs(3);
/// Whoever mends these sees the next.
const UNUSABLE_TOLD_MAX: usize = 100;

pub(crate) struct Teller {
    pub(crate) gateway: String,
    pub(crate) build: String,
    pub(crate) region: Region,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) installer: Arc<dyn Installer>,
    pub(crate) standings: Standings,
}

impl Teller {
    /// Until whoever changes things is gone.
    pub(crate) fn run(self, changes: &Receiver<()>) {
        let mut was_heard = true;
        loop {
            let told = self.source.report(&self.gateway, &self.report());
            // Said once: the follower says more often that the region is silent.
            if let (Err(error), true) = (&told, was_heard) {
                warn!(%error, "the region does not hear what this gateway runs");
            }
            was_heard = told.is_ok();
            match changes.recv_timeout(EVERY) {
                // One report tells of all that changed meanwhile.
                Ok(()) => changes.try_iter().for_each(drop),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn report(&self) -> Report {
        let standings = self.standings.lock().clone();
        let lines = standings.into_iter().map(|(line, standing)| self.line(line, standing));
        let (build, region, lines) = (self.build.clone(), self.region.clone(), lines.collect());
        let mut unusable = self.installer.unusable();
        unusable.truncate(UNUSABLE_TOLD_MAX);
        Report { build, region, lines, unusable }
    }

    fn line(&self, line: LineKey, standing: Standing) -> LineReport {
        let pointer = standing.held.map(|statement| statement.pointer);
        let under_way = pointer.as_ref().and_then(Pointer::under_way);
        let observed = self.installer.observed(&line);
        LineReport {
            rollout: under_way.zip(observed).and_then(|(rollout, seen)| told(rollout, seen)),
            epoch: pointer.as_ref().map_or(0, |pointer| pointer.epoch),
            version: pointer.as_ref().map_or(0, |pointer| pointer.choice.active),
            since_s: standing.since_s,
            refused: standing.refused,
            line,
        }
    }
}

/// What whoever runs the region is told of a gateway that outlived an older state of it.
pub(crate) fn set_back(line: &LineKey, error: &FollowError) -> String {
    let (tenant, env) = (&line.tenant, &line.environment);
    let what = match error {
        FollowError::Older { epoch, held, .. } => {
            format!("the region is at epoch {epoch}, not {held}")
        }
        other => other.to_string(),
    };
    format!(
        "{what}: it was set back, as by a restore, and this gateway goes on with what it holds; see what the region \
         releases, then run `aegisctl policy overtake --tenant {tenant} --env {env}`"
    )
}

/// A stage and what was seen in it.
fn told(rollout: &Rollout, observed: Observed) -> Option<RolloutReport> {
    let (stage, since) = match rollout.progress {
        Progress::Running { stage, since } | Progress::Held { stage, since, .. } => (stage, since),
        Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted => return None,
    };
    let (id, stage) = (rollout.plan.id().to_owned(), u32::try_from(stage).ok()?);
    Some(RolloutReport { id, stage, since_ns: since.unix_ns(), observed })
}
