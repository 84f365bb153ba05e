//! `policy build` and `policy verify`.

use std::fs;

use crate::guide;
use crate::support::{Home, json, replace, stderr, stdout};

/// A home with the guide's policy and what builds it, signed, to a file in it.
fn home() -> (Home, String) {
    let home = Home::ready();
    fs::write(home.path("policies/acme.yaml"), guide::policy()).unwrap();
    let out = home.path("acme.tar.gz").to_str().unwrap().to_owned();
    (home, out)
}

fn build(home: &Home, version: &str, out: &str) -> assert_cmd::assert::Assert {
    let key = home.path("keys/region.pem");
    let key = key.to_str().unwrap();
    let words = ["policy", "build", "--version", version, "--out", out, "--signing-key", key];
    home.run(&[&words[..], &["-o", "json"]].concat())
}

#[test]
fn a_build_is_the_same_wherever_the_policy_lies_and_verifies() {
    let (home, out) = home();
    let built = json(&build(&home, "7", &out).success());
    assert!(built[0]["revision"].as_str().unwrap().starts_with("acme/prod@7+"));
    assert_eq!(built[0]["bytes"], fs::read(&out).unwrap().len());
    let elsewhere = home.path("a folder");
    fs::create_dir(&elsewhere).unwrap();
    fs::copy(home.path("policies/acme.yaml"), elsewhere.join("acme.yaml")).unwrap();
    let (file, other) = (elsewhere.join("acme.yaml"), elsewhere.join("other.tar.gz"));
    let words = ["policy", "build", "--version", "7", "-o", "json", "--out"];
    let paths = [other.to_str().unwrap(), file.to_str().unwrap()];
    let unsigned = json(&home.run(&[&words[..], &paths].concat()).success());
    assert_eq!(unsigned[0]["digest"], built[0]["digest"]);
    assert_ne!(unsigned[0]["sha256"], built[0]["sha256"]);
    let seen = json(&home.run(&["policy", "verify", &out, "-o", "json"]).success());
    assert_eq!((&seen["verdict"], &seen["tests"]), (&"PASS".into(), &7.into()));
    assert_eq!(seen["digest"], built[0]["digest"]);
    let shown = stdout(&home.run(&["policy", "verify", &out]).success());
    assert!(shown.starts_with("PASS  acme/prod@7+"), "{shown}");
}

#[test]
fn a_build_may_be_repeated_and_overwrites_nothing() {
    let (home, out) = home();
    build(&home, "7", &out).success();
    build(&home, "7", &out).success();
    let refused = build(&home, "8", &out).code(4);
    assert!(stderr(&refused).contains("never overwritten"), "{}", stderr(&refused));
    home.run(&["policy", "verify", &out]).success();
}

#[test]
fn what_fails_its_tests_or_does_not_compile_is_not_built() {
    let (home, out) = home();
    replace(&home.path("policies/acme.yaml"), "expect: allow }", "expect: deny }");
    build(&home, "7", &out).code(4);
    replace(&home.path("policies/acme.yaml"), "class: write", "class: wirte");
    build(&home, "7", &out).code(3);
    home.run(&["policy", "build", "--out", &out]).code(2);
    assert!(!home.path("acme.tar.gz").exists());
}

#[test]
fn a_bundle_that_is_unsigned_strange_or_damaged_fails_by_name() {
    let (home, out) = home();
    home.run(&["policy", "build", "--version", "7", "--out", &out]).success();
    let unsigned = stdout(&home.run(&["policy", "verify", &out]).code(1));
    assert!(unsigned.starts_with("FAIL") && unsigned.contains("not signed"), "{unsigned}");
    fs::remove_file(&out).unwrap();
    build(&home, "7", &out).success();
    let stranger = Home::ready();
    let keys = stranger.path("keys/jwks.json");
    let words = ["policy", "verify", &out, "--key", keys.to_str().unwrap(), "-o", "json"];
    let strange = json(&home.run(&words).code(1));
    assert_eq!(strange["verdict"], "FAIL");
    assert!(strange["failure"].as_str().unwrap().contains("signature does not hold"), "{strange}");
    let mut bytes = fs::read(&out).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&out, bytes).unwrap();
    home.run(&["policy", "verify", &out]).code(1);
    home.run(&["policy", "verify", "nowhere.tar.gz"]).code(3);
}
