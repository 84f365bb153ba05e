//! One pack on three engines: hostile documents in, decisions compared.
//!
//! Not here: where documents come from (`aegis_policy::Hostile`). Invariant: a decision is compared whole, its lists as
//! sets; an engine that gives none is a mismatch as well, since our programs must answer whatever they are asked.

use std::collections::BTreeMap;

use aegis_domain::Effect;
use aegis_policy::{EngineError, Hostile, Interpreter, LoadError, RawDecision};
use serde_json::Value;

use crate::{Answer, Opa, OpaError, Pack};

/// What came of one pack.
#[derive(Debug, Default)]
pub struct Comparison {
    pub documents: usize,
    /// What the RVM decided, by effect.
    pub effects: BTreeMap<Effect, usize>,
    pub mismatches: Vec<Mismatch>,
}

/// One document on which the engines differ.
#[derive(Debug)]
pub struct Mismatch {
    pub document: Value,
    pub rvm: Result<RawDecision, EngineError>,
    pub interpreter: Result<RawDecision, EngineError>,
    /// `None` when there was no OPA to ask.
    pub opa: Option<Answer>,
}

#[derive(Debug, thiserror::Error)]
pub enum ComparisonError {
    #[error("the interpreter does not load the bundle")]
    Interpreter(#[from] LoadError),
    #[error("real OPA cannot be asked")]
    Opa(#[from] OpaError),
}

/// Where stock OPA enters.
const ENTRY: &str = "aegis.egress.decision";

/// Asks all engines about this many documents; without OPA, the other two.
pub fn compare(
    pack: &Pack,
    documents: usize,
    seed: u64,
    mut opa: Option<&mut Opa>,
) -> Result<Comparison, ComparisonError> {
    let interpreter = Interpreter::new(&pack.snapshot)?;
    if let Some(opa) = opa.as_deref_mut() {
        opa.load(pack.snapshot.bundle_files())?;
    }
    let mut found = Comparison::default();
    for document in Hostile::new(pack.documents.clone(), seed).take(documents) {
        let rvm = pack.snapshot.decide(&document);
        let interpreted = interpreter.decide(&document);
        let answer = opa.as_deref_mut().map(|opa| opa.eval(ENTRY, &document)).transpose()?;
        found.documents = found.documents.saturating_add(1);
        if let Ok(decision) = &rvm {
            let seen = found.effects.entry(decision.effect).or_default();
            *seen = seen.saturating_add(1);
        }
        let by_opa = answer.as_ref().is_none_or(|answer| read(answer) == rvm);
        if rvm.is_err() || rvm != interpreted || !by_opa {
            found.mismatches.push(Mismatch {
                document,
                rvm,
                interpreter: interpreted,
                opa: answer,
            });
        }
    }
    Ok(found)
}

fn read(answer: &Answer) -> Result<RawDecision, EngineError> {
    match answer {
        Answer::Value(value) => RawDecision::from_json(value),
        Answer::Undefined => Err(EngineError::Undefined),
        Answer::Error(_) => Err(EngineError::Failed),
    }
}
