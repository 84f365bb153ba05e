//! Rollouts as voters drive them, by what a fake fleet says it saw.
//!
//! Not here: the rules of stages and guards (`policies/rollout`). Invariant: a test waits for what happens, never for a time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aegis_control::{Observations, SubjectSources, Watched};
use aegis_policy_rollout::{Counts, Observed};
use async_trait::async_trait;
use serde_json::{Value, json};

use crate::node::{Node, refusal};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the fleet is said to have seen, whichever stage it is asked about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleet(Arc<Mutex<Option<Observed>>>);

impl Fleet {
    /// A hundred calls on either side, of which the candidate denied so many.
    pub(crate) fn sees(&self, denied: u64, engine_errors: u64) {
        let stable = Counts { calls: 100, denied: 5, ..Counts::default() };
        let candidate = Counts { denied, engine_errors, ..stable };
        *self.0.lock().unwrap() = Some(Observed { stable, candidate });
    }
}

#[async_trait]
impl Observations for Fleet {
    async fn observed(&self, watched: &Watched) -> Option<Observed> {
        assert_eq!((watched.stable, watched.candidate), (1, 2));
        *self.0.lock().unwrap()
    }

    async fn refusing(&self, _: &Watched, _: u64) -> Option<Box<str>> {
        None
    }
}

/// A node with two versions, of which the first decides, and its fleet.
fn house() -> (Node, Fleet) {
    let fleet = Fleet::default();
    let observations = Arc::new(fleet.clone());
    let (home, subjects) = (tempfile::tempdir().unwrap(), SubjectSources::default());
    let node = Node::shaped(home, subjects, |control| control.with_observations(observations));
    node.pushed(2);
    node.activate(1);
    (node, fleet)
}

pub(crate) fn stages(first_s: u64) -> Value {
    let guards = json!([
        { "limit": "engine_errors", "then": "roll_back" },
        { "limit": { "deny_rate_delta": "10%" }, "then": "hold" },
    ]);
    json!([
        { "share": "5%", "min_duration_s": first_s, "calls_min": 10, "guards": guards },
        { "share": "100%", "calls_min": 10, "guards": guards },
    ])
}

impl Node {
    fn start_rollout(&self, stages: Value) {
        let seen = self.pointer().etag;
        let body = json!({ "candidate": 2, "stages": stages });
        self.turn(("post", "rollout"), seen.as_deref(), body).unwrap();
    }

    /// Waits until the rollout is in a state, and gives the pointer.
    fn reaches(&self, state: &str) -> Value {
        let begun = Instant::now();
        loop {
            let pointer = self.pointer().body;
            if pointer["rollout"]["state"] == state {
                return pointer;
            }
            assert!(begun.elapsed() < PATIENCE, "waited for {state}: {pointer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_rollout_goes_through_its_stages_and_the_candidate_becomes_the_active_version() {
    let (node, fleet) = house();
    fleet.sees(6, 0);
    node.start_rollout(stages(0));
    let pointer = node.reaches("complete");
    assert_eq!((&pointer["active"], &pointer["past"]), (&json!(2), &json!([1])));
    assert_eq!((&pointer["epoch"], &pointer["by"]), (&json!(4), &json!("rollout driver")));
    let back = node.turn(("post", "rollback"), None, json!({})).unwrap().body;
    assert_eq!(back["active"], 1);
}

#[test]
fn a_rollout_that_breaches_its_guard_is_held_or_rolled_back_by_itself() {
    let (node, fleet) = house();
    fleet.sees(30, 0);
    node.start_rollout(stages(0));
    let held = node.reaches("held");
    assert_eq!(held["rollout"]["limit"], json!({ "deny_rate_delta": "10%" }));
    assert_eq!(held["rollout"]["observed"]["candidate"]["denied"], 30);
    fleet.sees(30, 1);
    let back = node.reaches("rolled_back");
    assert_eq!((&back["active"], &back["rollout"]["limit"]), (&json!(1), &json!("engine_errors")));
    let resumed = node.turn(("post", "rollout/resume"), None, json!({}));
    assert_eq!(refusal(resumed), (409, "no-rollout".into()));
}

#[test]
fn a_paused_rollout_waits_and_its_guards_still_act() {
    let (node, fleet) = house();
    node.start_rollout(stages(0));
    let paused = node.turn(("post", "rollout/pause"), None, json!({})).unwrap().body;
    assert_eq!(
        (&paused["rollout"]["paused"], &paused["rollout"]["stage"]),
        (&json!(true), &json!(0))
    );
    fleet.sees(30, 0);
    node.reaches("held");
    fleet.sees(5, 0);
    let running = node.reaches("running");
    assert_eq!((&running["rollout"]["stage"], &running["active"]), (&json!(0), &json!(1)));
    node.turn(("post", "rollout/resume"), None, json!({})).unwrap();
    node.reaches("complete");
}

#[test]
fn without_a_word_from_the_fleet_nothing_moves_on() {
    let (node, fleet) = house();
    node.start_rollout(stages(0));
    let before = node.pointer().body;
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(node.pointer().body, before);
    fleet.sees(5, 0);
    node.reaches("complete");
}

#[test]
fn an_aborted_rollout_leaves_the_stable_version_and_another_may_begin() {
    let (node, _) = house();
    node.start_rollout(stages(600));
    let seen = node.pointer().etag;
    let again = json!({ "candidate": 2, "stages": stages(0) });
    let busy = node.turn(("post", "rollout"), seen.as_deref(), again);
    assert_eq!(refusal(busy), (409, "rollout-runs".into()));
    let done = node.turn(("post", "rollout/abort"), None, json!({})).unwrap().body;
    assert_eq!((&done["rollout"]["state"], &done["active"]), (&json!("aborted"), &json!(1)));
    node.start_rollout(stages(600));
}

#[test]
fn a_node_that_starts_anew_in_the_middle_of_a_stage_goes_on_with_it() {
    let (node, fleet) = house();
    fleet.sees(5, 0);
    node.start_rollout(stages(2));
    let before = node.pointer().body;
    let home = node.stop();
    let observations = Arc::new(fleet);
    let subjects = SubjectSources::default();
    let node = Node::shaped(home, subjects, |control| control.with_observations(observations));
    let after = node.reaches("complete");
    assert_eq!(after["rollout"]["id"], before["rollout"]["id"]);
}

#[test]
fn a_rollout_that_a_gateway_refuses_is_paused_until_somebody_resumes_it() {
    let node = Node::start();
    node.pushed(2);
    node.activate(1);
    let report = |lines: Value| {
        let report = json!({ "build": "x", "region": "eu-west-1", "lines": lines });
        node.hear("gw-1", report);
    };
    let line = json!({ "tenant": "acme", "environment": "prod" });
    let refuses = |epoch: u64| {
        let refused = json!({ "epoch": epoch, "why": "it is broken" });
        json!([{ "line": line, "epoch": 1, "version": 1, "since_s": 1, "refused": refused, "rollout": null }])
    };
    let until = |wanted: bool| {
        let begun = Instant::now();
        loop {
            let pointer = node.pointer().body;
            if pointer["rollout"]["paused"] == wanted {
                return pointer;
            }
            assert!(begun.elapsed() < PATIENCE, "{pointer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // Of what it refused before it says nothing about this one.
    report(refuses(1));
    node.start_rollout(stages(600));
    std::thread::sleep(Duration::from_millis(2_500));
    let running = until(false);
    report(refuses(running["epoch"].as_u64().unwrap()));
    let paused = until(true);
    let state = (&paused["rollout"]["state"], &paused["by"]);
    assert_eq!(state, (&json!("running"), &json!("rollout driver")));

    node.turn(("post", "rollout/resume"), None, json!({})).unwrap();
    let resumed = until(false);
    report(refuses(resumed["epoch"].as_u64().unwrap()));
    until(true);
    let epoch = node.pointer().body["epoch"].as_u64().unwrap();
    report(
        json!([{ "line": line, "epoch": epoch + 5, "version": 2, "since_s": 1, "refused": null, "rollout": null }]),
    );
    assert_eq!(node.get("/v1/fleet").body["gateways"][0]["lines"][0]["state"], "ahead");
    node.turn(("post", "rollout/resume"), None, json!({})).unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    until(false);
}
