//! `aegisctl policy verify`: is a bundle whole, whose is it, and is it what its source compiles to?
//!
//! Not here: the checks themselves (`policies/engine`, `identity`). Invariant: PASS is said only when signature, source and
//! tests all hold.

use std::path::{Path, PathBuf};

use aegis_identity::{KeySet, verify_jws_within};
use aegis_policy::{
    BUNDLE_BYTES_MAX, Bundle, SIGNATURE_BYTES_MAX, SIGNATURE_TYPE, Snapshot, cases,
};
use clap::Args;
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::Screen;
use aegis_cli_sheet::Mood;

/// Check a bundle's signature, that its modules are what its source compiles to, and its tests.
#[derive(Debug, Args)]
#[command(after_help = "\
Says PASS, or FAIL and the file that is to blame, and then ends with 1.

Examples:
  aegisctl policy verify acme-7.tar.gz
  aegisctl policy verify acme-7.tar.gz --key publisher.jwks.json -o json | jq .digest")]
pub(super) struct VerifyArgs {
    /// The bundle.
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The keys that may have signed it, as a JWKS; the data directory's own unless given.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) fn run(args: &VerifyArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let path = args.key.clone().unwrap_or_else(|| home.jwks());
    let jwks = home::read("the key set", &path)?;
    let keys = KeySet::from_jwks(jwks.as_bytes())
        .map_err(|error| Failure::invalid(path.display().to_string(), error))?;
    let bytes_max = u64::try_from(BUNDLE_BYTES_MAX).unwrap_or(u64::MAX);
    let bytes = aegis_audit_plain::read_given(&args.bundle, bytes_max)
        .map_err(|error| Failure::file("the bundle", &args.bundle, error))?;
    let judged = judge(&bytes, &keys);
    show(&args.bundle, &judged, screen)?;
    Ok(if judged.is_ok() { Exit::Ok } else { Exit::CheckFailed })
}

/// What a bundle says of itself, or what is wrong with it.
fn judge(bytes: &[u8], keys: &KeySet) -> Result<Value, String> {
    let bundle = Bundle::open(bytes).map_err(|error| chain(&error))?;
    let check = |jwt: &str| verify_jws_within(jwt, SIGNATURE_TYPE, keys, SIGNATURE_BYTES_MAX);
    bundle.verify(check).map_err(|error| chain(&error))?;
    let (set, snapshot) = Snapshot::from_bundle(bundle).map_err(|error| chain(&error))?;
    let report = cases::run(&snapshot, &set);
    let failed = report.cases.iter().find(|case| case.failure.is_some());
    if let Some(case) = failed {
        return Err(format!("{}: the bundle fails its own test `{}`", case.at, case.name));
    }
    Ok(json!({
        "revision": snapshot.policy_ref().revision,
        "digest": snapshot.bundle().digest(),
        "tests": report.cases.len(),
    }))
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}

fn show(path: &Path, judged: &Result<Value, String>, screen: &Screen) -> Result<(), Failure> {
    if screen.is_json() {
        let (verdict, failure) = match judged {
            Ok(_) => ("PASS", None),
            Err(why) => ("FAIL", Some(why)),
        };
        let about = judged.as_ref().ok();
        let of = |name: &str| about.and_then(|about| about.get(name));
        return screen.json(&json!({
            "verdict": verdict,
            "failure": failure,
            "revision": of("revision"),
            "digest": of("digest"),
            "tests": of("tests"),
        }));
    }
    let line = match judged {
        Ok(about) => {
            let text = |name: &str| about.get(name).and_then(Value::as_str).unwrap_or_default();
            let verdict = screen.paint(Mood::Good, "PASS");
            format!("{verdict}  {}  {}", text("revision"), text("digest"))
        }
        Err(why) => {
            format!("{}  {}: {why}", screen.paint(Mood::Bad, "FAIL"), path.display())
        }
    };
    screen.raw(format!("{line}\n"))
}
