//! A region from the command line, typed as a new user would: enrol, get a token, rotate, revoke.
//!
//! Not here: the API's own rules (`control`). Invariant: the control node is real and on a real socket, and so is the
//! program.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use aegis_control::{Control, ControlConfig, Serving, SubjectSources, serve};
use aegis_domain::{Secret, VoterUrls};
use aegis_identity::SigningKey;
use aegis_policy_follow::{Http, Source as _};
use assert_cmd::assert::Assert;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::{Home, json, stderr, stdout};

/// A data directory with a control node over it.
pub(crate) struct Region {
    pub(crate) home: Home,
    pub(crate) url: String,
    _runtime: Runtime,
}

impl Region {
    pub(crate) fn start() -> Self {
        Self::shaped(Home::empty(), |control| control)
    }

    pub(crate) fn shaped(home: Home, shape: impl FnOnce(Control) -> Control) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let config = ControlConfig {
            data_dir: home.path("control"),
            region: aegis_domain::Region::parse("eu-west-1").unwrap(),
            issuer: url.clone(),
            audiences: vec!["https://gw.example.com".to_owned()],
            subjects: SubjectSources::default(),
            region_key: SigningKey::from_seed([7; 32]),
        };
        let on_fatal = Arc::new(|_: &_| std::process::abort());
        let control = runtime.block_on(Control::alone(config, on_fatal));
        let serving = serve(
            listener,
            Arc::new(shape(control.unwrap())),
            Serving::Plain,
            std::future::pending(),
        );
        runtime.spawn(serving);
        Self { home, url, _runtime: runtime }
    }

    pub(crate) fn run(&self, stdin: &str, line: &str) -> Assert {
        let key = self.home.path("agent.pem").display().to_string();
        let line = line.replace("agent.pem", &key);
        let mut words: Vec<&str> = line.split(' ').collect();
        words.extend(["--control", &self.url]);
        self.home.run_with(stdin, &words)
    }

    /// What a command that must succeed prints.
    pub(crate) fn says(&self, stdin: &str, line: &str) -> String {
        stdout(&self.run(stdin, line).success())
    }
}

#[test]
fn an_agent_is_registered_enrols_gets_a_token_and_loses_it() {
    let region = Region::start();
    let code = region
        .says("", "agent register acme/pay-bot --org acme --scope pay:read --scope pay:write");
    assert_eq!(region.says(&code, "agent enrol --key agent.pem").trim(), "acme/pay-bot");
    let mode = std::fs::metadata(region.home.path("agent.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let token =
        region.says("", "token get --agent acme/pay-bot --key agent.pem --scope pay:read --dpop");
    let seen = json(&region.home.run_with(&token, &["token", "inspect", "-o", "json"]).success());
    assert_eq!(seen["unverified_payload"]["scope"], "pay:read");
    assert!(seen["unverified_payload"]["cnf"]["jkt"].is_string());

    let jti = seen["unverified_payload"]["jti"].as_str().unwrap();
    let revoked = region.says(&token, "revoke token");
    assert!(revoked.contains(jti), "{revoked}");
    assert!(region.says("", "revoke list").contains(jti));
    region.says("", "revoke agent acme/pay-bot");
    region.says("", "revoke tenant acme");
    region.says("", "agent disable acme/pay-bot");
    assert!(region.says("", "agent list").contains("disabled"));
    let refused = region.run("", "token get --agent acme/pay-bot --key agent.pem").failure();
    assert!(stderr(&refused).contains("invalid_client"), "{}", stderr(&refused));
    region.says("", "agent enable acme/pay-bot");
    assert!(region.says("", "agent show acme/pay-bot").contains("active"));
    region.says("", "token get --agent acme/pay-bot --key agent.pem");
}

#[test]
fn the_fleet_is_shown_as_its_gateways_report_it() {
    let region = Region::start();
    assert_eq!(region.says("", "fleet status -o json").trim(), "[]");
    let token = std::fs::read_to_string(region.home.path("control/follower.token")).unwrap();
    let source = Http::new(VoterUrls::new(&region.url, &[]), Secret::new(token), None).unwrap();
    let report = json!({
        "build": "aegis-gateway 0.1.0", "region": "eu-west-1",
        "lines": [{
            "line": { "tenant": "acme", "environment": "prod" },
            "epoch": 3, "version": 7, "since_s": 1_800_000_000, "rollout": null,
            "refused": { "epoch": 4, "why": "test `lie` failed" },
        }],
        "unusable": [{ "tenant": "acme", "tool": "crm", "version": 9, "why": "no such credential" }],
        "of_a_later_build": true,
    });
    source.report("gw-1", &serde_json::from_value(report).unwrap()).unwrap();
    let told = region.says("", "fleet status");
    for part in [
        "gw-1",
        "acme",
        "prod",
        "7",
        "2027-01-15",
        "test `lie` failed",
        "tool crm: no such credential",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let out = region.home.path("releases.jsonl");
    region.says("", &format!("policy export --out {}", out.display()));
    assert_eq!(std::fs::read(out).unwrap(), b"", "nothing is released");
}

#[test]
fn a_demand_for_a_nonce_is_answered_without_a_word() {
    let region = Region::shaped(Home::empty(), Control::demanding_nonces);
    let code = region.says("", "agent register acme/bot --org acme");
    region.says(&code, "agent enrol --key agent.pem");
    let token = region.says("", "token get --agent acme/bot --key agent.pem --dpop");
    let seen = json(&region.home.run_with(&token, &["token", "inspect", "-o", "json"]).success());
    assert!(seen["unverified_payload"]["cnf"]["jkt"].is_string());
}

#[test]
fn a_key_whose_thumbprint_begins_with_a_hyphen_is_a_key() {
    let region = Region::start();
    let kid = format!("-{}", "A".repeat(42));
    // Of an agent that is still to come.
    assert!(region.says("", &format!("revoke key {kid}")).contains(&kid));
    let said = stderr(&region.run("", &format!("keys retire {kid}")).failure());
    assert!(!said.contains("unexpected argument"), "{said}");
}

#[test]
fn keys_are_rotated_listed_and_retired() {
    let region = Region::start();
    let first = json(&region.run("", "keys list -o json").success())[0]["kid"].clone();
    let first = first.as_str().unwrap();
    let retire = format!("keys retire {first}");
    assert!(stderr(&region.run("", &retire).failure()).contains("rotate first"));
    region.says("", "keys rotate --lead-s 0");
    assert!(region.says("", &retire).contains("retired"));
    assert!(region.says("", &format!("revoke key {first}")).contains(first));
}

#[test]
fn an_agent_changes_its_key_with_another_code() {
    let region = Region::start();
    let code = region.says("", "agent register acme/bot --org acme");
    region.says(&code, "agent enrol --key agent.pem");
    let refused = region.run(&code, "agent enrol --key agent.pem").code(4);
    assert!(stderr(&refused).contains("code-unknown"), "{}", stderr(&refused));
    let code = region.says("", "agent rotate acme/bot --overlap-s 60");
    std::fs::remove_file(region.home.path("agent.pem")).unwrap();
    region.says(&code, "agent enrol --key agent.pem");
    region.says("", "token get --agent acme/bot --key agent.pem");
}

#[test]
fn an_agent_is_amended_from_what_it_is_and_both_are_shown() {
    let region = Region::start();
    region.says("", "agent register acme/bot --org acme --scope pay:read --scope pay:write");
    let line = "agent amend acme/bot --add-scope mail:send --remove-scope pay:write --mode once";
    let shown = region.says("", line);
    assert!(shown.contains("mail:send") && shown.contains("bound"), "{shown}");
    let line = "agent amend acme/bot --attribute team=billing --attribute level=3 \
                --token-ttl-s 120 --spend-per-day 12.5 -o json";
    let changed = json(&region.run("", line).success());
    let (before, after) = (&changed["before"], &changed["after"]);
    assert_eq!(after["scopes"], serde_json::json!(["mail:send", "pay:read"]));
    assert_eq!(after["attributes"], serde_json::json!({ "team": "billing", "level": 3 }));
    assert_eq!(before["limits"]["token_ttl_s"], serde_json::Value::Null);
    assert_eq!(after["limits"]["token_ttl_s"], 120);
    assert_eq!(after["limits"]["spend_per_day_microusd"], 12_500_000);

    let same = region.run("", "agent amend acme/bot --add-scope pay:read").success();
    assert!(stderr(&same).contains("so already"), "{}", stderr(&same));
    let shown = json(&region.run("", "agent show acme/bot -o json").success());
    assert_eq!(shown["version"], after["version"], "what changes nothing is no event");

    let stale = format!("agent amend acme/bot --mode proof --if-unchanged={}", before["version"]);
    let refused = region.run("", &stale).code(1);
    assert!(stderr(&refused).contains("changed since"), "{}", stderr(&refused));
    let fresh = format!(
        "agent amend acme/bot --token-ttl-s none --remove-attribute level --if-unchanged={}",
        after["version"]
    );
    assert!(region.says("", &fresh).contains("120"));
    region.says("", "agent amend acme/bot --mode mtls --if-unchanged");
}

#[test]
fn amendments_of_many_at_once_are_all_kept() {
    let region = Region::start();
    region.says("", "agent register acme/bot --org acme");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let region = &region;
            scope.spawn(move || {
                region.says("", &format!("agent amend acme/bot --add-scope s{number}"))
            });
        }
    });
    let shown = json(&region.run("", "agent show acme/bot -o json").success());
    assert_eq!(shown["scopes"], serde_json::json!(["s0", "s1", "s2", "s3"]));
}

#[test]
fn lists_are_followed_past_their_first_page() {
    let region = Region::start();
    let token = std::fs::read_to_string(region.home.path("control/admin.token")).unwrap();
    let admin = aegis_control_client::Client::new(
        &region.url,
        Some(aegis_domain::Secret::new(token)),
        None,
    )
    .unwrap();
    for number in 0..1_001 {
        let wish =
            serde_json::json!({ "token": { "tenant": "acme", "jti": format!("j{number}") } });
        admin.post("/v1/revocations", &wish, &Default::default()).unwrap();
    }
    let listed = json(&region.run("", "revoke list -o json").success());
    assert_eq!(listed.as_array().unwrap().len(), 1_001);
}

#[test]
fn what_cannot_be_done_is_said_with_what_to_do() {
    let region = Region::start();
    let gone = region.run("", "agent show acme/nobody").code(3);
    assert!(stderr(&gone).contains("not-found"), "{}", stderr(&gone));
    let home = Home::empty();
    let missing = home.run(&["keys", "list", "--control", &region.url]).code(3);
    assert!(stderr(&missing).contains("admin.token"), "{}", stderr(&missing));
    let token = region.home.path("control/admin.token");
    let token = token.to_str().unwrap();
    let clear = ["keys", "list", "--admin-token", token, "--control", "http://localhost:8081"];
    assert!(stderr(&home.run(&clear).code(4)).contains("no secret is sent"));
    let nobody = ["keys", "list", "--admin-token", token, "--control", "http://127.0.0.1:1"];
    assert!(stderr(&home.run(&nobody).code(3)).contains("AEGIS_CONTROL_URL"));
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = ["keys", "list", "--admin-token", token, "--control", &region.url];
    assert!(stderr(&home.run(&open).code(4)).contains("chmod 600"));
}

#[test]
fn a_person_logs_in_works_under_a_role_and_is_shut_out_when_the_session_is_revoked() {
    let region = Region::start();
    region.says("", "login --as alice --role viewer --for 30m");
    let kept = region.home.path("control/session.token");
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    region.says("", "agent list");
    let refused = region.run("", "agent register acme/bot --org acme").failure();
    assert!(stderr(&refused).contains("agents:write"), "{}", stderr(&refused));
    assert_eq!(region.run("", "session list").failure().get_output().status.code(), Some(4));

    // The node's own token is used again once no session is kept.
    let token = std::fs::read_to_string(&kept).unwrap();
    region.home.run(&["logout"]).success();
    let listed = json(&region.run("", "session list -o json").success());
    assert_eq!(listed[0]["actor"], "session alice");
    let id = listed[0]["id"].as_str().unwrap();
    region.says("", &format!("session revoke {id}"));
    region.says(&token, "login");
    let refused = region.run("", "agent list").failure();
    assert!(stderr(&refused).contains("aegisctl login"), "{}", stderr(&refused));

    let line = "session create --as bob --role author,approver --tenant acme --for 1h";
    region.home.run(&["logout"]).success();
    let printed = region.says("", line);
    assert_eq!(region.says("", "session list").matches("session bob").count(), 1);
    assert_eq!(printed.trim().split('.').count(), 3, "{printed}");
}

#[test]
fn an_override_is_given_listed_and_shown_and_an_answer_that_comes_too_late_is_refused() {
    let region = Region::start();
    let digest = "m4P1sxGWl7mZf0hS0t7kVw2p6E3g8Qy4R5uJ9cXbN1A";
    let line = format!(
        "approval override --tenant acme --params-hash {digest} --rule big-payment -o json"
    );
    let given = json(&region.run("", &line).success());
    let name = format!("acme/{}", given[0]["id"].as_str().unwrap());
    assert!(
        region.says("", "approval list --tenant acme --standing granted").contains("big-payment")
    );
    assert!(region.says("", &format!("approval show {name}")).contains("override"));
    let refused = region.run("", &format!("approval grant {name}")).failure();
    assert!(stderr(&refused).contains("approval-own"), "{}", stderr(&refused));
    let nobody = region.run("", "approval deny acme/01J9ZK3V5QD6Y8M2W4C7N0R1TB").failure();
    assert!(stderr(&nobody).contains("approval-unknown"), "{}", stderr(&nobody));
}
