//! A node that is told to stop: what is under way, what waits, and what comes too late.
//!
//! Not here: the log that is closed after it (`gateway`). Invariant: what was begun is answered as what it became.

use std::time::Duration;

use aegis_control_client::{ClientError, Conditions};
use serde_json::{Value, json};

use crate::chronicle::node;
use crate::node::refusal;

fn agent(id: &str) -> Value {
    json!({ "tenant": "acme", "id": id, "org": "acme" })
}

#[test]
fn a_stop_waits_for_a_change_and_not_for_those_who_only_ask() {
    let (mut node, log) = node();
    log.news();
    let hold = log.hold();
    let admin = node.admin.clone();
    let changing =
        std::thread::spawn(move || admin.post("/v1/agents", &agent("bot"), &Conditions::default()));
    hold.reached();
    let (admin, url) = (node.admin.clone(), format!("/v1/feed?after={}", node.serial()));
    let asking = std::thread::spawn(move || admin.get(&url));
    std::thread::sleep(Duration::from_millis(300));

    node.tell_to_stop();
    assert_eq!(refusal(asking.join().unwrap()), (503, "stopping".into()));
    assert!(!changing.is_finished());
    hold.let_go();
    assert_eq!(changing.join().unwrap().unwrap().status, 201);
    assert_eq!(log.news().len(), 1);
    // The listener is closed since.
    let late = node.admin.post("/v1/agents", &agent("late"), &Conditions::default());
    assert!(matches!(late, Err(ClientError::Unreachable { .. })), "{late:?}");
}
