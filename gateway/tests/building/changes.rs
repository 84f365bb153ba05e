//! What people change in the region is in the audit log of the gateway that served them, before they are told.
//!
//! Not here: which changes there are (`control/tests`). Invariant: the log holds as a whole, verified as an auditor would.

use std::collections::BTreeSet;

use aegis_audit_chain::record::{ChangeEntry, Entry};
use aegis_control_client::ClientError;
use aegis_testkit::{Building, Plan, Region};
use serde_json::{Value, json};

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

/// Registers agents until nobody listens any more; tells the kind of each refusal.
fn registers(region: &Region, person: usize) -> BTreeSet<String> {
    let mut refusals = BTreeSet::new();
    for number in 0_usize.. {
        let wish =
            json!({ "tenant": "acme", "id": format!("bot-{person}-{number}"), "org": "acme" });
        match region.try_post("/v1/agents", wish) {
            Ok(_) => {}
            Err(ClientError::Refused { kind, .. }) => {
                refusals.insert(kind);
            }
            Err(_) => break,
        }
    }
    refusals
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_changes_leaves_none_that_is_not_on_record() {
    const PEOPLE: usize = 6;
    let mut house = Plan::new()
        .await
        .with("/limits/drain", json!("100ms"))
        .keeping_the_registry()
        .start(GATEWAY)
        .await;
    for round in 0..3 {
        let people = (0..PEOPLE).map(|person| {
            let region = house.region();
            tokio::task::spawn_blocking(move || registers(&region, round * PEOPLE + person))
        });
        let people: Vec<_> = people.collect();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        house.terminate();
        assert!(house.ended().await.success());
        for told in people {
            let told = told.await.unwrap();
            let honest = ["stopping", "no-record"].map(str::to_owned);
            assert!(told.iter().all(|kind| honest.contains(kind)), "{told:?}");
        }
        house.start_again().await;
        let recorded: BTreeSet<_> = changes(&house)
            .into_iter()
            .filter(|change| change.act == "registry.register")
            .filter_map(|change| change.target)
            .collect();
        let made = agents(&house.region());
        assert!(made.len() > round);
        let missing: Vec<_> = made.difference(&recorded).collect();
        assert!(missing.is_empty(), "made and on no record: {missing:?}");
        let unmade: Vec<_> = recorded.difference(&made).collect();
        assert!(unmade.is_empty(), "on record and never made: {unmade:?}");
    }
    house.stop().await;
    assert_verified(&house);
}

/// Every agent there is, as records name it.
fn agents(region: &Region) -> BTreeSet<String> {
    let mut agents = BTreeSet::new();
    let mut page = region.get("/v1/agents?limit=200");
    loop {
        let here = page["agents"].as_array().unwrap().clone();
        agents.extend(
            here.iter().map(|agent| format!("agent acme/{}", agent["id"].as_str().unwrap())),
        );
        match &page["next"] {
            Value::String(next) => {
                page = region.get(&format!("/v1/agents?limit=200&cursor={next}"))
            }
            _ => return agents,
        }
    }
}
