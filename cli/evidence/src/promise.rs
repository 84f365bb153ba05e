//! What an attestation promises about one record, for whoever holds one and asks whether it was kept.
//!
//! Not here: looking for the record (`audit/verify`). Invariant: a promise counts only under a key the caller brings, and
//! only where a trusted registry is that of its log.

use std::path::Path;

use aegis_audit_chain::{Hash, Origin};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Attested, Due};
use aegis_domain::Timestamp;
use aegis_identity::KeySet;
use serde_json::Value;

use crate::EvidenceError;
use crate::named::{self, SMALL_BYTES_MAX};

const TYPE: &str = "aegis-att+jwt";

/// Reads the value of an `Aegis-Attestation` header from a file.
pub fn promised(
    (file, keys): (&Path, &Path),
    trust: &Trust,
    now: Timestamp,
) -> Result<Attested, EvidenceError> {
    let name = |path: &Path| path.display().to_string();
    let read = |what, path: &Path| named::read(what, path, SMALL_BYTES_MAX);
    let key_set = KeySet::from_jwks(read("the key set", keys)?.as_bytes())
        .map_err(|error| EvidenceError::invalid(name(keys), error))?;
    let token = read("the attestation", file)?;
    let payload = aegis_identity::verify_jws(token.trim(), TYPE, &key_set)
        .map_err(|error| EvidenceError::invalid(name(file), error))?;
    let claims = serde_json::from_slice(&payload).unwrap_or_default();
    let attested = attested(&claims, now)
        .ok_or_else(|| EvidenceError::invalid(name(file), "it names no record"))?;
    match attested.is_of(trust) {
        true => Ok(attested),
        false => Err(EvidenceError::Unknown {
            message: format!("no registry that is trusted here is that of {}", attested.origin),
        }),
    }
}

fn attested(claims: &Value, now: Timestamp) -> Option<Attested> {
    let text = |name| claims.get(name).and_then(Value::as_str);
    let number = |name| claims.get(name).and_then(Value::as_u64);
    // After `mmd` seconds the record must be in the log.
    let is_due = now.unix_s() >= number("iat")?.saturating_add(number("mmd")?);
    Some(Attested {
        origin: Origin::parse(text("log")?).ok()?,
        seq: text("seq")?.parse().ok()?,
        leaf: Hash::parse(text("leaf")?)?,
        due: if is_due { Due::Now } else { Due::Later },
    })
}
