//! A policy in the region from the command line: pushed, rolled out, taken back.
//!
//! Not here: the API's own rules (`control`). Invariant: the control node is real and on a real socket, and so is the
//! program.

use std::fs;
use std::sync::{Arc, Mutex};

use aegis_control::{Observations, Watched};
use aegis_policy_rollout::{Counts, Observed};
use async_trait::async_trait;

use crate::region::Region;
use crate::support::{Home, json, stderr, stdout};

const LINE: &str = "--tenant acme --env prod";

fn policy(amount_max: u32, mode: &str) -> String {
    format!(
        "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: {{ name: t, tenant: acme, env: prod }}
tools:
  pay:
    class: write
    match: {{ hosts: [a.test], methods: [POST], paths: [/x] }}
    allow: {{ groups: [finance] }}
    params: {{ n: {{ type: integer, required: true, min: 1 }} }}
    rules:
    - {{ id: large, effect: deny, mode: {mode}, when: {{ param: n, gt: {amount_max} }} }}
"
    )
}

/// A fleet whose candidate fails as often as it is told.
#[derive(Debug, Default)]
struct Fleet(Mutex<u64>);

#[async_trait]
impl Observations for Fleet {
    async fn observed(&self, _: &Watched) -> Option<Observed> {
        let engine_errors = *self.0.lock().unwrap();
        let stable = Counts { calls: 100, ..Counts::default() };
        Some(Observed { stable, candidate: Counts { engine_errors, ..stable } })
    }

    async fn refusing(&self, _: &Watched, _: u64) -> Option<Box<str>> {
        None
    }
}

impl Region {
    /// A region with versions that allow up to 100 and 200.
    fn with_versions(fleet: Arc<Fleet>) -> Self {
        let region = Self::shaped(Home::empty(), |control| control.with_observations(fleet));
        for amount in [100, 200] {
            region.push(&policy(amount, "enforce"));
        }
        region
    }

    fn file(&self, text: &str) -> String {
        let file = self.home.path("acme.yaml");
        fs::write(&file, text).unwrap();
        file.display().to_string()
    }

    fn push(&self, text: &str) {
        let file = self.file(text);
        self.says("", &format!("policy push {file} {LINE}"));
    }

    fn policy(&self, command: &str) -> assert_cmd::assert::Assert {
        self.run("", &format!("policy {command} {LINE}"))
    }
}

#[test]
fn a_policy_is_pushed_listed_shown_compared_and_activated() {
    let region = Region::with_versions(Arc::default());
    let pointer = json(&region.policy("activate 1 -o json").success());
    assert_eq!((&pointer["active"], &pointer["epoch"]), (&1.into(), &1.into()));
    let list = json(&region.policy("list -o json").success());
    assert_eq!((&list[0]["version"], &list[1]["decides"]), (&2.into(), &"active".into()));
    let source = stdout(&region.policy("show 2 --source").success());
    assert_eq!(source, policy(200, "enforce"));
    assert!(stdout(&region.policy("show 2").success()).contains("acme.yaml"));
    let diff = stdout(&region.policy("diff 1 2").success());
    assert!(diff.contains("tools.pay.rules.large") && diff.contains("[looser]"), "{diff}");
    region.policy("diff 1 2 --fail-on-looser").code(1);
    region.policy("diff 1 9").code(3);
    region.policy("diff one two").code(2);
}

#[test]
fn a_directory_is_one_push_and_a_broken_policy_is_told_as_check_tells_it() {
    let region = Region::start();
    let folder = region.home.path("policies");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notes.txt"), "no policy").unwrap();
    fs::write(folder.join("acme.yaml"), policy(100, "enforce")).unwrap();
    let place = folder.display().to_string();
    let made = json(&region.policy(&format!("push {place} -o json")).success());
    assert_eq!(made["version"], 1);
    let file = region.file(&policy(100, "enforce").replace("effect: deny", "effect: denny"));
    let refused = region.policy(&format!("push {file}")).code(3);
    let checked = region.home.run(&["policy", "check", &file]).code(3);
    let place = format!("{file}:11:");
    let (told, wanted) = (stderr(&refused), stdout(&checked));
    assert!(told.contains(&place) && wanted.contains(&place), "{told}\n{wanted}");
}

#[test]
fn a_downgrade_is_named_and_takes_its_own_flag() {
    let region = Region::with_versions(Arc::default());
    region.push(&policy(200, "shadow"));
    region.policy("activate 2").success();
    let refused = region.policy("activate 3").code(4);
    assert!(stderr(&refused).contains("tools.pay.rules.large"), "{}", stderr(&refused));
    region.policy("activate 3 --downgrade").success();
}

#[test]
fn a_rollout_is_watched_to_its_end() {
    let region = Region::with_versions(Arc::default());
    region.policy("activate 1").success();
    region.policy("rollout start 2 --stages 5%@1h,100%").success();
    let paused = json(&region.policy("pause -o json").success());
    assert_eq!(paused["rollout"]["paused"], true);
    region.policy("resume").success();
    let shown = stdout(&region.policy("rollout status").success());
    assert!(shown.contains("5%") && shown.contains("running"), "{shown}");
    region.policy("abort").success();
    region.policy("rollout start 2 --stages 5%,100% --calls-min 10").success();
    let lines = stdout(&region.policy("rollout status --watch").success());
    assert!(lines.ends_with("version 2 decides; the rollout of 2 is complete\n"), "{lines}");
    let back = json(&region.policy("rollback -o json").success());
    assert_eq!(back["active"], 1);
}

#[test]
fn a_rollout_whose_guard_is_breached_ends_with_a_word_and_a_code() {
    let fleet = Arc::new(Fleet(Mutex::new(1)));
    let region = Region::with_versions(fleet);
    region.policy("activate 1").success();
    let stages = region.home.path("stages.json");
    let guards = r#"[{"limit":"engine_errors","then":"roll_back"}]"#;
    fs::write(&stages, format!(r#"[{{"share":"5%","min_duration_s":600,"guards":{guards}}}]"#))
        .unwrap();
    region.policy(&format!("rollout start 2 --stages {}", stages.display())).success();
    let lines = stdout(&region.policy("rollout status --watch").code(1));
    assert!(lines.contains("rolled back by engine_errors"), "{lines}");
    let again = region.policy("resume").code(1);
    assert!(stderr(&again).contains("no rollout is under way"), "{}", stderr(&again));
}

#[test]
fn a_pinned_policy_stays_until_it_is_unpinned() {
    let region = Region::with_versions(Arc::default());
    region.policy("activate 1").success();
    region.policy("pin").success();
    assert!(stderr(&region.policy("activate 2").code(1)).contains("pinned"));
    region.policy("unpin").success();
    region.policy("activate 2").success();
}
