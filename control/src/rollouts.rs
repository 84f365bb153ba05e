//! What moves rollouts on: the voter that leads looks at those under way each second, and proposes what gateways told the voters
//! that they saw. A rollout that a gateway refuses is paused.
//!
//! Not here: when a stage ends and a guard is breached (`policies/rollout`), and what gateways report. Invariant: nothing is kept
//! here, so any voter goes on from the ledger; of two that propose at once the ledger takes one.

use std::fmt;
use std::time::Duration;

use aegis_domain::Timestamp;
use aegis_ledger::{LineKey, Pointer, ReleaseAct, ReleaseRefusal};
use aegis_policy_rollout::{Observed, Progress};
use aegis_registry::Actor;
use async_trait::async_trait;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use crate::problem::Problem;
use crate::{Control, clock};

const EVERY: Duration = Duration::from_secs(1);
/// Stands in the ledger for what no person did.
const DRIVER: &str = "rollout driver";

/// A stage of a rollout that gateways are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub line: LineKey,
    /// The rollout's id; none has it twice.
    pub rollout: Box<str>,
    /// Counted from zero.
    pub stage: usize,
    /// Since when the stage has its agents: it began, was resumed, or its guards let go of it.
    pub since: Timestamp,
    pub stable: u32,
    pub candidate: u32,
}

impl Watched {
    /// The stage that a pointer is in, if a rollout is under way.
    pub fn of(line: &LineKey, pointer: &Pointer) -> Option<Self> {
        let rollout = pointer.under_way()?;
        let (stage, since) = match rollout.progress {
            Progress::Running { stage, since } | Progress::Held { stage, since, .. } => {
                (stage, since)
            }
            Progress::Complete | Progress::RolledBack { .. } | Progress::Aborted => return None,
        };
        Some(Self {
            line: line.clone(),
            rollout: rollout.plan.id().into(),
            stage,
            since,
            stable: pointer.choice.active,
            candidate: rollout.candidate,
        })
    }
}

/// Knows what gateways saw both versions do.
#[async_trait]
pub trait Observations: Send + Sync + fmt::Debug {
    /// What they did since the stage began, over all gateways; `None` where nobody can say, and then nothing moves on.
    async fn observed(&self, watched: &Watched) -> Option<Observed>;

    /// A gateway that does not take what the line's pointer says at this epoch, if there is one.
    async fn refusing(&self, watched: &Watched, epoch: u64) -> Option<Box<str>>;
}

/// Goes on for ever; the voter that leads does it, so that gateways are asked about once.
pub(crate) async fn drive(control: &Control) {
    let Ok(driver) = Actor::parse(DRIVER) else { return };
    let mut tick = tokio::time::interval(EVERY);
    // A slow round is not made up for.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let status = control.node.status();
        if status.leader == Some(status.node) {
            round(control, &driver).await;
        }
    }
}

async fn round(control: &Control, driver: &Actor) {
    let under_way: Vec<(Watched, u64, bool)> = {
        let ledger = control.node.ledger();
        let lines = ledger.releases().lines();
        let pointers = lines.filter_map(|(key, line)| Some((key, line.pointer()?)));
        let is_paused = |it: &Pointer| it.under_way().is_some_and(|rollout| rollout.is_paused);
        let of = |(key, it)| Some((Watched::of(key, it)?, it.epoch, is_paused(it)));
        pointers.filter_map(of).collect()
    };
    for (watched, epoch, is_paused) in under_way {
        if !is_paused && pause_refused(control, driver, (&watched, epoch)).await {
            continue;
        }
        let Some(observed) = control.observations.observed(&watched).await else { continue };
        let next = {
            let ledger = control.node.ledger();
            let line = ledger.releases().line(&watched.line);
            line.and_then(|line| line.next_progress(clock::now(), &observed))
        };
        let Some(next) = next else { continue };
        let (line, seen) = (watched.line.clone(), epoch);
        let act = ReleaseAct::Observe { line, seen, observed };
        tell(&watched, Some(next), control.release(driver, act, None).await.err());
    }
}

/// What one gateway cannot use, others may not be able to use either, and the stable version still serves that one's agents.
async fn pause_refused(
    control: &Control,
    driver: &Actor,
    (watched, epoch): (&Watched, u64),
) -> bool {
    let Some(gateway) = control.observations.refusing(watched, epoch).await else {
        return false;
    };
    let act = ReleaseAct::Pause { line: watched.line.clone(), seen: Some(epoch) };
    let (tenant, environment) = (&watched.line.tenant, &watched.line.environment);
    let candidate = watched.candidate;
    match control.release(driver, act, None).await {
        Ok(_) => {
            warn!(%tenant, %environment, candidate, %gateway, "a rollout is paused: a gateway refuses it")
        }
        Err(problem) => tell(watched, None, Some(problem)),
    }
    true
}

fn tell(watched: &Watched, next: Option<Progress>, failed: Option<Problem>) {
    let Watched { line, candidate, .. } = watched;
    let (tenant, environment) = (&line.tenant, &line.environment);
    match (failed, next) {
        // Somebody changed the pointer in this moment; the next round sees what it is now.
        (Some(Problem::Release(ReleaseRefusal::Moved { .. } | ReleaseRefusal::NothingToDo)), _) => {
        }
        (Some(problem), _) => {
            warn!(%tenant, %environment, cause = %problem, "a rollout was not moved on");
        }
        (None, Some(Progress::RolledBack { by })) => {
            warn!(%tenant, %environment, candidate, ?by, "a candidate was rolled back");
        }
        (None, Some(Progress::Held { by, .. })) => {
            warn!(%tenant, %environment, candidate, ?by, "a rollout is held");
        }
        (None, Some(Progress::Running { .. } | Progress::Complete | Progress::Aborted) | None) => {
            info!(%tenant, %environment, candidate, ?next, "a rollout moved on");
        }
    }
}
