//! OAuth clients that nobody here wrote get tokens unmodified: Authlib, and openid-client with DPoP.
//!
//! Not here: our own client (`tokens`). `make clients` installs the libraries; without them these tests say so and are
//! skipped, but where `CI` is set they fail. Invariant: a client is used as its documentation says, with nothing patched.

use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_identity::{SigningKey, TokenLimits, TrustedIssuer, Verifier};
use serde_json::{Value, json};

use crate::node::{GATEWAY, Node, now};

/// Where `make clients` puts them, if it put this one there.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    let place = std::env::var_os("AEGIS_CLIENTS").map_or(target, PathBuf::from);
    if place.join(program).exists() {
        return Some(place);
    }
    let wanted = std::env::var_os("CI").is_some();
    assert!(!wanted, "the client libraries are not installed: run `make clients`");
    println!("skipped: the client libraries are not installed; run `make clients`");
    None
}

/// Runs a client for an agent of its own, and verifies the token it gets.
fn gets(node: &Node, program: &Path, script: &Path, name: &str) -> (Value, aegis_identity::Claims) {
    let key = node.agent("bot", 1, json!({}));
    let output = Command::new(program)
        .arg(script)
        .args([&node.url, "acme/bot"])
        .arg(write(node, &key))
        .arg("pay:read")
        .output()
        .unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let issuer = TrustedIssuer {
        issuer: node.url.clone(),
        audiences: vec![GATEWAY.to_owned()],
        keys: node.jwks(),
    };
    let verifier = Verifier::new(vec![issuer], TokenLimits::default());
    let verified = verifier.verify(answer["access_token"].as_str().unwrap(), now()).unwrap();
    println!("{name}: {} token for {} s", answer["token_type"], answer["expires_in"]);
    (answer, verified.claims().clone())
}

fn write(node: &Node, key: &SigningKey) -> PathBuf {
    let file = node.home.path().join("agent.pem");
    std::fs::write(&file, key.to_pkcs8_pem().expose()).unwrap();
    file
}

#[test]
fn authlib_gets_a_token_with_private_key_jwt() {
    let Some(clients) = installed("venv/bin/python") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/get_token.py");
    // Authlib signs no proofs, so a region that wants nonces in them asks it for none.
    for node in [Node::start(), Node::demanding_nonces()] {
        let (answer, claims) = gets(&node, &clients.join("venv/bin/python"), &script, "authlib");
        let told = (&answer["token_type"], &answer["scope"]);
        assert_eq!(told, (&json!("Bearer"), &json!("pay:read")));
        assert_eq!((claims.agent.as_str(), claims.confirmation), ("bot", None));
    }
}

#[test]
fn openid_client_discovers_the_service_answers_a_demand_for_a_nonce_and_binds_its_token() {
    let Some(clients) = installed("token.mjs") else { return };
    for node in [Node::start(), Node::demanding_nonces()] {
        let (answer, claims) =
            gets(&node, Path::new("node"), &clients.join("token.mjs"), "openid-client");
        let bound = claims.confirmation.and_then(|cnf| cnf.key()).unwrap().to_string();
        assert_eq!(answer["jkt"], bound);
        assert_eq!(answer["token_type"].as_str().unwrap().to_lowercase(), "dpop");
    }
}
