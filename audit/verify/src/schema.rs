//! The schema pass: every field of every record, outcomes paired with decisions, sums of seals.
//!
//! Not here: chains and signatures (`stream`). Invariant: memory grows with the decisions that have no outcome yet, not
//! with the log; a pass from the middle of a stream judges nothing that depends on what stands before.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::{Entry, Kind, OutcomeDue, SealEntry, Skimmed, Tally, skim};
use aegis_audit_chain::walk::Step;
use aegis_domain::{DecisionId, Effect, MicroUsd};

use crate::report::{Flaw, Report, UNSETTLED_LISTED, Unsettled};

/// Decisions of one stream that wait for their outcomes, by number.
type Open = HashMap<u64, DecisionId, BuildHasherDefault<Spread>>;

/// Spreads record numbers over a table. Nobody can choose which collide: a stream has each number once, and all up to the last.
#[derive(Clone, Copy, Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    /// Fibonacci hashing (Knuth, TAOCP 3 §6.4): 2^64 over the golden ratio.
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}

/// Decisions that wait for their outcomes, over all streams of a run.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    open: HashMap<Origin, Open>,
    /// Where streams begin whose first records were deleted here.
    begins: HashMap<Origin, u64>,
}

/// What the pass keeps of one stream.
#[derive(Debug)]
pub(crate) struct Schema {
    origin: Origin,
    open: Open,
    /// The first record that is here.
    begins: u64,
    seal_first: u64,
    tally: Tally,
    /// What only those can judge who know the records before, where the pass began amid a stream.
    left: Option<Left>,
}

#[derive(Debug)]
struct Left {
    /// Where the pass began.
    first: u64,
    /// Outcomes of decisions that stand before it, or in other streams.
    outcomes: Vec<(Option<Origin>, u64, DecisionId)>,
    /// The first seal, and the sums of the records that are here and before it.
    seal: Option<(SealEntry, Tally)>,
}

impl Pairs {
    pub(crate) fn begin(&mut self, origin: &Origin, begins: u64) -> Schema {
        if begins > 0 {
            self.begins.insert(origin.clone(), begins);
        }
        Schema { begins, seal_first: begins, ..Schema::empty(origin) }
    }

    pub(crate) fn end(&mut self, schema: Schema) {
        if !schema.open.is_empty() {
            self.open.insert(schema.origin, schema.open);
        }
    }

    pub(crate) fn finish(&self, report: &mut Report) {
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

    fn settle(
        &mut self,
        schema: &mut Schema,
        (origin, seq, id): (Option<Origin>, u64, DecisionId),
    ) -> Result<(), Flaw> {
        if let Some(left) = &mut schema.left
            && (origin.is_some() || seq < left.first)
        {
            left.outcomes.push((origin, seq, id));
            return Ok(());
        }
        let open = self.open_of(schema, origin.as_ref());
        match open.and_then(|open| open.remove(&seq)) {
            Some(known) if known == id => Ok(()),
            Some(_) => Err(Flaw::OutcomeOther),
            // Of a decision that was deleted here nothing can be told.
            None if seq < self.begins(origin.as_ref().unwrap_or(&schema.origin)) => Ok(()),
            None => Err(Flaw::OutcomeAlone),
        }
    }

    /// Settles an outcome whose decision waits for it; otherwise nothing is changed.
    fn take(
        &mut self,
        schema: &mut Schema,
        (origin, seq, id): &(Option<Origin>, u64, DecisionId),
    ) -> bool {
        let open = self.open_of(schema, origin.as_ref());
        open.is_some_and(|open| open.get(seq) == Some(id) && open.remove(seq).is_some())
    }

    fn open_of<'o>(
        &'o mut self,
        schema: &'o mut Schema,
        origin: Option<&Origin>,
    ) -> Option<&'o mut Open> {
        match origin {
            None => Some(&mut schema.open),
            Some(origin) => self.open.get_mut(origin),
        }
    }

    fn begins(&self, origin: &Origin) -> u64 {
        self.begins.get(origin).copied().unwrap_or(0)
    }
}

impl Schema {
    fn empty(origin: &Origin) -> Self {
        let (origin, tally) = (origin.clone(), Tally::default());
        Self { origin, open: Open::default(), begins: 0, seal_first: 0, tally, left: None }
    }

    /// Begins at a record of which nobody knows yet what stands before it.
    pub(crate) fn amid(origin: &Origin, first: u64) -> Self {
        let left = Left { first, outcomes: Vec::new(), seal: None };
        Self { left: Some(left), ..Self::empty(origin) }
    }

    /// Goes past what was read amid the stream, if what it left holds; otherwise nothing is changed.
    pub(crate) fn follow(&mut self, pairs: &mut Pairs, amid: Self) -> bool {
        let Self { open, seal_first, tally, left, .. } = amid;
        let Some(Left { outcomes, seal, .. }) = left else { return false };
        let seal_holds = seal
            .as_ref()
            .is_none_or(|(seal, before)| self.seal_holds(seal, self.tally.and(*before)));
        if !seal_holds || !self.settle_all(pairs, outcomes) {
            return false;
        }
        (self.seal_first, self.tally) = match seal {
            Some(_) => (seal_first, tally),
            None => (self.seal_first, self.tally.and(tally)),
        };
        self.open.extend(open);
        true
    }

    /// Settles all of these, or none.
    fn settle_all(
        &mut self,
        pairs: &mut Pairs,
        outcomes: Vec<(Option<Origin>, u64, DecisionId)>,
    ) -> bool {
        for (nth, outcome) in outcomes.iter().enumerate() {
            // Also stops at one whose decision was deleted here: whoever goes record by record knows what to make of it.
            if pairs.take(self, outcome) {
                continue;
            }
            for (origin, seq, id) in outcomes.iter().take(nth) {
                if let Some(open) = pairs.open_of(self, origin.as_ref()) {
                    open.insert(*seq, *id);
                }
            }
            return false;
        }
        true
    }

    /// Reads one record.
    pub(crate) fn record(&mut self, pairs: &mut Pairs, step: &Step<'_>) -> Result<(), Flaw> {
        let ts = step.head.ts;
        match skim(step.record).map_err(Flaw::Record)? {
            Skimmed::Decision { id, effect, outcome } => {
                self.tally.add(Kind::Decision, Some(effect), (ts, MicroUsd::ZERO));
                let sent = matches!(effect, Effect::Allow | Effect::Sanitize);
                if sent && outcome == OutcomeDue::Follows {
                    self.open.insert(step.head.seq, id);
                }
                Ok(())
            }
            Skimmed::Outcome { of_origin, of, id, cost } => {
                self.tally.add(Kind::Outcome, None, (ts, cost));
                pairs.settle(self, (of_origin, of, id))
            }
            Skimmed::Other => self.other(step),
        }
    }

    fn other(&mut self, step: &Step<'_>) -> Result<(), Flaw> {
        match Entry::parse(step.record).map_err(Flaw::Record)? {
            Entry::Seal(seal) => self.seal(step.head.seq, seal),
            Entry::TenantSeal(seal) => {
                self.tally.add(Kind::TenantSeal, None, (step.head.ts, MicroUsd::ZERO));
                if seal.agrees(&step.head) { Ok(()) } else { Err(Flaw::TenantSeal) }
            }
            Entry::Decision(_)
            | Entry::Outcome(_)
            | Entry::Genesis(_)
            | Entry::Clock(_)
            | Entry::AnchorRef(_)
            | Entry::Change(_)
            | Entry::Close => {
                self.tally.add(Kind::Clock, None, (step.head.ts, MicroUsd::ZERO));
                Ok(())
            }
            Entry::Born(_)
            | Entry::Anchor(_)
            | Entry::Failed(_)
            | Entry::Revoked(_)
            | Entry::Closed(_)
            | Entry::Head(_)
            | Entry::Gap(_) => Err(Flaw::Kind),
        }
    }

    fn seal(&mut self, seq: u64, seal: SealEntry) -> Result<(), Flaw> {
        let tally = std::mem::take(&mut self.tally);
        let agrees = match &mut self.left {
            Some(left) if left.seal.is_none() => {
                left.seal = Some((seal, tally));
                true
            }
            _ => self.seal_holds(&seal, tally),
        };
        self.seal_first = seq.saturating_add(1);
        if agrees { Ok(()) } else { Err(Flaw::Sums) }
    }

    fn seal_holds(&self, seal: &SealEntry, tally: Tally) -> bool {
        // The first seal may count records that were deleted here.
        let is_cut = self.begins > 0 && self.seal_first == self.begins;
        is_cut || seal.first == self.seal_first && seal.tally == tally
    }
}
