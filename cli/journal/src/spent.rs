//! What the audit journal says was spent: each call's cost, in every budget that its decision names.
//!
//! Not here: reading files (`cursor`), and what the region counts (`aegisctl budget reconcile`). A record names a call's team by the
//! budgets it was counted against, as it names agent, tool and tenant, so nothing is guessed from who is in a team today.
//! Invariant: a call counts once, in the hour in which it was decided, whichever record tells its cost.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use aegis_audit_chain::record::{DecisionEntry, Entry, Mode, OutcomeDue, OutcomeEntry};
use aegis_domain::{BudgetKey, DecisionId, Effect, MicroUsd, Timestamp};

use crate::{Cursor, JournalError, open, record};

const MS_PER_HOUR: u64 = 60 * 60 * 1_000;

/// The sums of one or more journals, kept up with what is written to them.
#[derive(Debug)]
pub struct Spent {
    directories: Vec<PathBuf>,
    cursors: Vec<Cursor>,
    since: Timestamp,
    /// What was decided before may not be here.
    known_since: Timestamp,
    /// Every window begins with an hour of UTC, so sums by the hour are enough for all of them.
    ended: BTreeMap<BudgetKey, BTreeMap<u64, MicroUsd>>,
    /// Calls that were let through and whose end is not on record.
    open: HashMap<DecisionId, Open>,
    strays: usize,
}

#[derive(Debug)]
struct Open {
    budgets: Vec<BudgetKey>,
    held: MicroUsd,
}

/// What one budget should have spent and hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub ended: MicroUsd,
    pub open: MicroUsd,
}

impl Spent {
    /// Counts calls that were decided since.
    pub fn new(directories: Vec<PathBuf>, since: Timestamp) -> Self {
        let (cursors, open) = (Vec::new(), HashMap::new());
        let known_since = Timestamp::from_unix_ns(0);
        Self { directories, cursors, since, known_since, ended: BTreeMap::new(), open, strays: 0 }
    }

    /// Reads on from where the last reading ended.
    pub fn read(&mut self) -> Result<(), JournalError> {
        let mut cursors = std::mem::take(&mut self.cursors);
        for directory in &self.directories {
            let known = |stream: &Cursor| cursors.iter().any(|it| it.folder() == stream.folder());
            let born: Vec<_> =
                open(directory)?.into_iter().filter(|stream| !known(stream)).collect();
            cursors.extend(born);
        }
        let begins = cursors.iter().filter_map(Cursor::begins_after);
        self.known_since = begins.fold(self.known_since, Timestamp::max);
        for cursor in &mut cursors {
            cursor.read(&mut |origin, bytes| {
                match record(origin, bytes)?.entry {
                    Entry::Decision(decision) => self.decided(&decision),
                    Entry::Outcome(outcome) => self.ended(&outcome),
                    Entry::Genesis(_)
                    | Entry::Clock(_)
                    | Entry::AnchorRef(_)
                    | Entry::Change(_)
                    | Entry::TenantSeal(_)
                    | Entry::Seal(_)
                    | Entry::Close
                    | Entry::Born(_)
                    | Entry::Anchor(_)
                    | Entry::Failed(_)
                    | Entry::Revoked(_)
                    | Entry::Closed(_)
                    | Entry::Head(_)
                    | Entry::Gap(_) => {}
                }
                Ok::<(), JournalError>(())
            })?;
        }
        self.cursors = cursors;
        Ok(())
    }

    fn decided(&mut self, decision: &DecisionEntry) {
        let sent = matches!(decision.decision, Effect::Allow | Effect::Sanitize)
            && decision.outcome == OutcomeDue::Follows
            && decision.mode == Mode::Enforce;
        let (Some(tenant), Some(hold)) = (&decision.tenant, &decision.budget) else { return };
        if !sent || decision.id.unix_ms() < self.since.unix_ms() {
            return;
        }
        let budgets =
            hold.keys.iter().filter_map(|name| BudgetKey::parse(tenant.clone(), name).ok());
        let open = Open { budgets: budgets.collect(), held: hold.held };
        self.open.insert(decision.id, open);
    }

    fn ended(&mut self, outcome: &OutcomeEntry) {
        let id = outcome.of.id;
        let Some(call) = self.open.remove(&id) else {
            let since = self.known_since.max(self.since);
            let is_late = id.unix_ms() >= since.unix_ms() && outcome.cost > MicroUsd::ZERO;
            self.strays = self.strays.saturating_add(usize::from(is_late));
            return;
        };
        for budget in call.budgets {
            let sum = self.ended.entry(budget).or_default().entry(hour(&id)).or_default();
            *sum = sum.saturating_add(outcome.cost);
        }
    }

    /// What was decided before may have been shipped and deleted here, so sums over it say nothing.
    pub fn known_since(&self) -> Timestamp {
        self.known_since
    }

    /// How many outcomes there are whose decision no journal here holds.
    pub fn strays(&self) -> usize {
        self.strays
    }

    /// The budgets that any call counted against.
    pub fn budgets(&self) -> impl Iterator<Item = &BudgetKey> {
        self.ended.keys().chain(self.open.values().flat_map(|call| &call.budgets))
    }

    /// What a budget's calls cost that were decided since an hour began.
    pub fn sum(&self, budget: &BudgetKey, began_at: Timestamp) -> Sum {
        let first = began_at.unix_ms() / MS_PER_HOUR;
        let total = |sum: MicroUsd, more: MicroUsd| sum.saturating_add(more);
        let ended = self.ended.get(budget).into_iter().flat_map(|hours| hours.range(first..));
        let open = self
            .open
            .iter()
            .filter(|(id, call)| hour(id) >= first && call.budgets.contains(budget));
        Sum {
            ended: ended.map(|(_, sum)| *sum).fold(MicroUsd::ZERO, total),
            open: open.map(|(_, call)| call.held).fold(MicroUsd::ZERO, total),
        }
    }
}

/// A call counts in the window of the time its id was made with, which is the time the hot state was told.
fn hour(id: &DecisionId) -> u64 {
    id.unix_ms() / MS_PER_HOUR
}
