//! The schema pass: every field of every record, outcomes paired with decisions, sums of seals.
//!
//! Not here: chains and signatures (`stream`). Invariant: memory grows with the decisions that have no outcome yet, not
//! with the log.

use std::collections::HashMap;

use aegis_domain::{DecisionId, Effect, MicroUsd};

use super::report::{Flaw, Report, UNSETTLED_LISTED, Unsettled};
use crate::Origin;
use crate::record::{DecisionEntry, Entry, Kind, OutcomeDue, OutcomeEntry, SealEntry, Tally};
use crate::walk::Step;

/// Decisions that wait for their outcomes, over all streams of a run.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    open: HashMap<Origin, HashMap<u64, DecisionId>>,
}

/// What the pass keeps of one stream.
#[derive(Debug)]
pub(super) struct Schema {
    origin: Origin,
    open: HashMap<u64, DecisionId>,
    seal_first: u64,
    tally: Tally,
}

impl Pairs {
    pub(super) fn begin(origin: &Origin) -> Schema {
        let (origin, open) = (origin.clone(), HashMap::new());
        Schema { origin, open, seal_first: 0, tally: Tally::default() }
    }

    pub(super) fn end(&mut self, schema: Schema) {
        if !schema.open.is_empty() {
            self.open.insert(schema.origin, schema.open);
        }
    }

    pub(super) fn finish(&self, report: &mut Report) {
        let mut all: Vec<Unsettled> = Vec::new();
        for (origin, open) in &self.open {
            let of = |(seq, id): (&u64, &DecisionId)| Unsettled {
                origin: origin.clone(),
                seq: *seq,
                id: *id,
            };
            all.extend(open.iter().map(of));
        }
        report.unsettled_count = u64::try_from(all.len()).unwrap_or(u64::MAX);
        all.sort_by(|a, b| (&a.origin, a.seq).cmp(&(&b.origin, b.seq)));
        all.truncate(UNSETTLED_LISTED);
        report.unsettled = all;
    }

    fn settle(&mut self, schema: &mut Schema, outcome: &OutcomeEntry) -> Result<(), Flaw> {
        let open = match &outcome.of.origin {
            None => Some(&mut schema.open),
            Some(origin) => self.open.get_mut(origin),
        };
        match open.and_then(|open| open.remove(&outcome.of.seq)) {
            Some(id) if id == outcome.of.id => Ok(()),
            Some(_) => Err(Flaw::OutcomeOther),
            None => Err(Flaw::OutcomeAlone),
        }
    }
}

impl Schema {
    /// Reads one record.
    pub(super) fn record(&mut self, pairs: &mut Pairs, step: &Step<'_>) -> Result<(), Flaw> {
        let entry = Entry::parse(step.record).map_err(Flaw::Record)?;
        let count = |tally: &mut Tally, kind: Kind, effect: Option<Effect>, cost: MicroUsd| {
            tally.add(kind, effect, (step.head.ts, cost));
        };
        match entry {
            Entry::Decision(decision) => {
                count(&mut self.tally, Kind::Decision, Some(decision.decision), MicroUsd::ZERO);
                self.open(step.head.seq, &decision);
                Ok(())
            }
            Entry::Outcome(outcome) => {
                count(&mut self.tally, Kind::Outcome, None, outcome.cost);
                pairs.settle(self, &outcome)
            }
            Entry::Seal(seal) => self.seal(step.head.seq, seal),
            Entry::Genesis(_) | Entry::Clock(_) | Entry::AnchorRef(_) | Entry::Close => {
                count(&mut self.tally, Kind::Clock, None, MicroUsd::ZERO);
                Ok(())
            }
            Entry::Born(_)
            | Entry::Anchor(_)
            | Entry::Failed(_)
            | Entry::Closed(_)
            | Entry::Head(_)
            | Entry::Gap(_) => Err(Flaw::Registry(crate::registry::RegistryFlaw::Kind)),
        }
    }

    fn open(&mut self, seq: u64, decision: &DecisionEntry) {
        let sent = matches!(decision.decision, Effect::Allow | Effect::Sanitize);
        if sent && decision.outcome == OutcomeDue::Follows {
            self.open.insert(seq, decision.id);
        }
    }

    fn seal(&mut self, seq: u64, seal: SealEntry) -> Result<(), Flaw> {
        let agrees = seal.first == self.seal_first && seal.tally == self.tally;
        (self.seal_first, self.tally) = (seq.saturating_add(1), Tally::default());
        if agrees { Ok(()) } else { Err(Flaw::Sums) }
    }
}
