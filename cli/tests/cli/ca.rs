//! `ca`: what agents are given, before and after a rotation, and that the key stays where it is.

use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Home, stderr, stdout};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

#[test]
fn an_authority_is_exported_without_its_key_and_stays_the_same() {
    let home = Home::ready();
    let first = stdout(&home.run(&["ca", "export"]).success());
    assert_eq!(first.matches(BEGIN).count(), 1, "{first}");
    assert!(!first.contains("PRIVATE"));
    assert_eq!(stdout(&home.run(&["ca", "export"]).success()), first);
    let mode = std::fs::metadata(home.path("ca/authority.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn after_a_rotation_the_new_one_comes_first_and_the_old_one_is_still_trusted() {
    let home = Home::ready();
    let old = stdout(&home.run(&["ca", "export"]).success());
    let said = stdout(&home.run(&["ca", "rotate"]).success());
    assert!(said.contains("good until"), "{said}");
    let both = stdout(&home.run(&["ca", "export"]).success());
    assert_eq!(both.matches(BEGIN).count(), 2, "{both}");
    assert!(both.ends_with(&old) && !both.starts_with(&old));
}

#[test]
fn an_authority_that_others_can_read_is_refused() {
    let home = Home::ready();
    home.run(&["ca", "export"]).success();
    let file = home.path("ca/authority.pem");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = home.run(&["ca", "export"]).code(1);
    assert!(stderr(&refused).contains("chmod 600"), "{}", stderr(&refused));
}
