//! A region from the command line, typed as a new user would: enrol, get a token, rotate, revoke.
//!
//! Not here: the API's own rules (`control`). Invariant: the control node is real and on a real socket, and so is the
//! program.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use aegis_control::{Control, ControlConfig, Serving, SubjectSources, serve};
use aegis_identity::SigningKey;
use assert_cmd::assert::Assert;
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
    fn start() -> Self {
        Self::shaped(Home::empty(), |control| control)
    }

    pub(crate) fn shaped(home: Home, shape: impl FnOnce(Control) -> Control) -> Self {
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let control = Control::open(ControlConfig {
            data_dir: home.path("control"),
            issuer: url.clone(),
            audiences: vec!["https://gw.example.com".to_owned()],
            subjects: SubjectSources::default(),
            region_key: SigningKey::from_seed([7; 32]),
        });
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
