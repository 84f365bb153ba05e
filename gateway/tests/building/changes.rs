//! What people change in the region is in the audit log of the gateway that served them, before they are told.
//!
//! Not here: which changes there are (`control/tests`). Invariant: the log holds as a whole, verified as an auditor would.

use aegis_audit_chain::record::{ChangeEntry, Entry};
use aegis_testkit::{Building, Plan};
use serde_json::json;

use crate::GATEWAY;
use crate::evidence::assert_verified;

pub(crate) fn changes(house: &Building) -> Vec<ChangeEntry> {
    let records = house.journal().records().into_iter();
    let changes = records.filter_map(|record| match record.entry {
        Entry::Change(change) => Some(change),
        _ => None,
    });
    changes.collect()
}

#[tokio::test]
async fn a_change_of_the_region_is_in_a_log_that_verifies_with_who_made_it() {
    let mut house = Plan::new().await.keeping_the_registry().start(GATEWAY).await;
    let region = house.region();
    region.agent("rover", json!({}));
    region.post("/v1/agents/acme/rover/disable", json!({}));
    // On record when it was answered, not some time after.
    let made = changes(&house);
    let told: Vec<_> = made.iter().map(|it| (it.by.as_str(), it.act.as_str())).collect();
    assert_eq!(
        told,
        [
            ("voter 1", "registry.add_key"),
            ("local admin", "registry.register"),
            ("enrolment code", "registry.enrol"),
            ("local admin", "registry.set_standing"),
        ]
    );
    let last = made.last().unwrap();
    assert_eq!(last.tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!(last.target.as_deref(), Some("agent acme/rover"));
    assert!(made.is_sorted_by(|one, next| one.revision < next.revision));
    house.stop().await;
    assert_verified(&house);
}
