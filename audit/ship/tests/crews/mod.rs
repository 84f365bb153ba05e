//! Every log that a test here verifies is verified by one thread and by two: the reports must be the same.
//!
//! Not here: logs and what is done to them. Invariant: what a test is handed is the report of one who worked alone.

#[path = "../../../verify/tests/verifier/two.rs"]
mod two;

use aegis_audit_chain::source::LogSource;
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Options, Report, verify_region, verify_region_with};

pub(crate) use two::Two;

pub(crate) fn agreed(source: &dyn LogSource, trust: &Trust, options: &Options) -> Report {
    let alone = verify_region(source, trust, options, &mut |_| {});
    let helped = verify_region_with(&Two, source, trust, options, &mut |_| {});
    assert_eq!(format!("{helped:#?}"), format!("{alone:#?}"));
    alone
}
