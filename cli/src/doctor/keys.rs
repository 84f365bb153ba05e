//! The key files: there, readable by their owner only, sound, and what is published in step with what is private.
//!
//! Not here: making keys (`init`). Invariant: no part of a private key is ever shown.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegis_audit_chain::note::SecretKey;
use aegis_cli_evidence::load_trust;
use aegis_domain::Secret;
use aegis_identity::{KeySet, SigningKey};

use super::Check;
use crate::failure::Failure;
use crate::home::{self, Home};
use crate::seed;

/// Readable and writable by the owner, nothing for others.
const MODE: u32 = 0o600;

pub(super) fn check(home: &Home) -> Vec<Check> {
    let pem = |text: &str| SigningKey::from_pkcs8_pem(text).ok();
    let (issuer, issuer_key) = private("issuer key", &home.issuer_key(), pem);
    let (region, region_key) = private("region key", &home.region_key(), pem);
    let (registry, seed) = private("registry seed", &home.registry_seed(), seed::decode);
    let published = published(home, &[issuer_key, region_key]);
    vec![issuer, region, registry, published, trusted(home, seed.as_ref())]
}

/// Looks at one private file; what it holds goes on only when it is sound.
fn private<K>(name: &str, path: &Path, parse: impl Fn(&str) -> Option<K>) -> (Check, Option<K>) {
    let text = match home::read("the key", path) {
        Ok(text) => text,
        Err(failure) => {
            let advice =
                "restore it from your backup; a gateway started without it makes a new one";
            return (Check::fail(name, failure.to_string(), advice), None);
        }
    };
    let shown = path.display();
    let Some(key) = parse(&text) else {
        let advice = "restore it from your backup";
        return (Check::fail(name, format!("{shown} holds no such key"), advice), None);
    };
    let mode = fs::metadata(path).map_or(0, |meta| meta.permissions().mode() & 0o777);
    let check = if mode == MODE {
        Check::ok(name, format!("{shown}, mode {mode:04o}"))
    } else {
        let found = format!("{shown} has mode {mode:04o}");
        Check::fail(name, found, "chmod 600; if others could read it, replace it")
    };
    (check, Some(key))
}

/// Agents' tokens and attestations are checked with this set.
fn published(home: &Home, keys: &[Option<SigningKey>]) -> Check {
    const NAME: &str = "published keys";
    const ADVICE: &str = "remove keys/jwks.json; the gateway writes it anew when it starts";
    let path = home.jwks();
    let text = match home::read("the key set", &path) {
        Ok(text) => text,
        Err(failure) => return Check::fail(NAME, failure.to_string(), ADVICE),
    };
    let set = match KeySet::from_jwks(text.as_bytes()) {
        Ok(set) => set,
        Err(error) => return Check::fail(NAME, format!("{}: {error}", path.display()), ADVICE),
    };
    // A set names a key once, so adding one that is there is refused.
    let has = |key: &SigningKey| set.clone().with(key.public_key().clone()).is_err();
    if keys.iter().flatten().all(has) {
        Check::ok(NAME, format!("{} has the private keys' public halves", path.display()))
    } else {
        Check::fail(NAME, "a private key's public half is not in keys/jwks.json", ADVICE)
    }
}

/// Auditors check the registry with this key.
fn trusted(home: &Home, seed: Option<&Secret<[u8; 32]>>) -> Check {
    const NAME: &str = "trust root";
    const ADVICE: &str = "the gateway writes trust.txt when it starts; give auditors the new one";
    let path = home.trust();
    let trust = match load_trust(&path).map_err(Failure::from) {
        Ok(trust) => trust,
        Err(failure) => return Check::fail(NAME, failure.chain(), ADVICE),
    };
    let Some(seed) = seed else {
        return Check::skip(NAME, "no registry seed to compare with");
    };
    let secret = SecretKey::from_seed(seed.expose());
    if trust.registries().any(|(_, vkey)| secret.verifier(vkey.name()) == *vkey) {
        Check::ok(NAME, format!("{} trusts the registry seed", path.display()))
    } else {
        Check::fail(NAME, "trust.txt does not trust the registry seed", ADVICE)
    }
}
