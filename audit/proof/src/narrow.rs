//! A proof out of the few pieces of a log that it takes: found by the record's number, or by the time that a decision's id names.
//!
//! Not here: whole logs (`lib`), and where pieces lie (`audit/ship`). Invariant: a record that is not found here may be in the log all
//! the same; what is proved holds by itself, so nothing need be known of the registry but the head it took from there.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range, RangeInclusive};
use std::time::Duration;

use aegis_audit_chain::record::{Entry, HeadEntry, Mode, OutcomeDue, Record};
use aegis_audit_chain::source::{LogSource, Piece, Pieces, SourceError};
use aegis_audit_chain::{Origin, layout};
use aegis_audit_trust::Trust;
use aegis_domain::DecisionId;

use crate::ended::{Cover, Ended, told};
use crate::{Proof, ProofError, Within, assemble};

/// How long after a call came in its decision is looked for: most are made at once, some wait for a body.
pub(crate) const REACHES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(300)];

/// Whether a record is a call's decision, or what came of it; what a candidate would have decided is neither.
pub(crate) fn is_of(record: &Record, id: DecisionId) -> bool {
    if let Entry::Outcome(outcome) = &record.entry {
        return outcome.of.id == id;
    }
    let is_own = |mode| mode != Mode::Shadow;
    matches!(&record.entry, Entry::Decision(decision) if decision.id == id && is_own(decision.mode))
}

/// How many of a life's first or last pieces are looked through: what no head covered when its process died is 4,096 records or a
/// second's, and the next life begins with what became of its calls.
const ENDS_MAX: usize = 3;

fn ends_at(pieces: &[Piece]) -> u64 {
    pieces.last().map_or(0, |(_, size)| *size)
}

/// What covers a record, as the registry is read.
#[derive(Default)]
struct Covering {
    cover: Option<Cover>,
    /// The registry's record that tells of the stream's end, and its number there.
    end: Option<(u64, Vec<u8>)>,
    /// The registry's first head over that.
    over: Option<HeadEntry>,
    /// Nothing more is to come.
    is_over: bool,
}

impl Covering {
    fn record(&mut self, within: &Within<'_>, (at, bytes): (u64, &[u8])) {
        let Ok(Record { entry, .. }) = Record::parse(bytes) else { return };
        let ends = told(&entry).is_some_and(|head| within.is_covered_by(&head));
        if ends && self.end.is_none() {
            self.end = Some((at, bytes.to_vec()));
        }
        match entry {
            Entry::Anchor(anchor) => {
                let cover = Some(Cover::Anchor(anchor));
                let cover = cover.filter(|cover| within.is_covered_by(&cover.head()));
                self.cover = self.cover.take().or(cover);
            }
            Entry::Head(head) if self.end.is_some() => {
                self.over.get_or_insert(head);
                self.is_over = true;
            }
            Entry::Closed(closed) if closed.origin == *within.origin => self.is_over |= !ends,
            _ => {}
        }
    }
}

/// From when to when what is looked for may have been written.
fn span(id: DecisionId, reach: Duration) -> (u64, u64) {
    let time = id.unix_ms().saturating_mul(1_000_000);
    (time, time.saturating_add(u64::try_from(reach.as_nanos()).unwrap_or(u64::MAX)))
}

/// The logs that one registry speaks for, in pieces.
pub(crate) struct Narrow<'s> {
    source: &'s dyn LogSource,
    pieces: &'s dyn Pieces,
    trust: &'s Trust,
    registry: &'s Origin,
    /// When pieces of logs begin and end, as far as it was asked.
    times: RefCell<BTreeMap<(Origin, Piece), (u64, u64)>>,
}

/// A record, and where it stands.
struct Found {
    origin: Origin,
    seq: u64,
    bytes: Vec<u8>,
    record: Record,
}

impl<'s> Narrow<'s> {
    pub(crate) fn of(
        source: &'s dyn LogSource,
        (trust, registry): (&'s Trust, &'s Origin),
    ) -> Option<Self> {
        let times = RefCell::default();
        source.pieces().map(|pieces| Self { source, pieces, trust, registry, times })
    }

    /// The proof of one record, under the first head that covers it.
    pub(crate) fn at(&self, origin: &Origin, seq: u64) -> Result<Option<Proof>, ProofError> {
        let found = self.find(origin, seq..seq.saturating_add(1), &|_| true)?;
        found.map(|found| self.prove(found, &mut None)).transpose().map(Option::flatten)
    }

    /// Whether a piece of the stream has a record of that number.
    pub(crate) fn holds(&self, origin: &Origin, seq: u64) -> bool {
        self.pieces.of(origin).iter().any(|(first, end)| (*first..*end).contains(&seq))
    }

    /// A decision that came within `reach` of its id's time, and its outcome, proven.
    pub(crate) fn call(&self, id: DecisionId, reach: Duration) -> Result<Vec<Proof>, ProofError> {
        // The life after a crash tells what became of the call; the decision itself stands at the end of the one before.
        let has_outcome = Cell::new(false);
        let is_any = |record: &Record| is_of(record, id);
        let is_it = |record: &Record| {
            let is_decision = matches!(record.entry, Entry::Decision(_));
            let is_ours = is_any(record);
            has_outcome.set(has_outcome.get() || is_ours && !is_decision);
            is_ours && is_decision
        };
        let mut found = self.decision(id, reach, &is_it)?;
        if found.is_none() {
            found = self.at_an_end(id, reach, &is_it)?;
        }
        if found.is_none() && has_outcome.get() {
            found = self.decision(id, reach, &is_any)?;
        }
        let Some(decision) = found else { return Ok(Vec::new()) };
        let outcome = self.outcome(&decision, id)?;
        let (mut proofs, mut head) = (Vec::new(), None);
        for found in [Some(decision), outcome].into_iter().flatten() {
            proofs.extend(self.prove(found, &mut head)?);
        }
        Ok(proofs)
    }

    /// With the first head that covers the record; that of an earlier record may be it.
    fn prove(&self, found: Found, known: &mut Option<Cover>) -> Result<Option<Proof>, ProofError> {
        let Found { origin, seq, bytes, record } = found;
        let within = Within { trust: self.trust, origin: &origin, seq };
        if self.trust.revoked(&origin).is_some_and(|revoked| revoked.head().size <= seq) {
            return Err(within.uncovered());
        }
        let earlier = known.take().filter(|cover| within.is_covered_by(&cover.head()));
        let cover = match earlier {
            Some(cover) => Some(cover),
            None => self.covering(&within, record.head.ts)?,
        };
        let Some(cover) = cover else { return Ok(None) };
        *known = Some(cover.clone());
        let path = self.pieces.path(&origin, (seq, cover.head().size))?;
        assemble(self.source, cover, (seq, bytes), path).map(Some)
    }

    /// The first head of a stream that covers a record of that time; the end that its registry tells of where there is none.
    fn covering(&self, within: &Within<'_>, ts: u64) -> Result<Option<Cover>, SourceError> {
        let (pieces, from) = self.since(ts)?;
        let mut found = Covering::default();
        for piece in pieces.into_iter().skip(from) {
            self.pieces.records(self.registry, piece, 0..u64::MAX, &mut |at, bytes| {
                found.record(within, (at, bytes));
            })?;
            if found.cover.is_some() || found.is_over {
                break;
            }
        }
        let Covering { cover, end, over, .. } = found;
        let (None, Some(end), Some(over)) = (&cover, end, over) else { return Ok(cover) };
        let path = self.pieces.path(self.registry, (end.0, over.size))?;
        let ended = path.and_then(|path| Ended::under(self.registry, end, (&over, path)));
        Ok(ended.map(|ended| Cover::Ended(Box::new(ended))))
    }

    /// The registry's pieces, and the first of them that ends at that time or later. A clock that was set back makes it miss.
    fn since(&self, ts: u64) -> Result<(Vec<Piece>, usize), SourceError> {
        let pieces = self.pieces.of(self.registry);
        let (mut begin, mut end) = (0, pieces.len());
        while begin < end {
            let middle = begin.midpoint(end);
            let Some(piece) = pieces.get(middle) else { break };
            match self.times(self.registry, *piece)?.1 < ts {
                true => begin = middle.saturating_add(1),
                false => end = middle,
            }
        }
        Ok((pieces, begin))
    }

    fn times(&self, log: &Origin, piece: Piece) -> Result<(u64, u64), SourceError> {
        let at = (log.clone(), piece);
        if let Some(known) = self.times.borrow().get(&at) {
            return Ok(*known);
        }
        let times = self.pieces.times(log, piece)?;
        self.times.borrow_mut().insert(at, times);
        Ok(times)
    }

    /// Looks through what each stream wrote between two heads about that time.
    fn decision(
        &self,
        id: DecisionId,
        reach: Duration,
        is_it: &dyn Fn(&Record) -> bool,
    ) -> Result<Option<Found>, SourceError> {
        let (time, until) = span(id, reach);
        let (pieces, from) = self.since(time)?;
        let mut sizes: BTreeMap<Origin, u64> = BTreeMap::new();
        // The piece before says how far each stream was.
        for piece in pieces.into_iter().skip(from.saturating_sub(1)) {
            let mut heads = Vec::new();
            self.pieces.records(self.registry, piece, 0..u64::MAX, &mut |_, bytes| {
                if let Ok(Record { head, entry: Entry::Anchor(anchor) }) = Record::parse(bytes) {
                    heads.push((head.ts, anchor.origin, anchor.size));
                }
            })?;
            for (ts, origin, size) in heads {
                let before = sizes.insert(origin.clone(), size);
                if ts < time {
                    continue;
                }
                let before = before.unwrap_or_else(|| self.begin_of(&origin, size));
                if let Some(found) = self.find(&origin, before..size, is_it)? {
                    return Ok(Some(found));
                }
                if ts > until {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Looks at the ends of the lives that were going on at that time: where a process died, no head of its stream says when its
    /// last records were written.
    fn at_an_end(
        &self,
        id: DecisionId,
        reach: Duration,
        is_it: &dyn Fn(&Record) -> bool,
    ) -> Result<Option<Found>, SourceError> {
        let (time, until) = span(id, reach);
        for writer in self.writers()? {
            for origin in self.lives_at(&writer, time)? {
                let found = self.at_the_end_of(&origin, time..=until, is_it)?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// Looks through the last pieces of a life that were written between two times.
    fn at_the_end_of(
        &self,
        origin: &Origin,
        times: RangeInclusive<u64>,
        is_it: &dyn Fn(&Record) -> bool,
    ) -> Result<Option<Found>, SourceError> {
        for piece in self.pieces.of(origin).into_iter().rev().take(ENDS_MAX) {
            let (from, to) = self.times(origin, piece)?;
            if to < *times.start() {
                break;
            }
            let is_near = from <= *times.end();
            let found = if is_near { self.find(origin, piece.0..piece.1, is_it)? } else { None };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whom the registry speaks for.
    fn writers(&self) -> Result<Vec<String>, SourceError> {
        match self.registry.writer().strip_prefix("registry.") {
            Some(writer) => Ok(vec![writer.to_owned()]),
            None => self.source.list(layout::STREAMS_DIR),
        }
    }

    /// The first lives of a writer that wrote at that time or later. Two, because one may begin before the other's last record.
    fn lives_at(&self, writer: &str, time: u64) -> Result<Vec<Origin>, SourceError> {
        let lives = self.lives(writer, 0)?;
        let (mut begin, mut end) = (0, lives.len());
        while begin < end {
            let middle = begin.midpoint(end);
            let Some(life) = lives.get(middle) else { break };
            let last = self.pieces.of(life).last().copied();
            let wrote = last.map(|piece| self.times(life, piece)).transpose()?;
            match wrote.is_none_or(|(_, to)| to < time) {
                true => begin = middle.saturating_add(1),
                false => end = middle,
            }
        }
        Ok(lives.into_iter().skip(begin).take(2).collect())
    }

    /// Where the piece begins whose records a head is the first to cover.
    fn begin_of(&self, origin: &Origin, size: u64) -> u64 {
        let pieces = self.pieces.of(origin);
        pieces.iter().rev().map(|(first, _)| *first).find(|first| *first < size).unwrap_or(0)
    }

    /// What came of a decision: later in its stream, or where a later life of its gateway began.
    fn outcome(&self, decision: &Found, id: DecisionId) -> Result<Option<Found>, ProofError> {
        let due = OutcomeDue::Follows;
        if !matches!(&decision.record.entry, Entry::Decision(decision) if decision.outcome == due) {
            return Ok(None);
        }
        let is_it = |record: &Record| is_of(record, id);
        let rest = decision.seq.saturating_add(1)..u64::MAX;
        if let Some(found) = self.find(&decision.origin, rest, &is_it)? {
            return Ok(Some(found));
        }
        for origin in self.later_lives(&decision.origin)? {
            // They stand behind its birth; the first piece may end amid them, or before.
            let end = self.pieces.of(&origin).get(..ENDS_MAX).map_or(u64::MAX, ends_at);
            if let Some(found) = self.find(&origin, 0..end, &is_it)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn later_lives(&self, origin: &Origin) -> Result<Vec<Origin>, SourceError> {
        self.lives(origin.writer(), origin.incarnation().saturating_add(1))
    }

    /// A writer's lives from that number on, in order.
    fn lives(&self, writer: &str, from: u64) -> Result<Vec<Origin>, SourceError> {
        let lives = self.source.list(&format!("{}/{writer}", layout::STREAMS_DIR))?;
        let numbers = lives.iter().filter_map(|name| layout::parse_incarnation_name(name));
        let mut numbers: Vec<u64> = numbers.filter(|it| *it >= from).collect();
        numbers.sort_unstable();
        let named = |number: u64| {
            let (domain, region) = (self.registry.domain(), self.registry.region());
            Origin::parse(&format!("{domain}/{region}/{writer}/{number}")).ok()
        };
        Ok(numbers.into_iter().filter_map(named).collect())
    }

    /// The first record between two numbers that is wanted, piece by piece.
    fn find(
        &self,
        origin: &Origin,
        span: Range<u64>,
        is_wanted: &dyn Fn(&Record) -> bool,
    ) -> Result<Option<Found>, SourceError> {
        let mut found = ControlFlow::Continue(());
        for piece in self.pieces.of(origin) {
            self.pieces.records(origin, piece, span.clone(), &mut |seq, bytes| {
                if found.is_continue()
                    && let Ok(record) = Record::parse(bytes)
                    && is_wanted(&record)
                {
                    let (origin, bytes) = (origin.clone(), bytes.to_vec());
                    found = ControlFlow::Break(Found { origin, seq, bytes, record });
                }
            })?;
            if found.is_break() {
                break;
            }
        }
        Ok(found.break_value())
    }
}
