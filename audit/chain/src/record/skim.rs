//! Checks a decision or outcome field by field without keeping any: the verifier's way through millions of records.
//!
//! Not here: reading records for use (`Entry::parse`). Invariant: a record is accepted here exactly when `Entry::parse`
//! accepts it; a property holds the two together.

use aegis_domain::{DecisionId, Effect, Host, MicroUsd};

use super::alphabet::{label, method, name, token, trace, visible};
use super::decision::{
    Mode, OutcomeDue, parse_call_kind, parse_degraded, parse_estimate, parse_reason,
    parse_token_use,
};
use super::json::Reader;
use super::{Kind, MAX_BYTES, RecordError};
use crate::Origin;

/// What pairing and sums need to know of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skimmed {
    Decision {
        id: DecisionId,
        effect: Effect,
        outcome: OutcomeDue,
    },
    Outcome {
        of_origin: Option<Origin>,
        of: u64,
        id: DecisionId,
        cost: MicroUsd,
    },
    /// A kind that is rare enough to be read whole.
    Other,
}

/// Reads a record as far as a verifier must.
pub fn skim(record: &[u8]) -> Result<Skimmed, RecordError> {
    if record.len() > MAX_BYTES {
        return Err(RecordError::TooLong);
    }
    let mut reader = Reader::new(record)?;
    let skimmed = match reader.kind()? {
        Kind::Decision => decision(&mut reader)?,
        Kind::Outcome => outcome(&mut reader)?,
        _ => return Ok(Skimmed::Other),
    };
    reader.finish()?;
    Ok(skimmed)
}

fn decision(r: &mut Reader<'_>) -> Result<Skimmed, RecordError> {
    r.opt("tenant", label)?;
    let id = r.parsed("id", |text| DecisionId::parse(text).ok())?;
    r.opt("trace", trace)?;
    r.opt("org", label)?;
    r.parsed("region", label)?;
    r.opt("agent", token)?;
    r.opt("parent_agent", token)?;
    r.opt_digest("jti")?;
    r.opt("token_use", parse_token_use)?;
    r.opt("tool", name)?;
    r.opt("route", name)?;
    r.object("dest", |r| {
        r.parsed("host", host)?;
        let port = r.number("port")?;
        r.parsed("method", method)?;
        r.digest("path")?;
        if port > u64::from(u16::MAX) { Err(r.bad("port")) } else { Ok(()) }
    })?;
    r.opt("kind", parse_call_kind)?;
    r.object("policy", |r| {
        r.text("revision")?;
        r.wide("version")?;
        r.text("bundle_sha256").map(|_| ())
    })?;
    r.list("rules", token)?;
    r.list("would", token)?;
    r.list("exceptions", token)?;
    r.parsed("mode", Mode::parse)?;
    let effect = r.parsed("decision", Effect::parse)?;
    r.parsed("reason", parse_reason)?;
    r.object("params", |r| {
        r.parsed("alg", |text| (text == "sha256").then_some(()))?;
        r.digest("hash")
    })?;
    r.object("body_in", body)?;
    r.object("body_out", body)?;
    redactions(r)?;
    r.opt("approval_id", |text| DecisionId::parse(text).ok())?;
    r.object("budget", |r| {
        r.list("keys", |_| Some(()))?;
        r.number("held_microusd")?;
        r.opt("estimate", parse_estimate)?;
        r.list("warned", |_| Some(()))
    })?;
    r.number("est_cost_microusd")?;
    r.number("eval_us")?;
    r.opt("att_kid", visible)?;
    r.opt("degraded", parse_degraded)?;
    let outcome = r.parsed("outcome", OutcomeDue::parse)?;
    r.digests("_sd")?;
    Ok(Skimmed::Decision { id, effect, outcome })
}

fn outcome(r: &mut Reader<'_>) -> Result<Skimmed, RecordError> {
    r.opt("tenant", label)?;
    let of_origin = r.opt("of_origin", |text| Origin::parse(text).ok())?;
    let of = r.wide("of")?;
    let id = r.parsed("id", |text| DecisionId::parse(text).ok())?;
    r.opt("agent", token)?;
    r.opt("tool", name)?;
    if r.opt_number("status")?.is_some_and(|status| status > u64::from(u16::MAX)) {
        return Err(r.bad("status"));
    }
    r.number("bytes")?;
    r.opt_number("sent")?;
    let cost = MicroUsd::new(r.number("cost_microusd")?);
    r.number("est_cost_microusd")?;
    r.number("dur_us")?;
    r.parsed("reason", parse_reason)?;
    r.object("usage", |r| {
        r.number("tokens_in")?;
        r.number("tokens_out")
    })?;
    redactions(r)?;
    r.digests("_sd")?;
    Ok(Skimmed::Outcome { of_origin, of, id, cost })
}

fn body(r: &mut Reader<'_>) -> Result<u64, RecordError> {
    r.digest("sha256")?;
    r.number("size")
}

fn redactions(r: &mut Reader<'_>) -> Result<(), RecordError> {
    r.objects("redactions", |r| {
        r.parsed("rule", token)?;
        let count = r.number("count")?;
        if count > u64::from(u32::MAX) { Err(r.bad("count")) } else { Ok(()) }
    })
    .map(|_| ())
}

fn host(text: &str) -> Option<()> {
    Host::is_host(text).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::Entry;

    const PUBLISHED: &str = include_str!("../../../../docs/spec/vectors/audit/records.jsonl");

    fn agree(record: &[u8]) {
        let (skimmed, parsed) = (skim(record), Entry::parse(record));
        if skimmed == Ok(Skimmed::Other) {
            return;
        }
        let shown = String::from_utf8_lossy(record);
        assert_eq!(skimmed.is_ok(), parsed.is_ok(), "{skimmed:?} {parsed:?} {shown}");
        match (skimmed, parsed) {
            (Ok(Skimmed::Decision { id, effect, outcome }), Ok(Entry::Decision(read))) => {
                assert_eq!((id, effect, outcome), (read.id, read.decision, read.outcome));
            }
            (Ok(Skimmed::Outcome { of_origin, of, id, cost }), Ok(Entry::Outcome(read))) => {
                let found = (read.of.origin, read.of.seq, read.of.id, read.cost);
                assert_eq!((of_origin, of, id, cost), found);
            }
            (Err(skimmed), Err(parsed)) => assert_eq!(skimmed, parsed),
            (skimmed, parsed) => panic!("{skimmed:?} {parsed:?}"),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn skimming_accepts_exactly_what_reading_accepts(
            line in 2usize..5, at in 234usize..2_000, byte in 32u8..127, edit in 0u8..3,
        ) {
            let mut record = PUBLISHED.lines().nth(line).unwrap().as_bytes().to_vec();
            agree(&record);
            let at = 234 + (at - 234) % (record.len() - 234);
            match edit {
                0 => record[at] = byte,
                1 => record.insert(at, byte),
                _ => drop(record.drain(at..at + 1)),
            }
            agree(&record);
        }
    }
}
