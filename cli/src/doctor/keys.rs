//! The key files: there, readable by their owner only, sound, and the published set in step with the private key.
//!
//! Not here: making keys (`init`). Invariant: no part of a private key is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegis_identity::{KeySet, SigningKey};

use super::Check;
use crate::home::{self, Home};

/// Readable and writable by the owner, nothing for others.
const MODE: u32 = 0o600;

pub(super) fn check(home: &Home) -> Vec<Check> {
    let issuer = private("issuer key", &home.issuer_key());
    let region = private("region key", &home.region_key());
    let published = published(home, issuer.1.as_ref());
    vec![issuer.0, region.0, published]
}

fn private(name: &str, path: &Path) -> (Check, Option<SigningKey>) {
    let key = match home::read("the key", path) {
        Ok(pem) => SigningKey::from_pkcs8_pem(&pem),
        Err(failure) => {
            let advice = "restore it from your backup, or run `aegisctl init` in a new directory";
            return (Check::fail(name, failure.to_string(), advice), None);
        }
    };
    let shown = path.display();
    let key = match key {
        Ok(key) => key,
        Err(error) => {
            let found = format!("{shown}: {error}");
            let advice = "replace it with an Ed25519 key in PKCS#8 PEM";
            return (Check::fail(name, found, advice), None);
        }
    };
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    let check = if mode == MODE {
        Check::ok(name, format!("{shown}, kid {}", key.key_id()))
    } else {
        let found = format!("{shown} has mode {mode:04o}");
        Check::fail(name, found, "chmod 600; if others could read it, replace it")
    };
    (check, Some(key))
}

fn published(home: &Home, issuer: Option<&SigningKey>) -> Check {
    const NAME: &str = "published keys";
    const ADVICE: &str = "write the issuer's public key to keys/jwks.json";
    let path = home.jwks();
    let text = match home::read("the key set", &path) {
        Ok(text) => text,
        Err(failure) => return Check::fail(NAME, failure.to_string(), ADVICE),
    };
    let keys = match KeySet::from_jwks(text.as_bytes()) {
        Ok(keys) => keys,
        Err(error) => return Check::fail(NAME, format!("{}: {error}", path.display()), ADVICE),
    };
    match issuer {
        None => Check::skip(NAME, "no issuer key to compare with"),
        // A set names a key once, so adding one that is there is refused.
        Some(key) if keys.with(key.public_key().clone()).is_err() => {
            Check::ok(NAME, format!("{} has the issuer key", path.display()))
        }
        Some(_) => Check::fail(NAME, "the issuer key is not in keys/jwks.json", ADVICE),
    }
}
