//! The meaning of the language, clause by clause.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

mod approvals;
mod exceptions;
mod grant;
mod leaves;
mod mcp;
mod missing;
mod precedence;
#[path = "../scene/mod.rs"]
mod scene;
mod stripped;

use aegis_domain::{Detector, DlpFacts};
use aegis_policy::Snapshot;
use scene::{compile, one_tool};

fn policy(params: &str, rules: &str) -> Snapshot {
    compile(&one_tool(params, rules)).unwrap()
}

fn found(detectors: &[Detector]) -> DlpFacts {
    DlpFacts::Scanned(detectors.iter().map(|detector| (*detector, 1)).collect())
}
