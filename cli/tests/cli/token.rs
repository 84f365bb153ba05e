//! `token mint`, `inspect` and `verify`.

use std::fs;

use crate::support::{Home, json, replace, stderr, stdout};

fn mint(home: &Home, more: &[&str]) -> String {
    let words = [&["token", "mint", "--tenant", "acme", "--agent", "demo"], more].concat();
    stdout(&home.run(&words).success())
}

#[test]
fn what_mint_makes_verifies_and_says_what_was_asked() {
    let home = Home::ready();
    let more = ["--scope", "b:write", "--scope", "a:read", "--use", "once", "--parent", "boss"];
    let token = mint(&home, &more);
    let seen = json(&home.run_with(&token, &["token", "verify", "-o", "json"]).success());
    assert_eq!(seen["valid"], true);
    assert_eq!(seen["agent"], "demo");
    assert_eq!(seen["parent_agent"], "boss");
    assert_eq!(seen["scopes"], serde_json::json!(["a:read", "b:write"]));
    assert_eq!(seen["use"], "once");
}

#[test]
fn mint_prints_the_bare_token_and_nothing_else() {
    let token = mint(&Home::ready(), &[]);
    assert_eq!(token.trim_end().split('.').count(), 3);
    assert_eq!(token.lines().count(), 1);
}

#[test]
fn two_tokens_never_share_a_jti() {
    let home = Home::ready();
    let jti = || {
        let words = ["token", "mint", "--tenant", "acme", "--agent", "demo", "-o", "json"];
        json(&home.run(&words).success())["jti"].clone()
    };
    assert_ne!(jti(), jti());
}

#[test]
fn inspect_shows_a_token_and_says_it_is_not_verified() {
    let home = Home::ready();
    fs::write(home.path("token"), mint(&home, &[])).unwrap();
    let file = home.path("token");
    let seen = home.run(&["token", "inspect", file.to_str().unwrap()]).success();
    assert!(stdout(&seen).contains("tenant"), "{}", stdout(&seen));
    assert!(stderr(&seen).contains("not verified"));
}

#[test]
fn inspect_of_something_else_ends_with_1_and_does_not_quote_it() {
    let failed = Home::empty().run_with("hunter2", &["token", "inspect"]).code(1);
    assert!(stderr(&failed).contains("three parts"), "{}", stderr(&failed));
    assert!(!stderr(&failed).contains("hunter2"));
}

#[test]
fn a_token_of_another_issuers_key_is_refused_with_its_reason() {
    let (home, other) = (Home::ready(), Home::ready());
    let token = mint(&other, &[]);
    let seen = home.run_with(&token, &["token", "verify", "-o", "json"]).code(1);
    assert_eq!(json(&seen)["reason"], "TokenKeyUnknown");
    assert_eq!(json(&seen)["valid"], false);
}

#[test]
fn a_changed_token_is_refused() {
    let home = Home::ready();
    let token = mint(&home, &[]);
    let (head, rest) = token.split_once('.').unwrap();
    let forged = format!("{head}.{}", rest.replacen('A', "B", 1));
    home.run_with(&forged, &["token", "verify"]).code(1);
}

#[test]
fn verify_can_do_without_a_data_directory() {
    let home = Home::ready();
    let token = mint(&home, &[]);
    let jwks = home.path("keys/jwks.json");
    let name = "https://aegis.localhost";
    let trust = ["--issuer", name, "--audience", name, "--jwks", jwks.to_str().unwrap()];
    let words = [&["token", "verify"], &trust[..]].concat();
    Home::empty().run_with(&token, &words).success();
    let elsewhere = [&["token", "verify", "--audience", "https://b"], &trust[..2], &trust[4..]];
    let seen = Home::empty().run_with(&token, &elsewhere.concat()).code(1);
    assert!(stdout(&seen).contains("TokenAudience"), "{}", stdout(&seen));
}

#[test]
fn trust_given_by_halves_is_a_wrong_command_line() {
    Home::ready().run_with("", &["token", "verify", "--issuer", "https://a"]).code(2);
}

#[test]
fn a_life_longer_than_the_gateway_allows_is_minted_but_not_verified() {
    let home = Home::ready();
    let token = mint(&home, &["--ttl", "2h"]);
    let seen = home.run_with(&token, &["token", "verify", "-o", "json"]).code(1);
    assert_eq!(json(&seen)["reason"], "TokenClaims");
    home.run(&["token", "mint", "--tenant", "acme", "--agent", "a", "--ttl", "soon"]).code(2);
}

#[test]
fn mint_says_what_is_missing() {
    let words = ["token", "mint", "--tenant", "acme", "--agent", "demo"];
    let missing = Home::empty().run(&words).code(3);
    assert!(stderr(&missing).contains("the issuer key is missing"), "{}", stderr(&missing));
    let stranger =
        Home::ready().run(&["token", "mint", "--tenant", "nobody", "--agent", "a"]).code(3);
    assert!(stderr(&stranger).contains("--org"), "{}", stderr(&stranger));
    let home = Home::ready();
    fs::write(home.path("keys/issuer.pem"), "no key").unwrap();
    home.run(&words).code(1);
}

#[test]
fn mint_refuses_a_scope_that_would_be_read_as_two() {
    let words = ["token", "mint", "--tenant", "acme", "--agent", "a", "--scope", "a b"];
    let refused = Home::ready().run(&words).code(1);
    assert!(stderr(&refused).contains("claim scope is malformed"), "{}", stderr(&refused));
}

#[test]
fn a_broken_configuration_or_key_set_is_named() {
    let home = Home::ready();
    let token = mint(&home, &[]);
    replace(&home.path("keys/jwks.json"), "keys", "locks");
    let failed = home.run_with(&token, &["token", "verify"]).code(1);
    assert!(stderr(&failed).contains("jwks.json is not valid"), "{}", stderr(&failed));
    replace(&home.path("aegis.yaml"), "identity:", "identities:");
    let failed = home.run_with(&token, &["token", "verify"]).code(1);
    assert!(stderr(&failed).contains("`identity` is missing"), "{}", stderr(&failed));
}
