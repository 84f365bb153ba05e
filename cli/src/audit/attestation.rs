//! An attestation, read for `aegisctl audit verify`: what a gateway promised about one record.
//!
//! Not here: whether the promise was kept (`audit/chain`). Invariant: a promise counts only under a key the caller brings.

use std::path::Path;

use aegis_audit_chain::verify::{Attested, Due};
use aegis_audit_chain::{Hash, Origin};
use aegis_domain::Timestamp;
use aegis_identity::KeySet;
use serde::Deserialize;

use crate::failure::Failure;
use crate::home;

const TYPE: &str = "aegis-att+jwt";

#[derive(Deserialize)]
struct Claims {
    log: String,
    seq: String,
    leaf: String,
    iat: u64,
    /// Seconds after which the record must be in the log.
    mmd: u64,
}

/// Reads the value of an `Aegis-Attestation` header from a file.
pub(super) fn read(file: &Path, keys: &Path, now: Timestamp) -> Result<Attested, Failure> {
    let invalid = |why: &str| Failure::invalid(file.display().to_string(), why.to_owned());
    let key_set = KeySet::from_jwks(home::read("the key set", keys)?.as_bytes())
        .map_err(|error| Failure::invalid(keys.display().to_string(), error))?;
    let token = home::read("the attestation", file)?;
    let payload = aegis_identity::verify_jws(token.trim(), TYPE, &key_set)
        .map_err(|error| Failure::invalid(file.display().to_string(), error))?;
    let claims: Claims = serde_json::from_slice(&payload)
        .map_err(|error| Failure::invalid(file.display().to_string(), error))?;
    let origin = Origin::parse(&claims.log).map_err(|_| invalid("`log` is not the name of one"))?;
    let seq = claims.seq.parse().map_err(|_| invalid("`seq` is not a number"))?;
    let leaf = Hash::parse(&claims.leaf).ok_or_else(|| invalid("`leaf` is not a hash"))?;
    let is_due = now.unix_s() >= claims.iat.saturating_add(claims.mmd);
    let due = if is_due { Due::Now } else { Due::Later };
    Ok(Attested { origin, seq, leaf, due })
}
