//! Where the tests find real OPA, and what they do without it.

use std::path::Path;

use aegis_policy_agreement::Opa;

/// Real OPA, or `None` with a word about it; in CI its absence is a failure.
#[expect(clippy::print_stdout, reason = "says why a test does less than its name")]
pub(crate) fn opa() -> Option<Opa> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let library = target.join("opa/libopabridge.so");
    if library.exists() {
        return Some(Opa::start(&library).unwrap());
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "real OPA is absent: {} (run `make opa`)",
        library.display()
    );
    println!("skipped: real OPA absent, run `make opa`");
    None
}
