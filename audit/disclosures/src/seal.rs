//! Seals the disclosures of one decision into a line, and opens it.
//!
//! AES-256-GCM under a key of the day, derived from the tenant's by HKDF (RFC 5869). Not here: where keys lie (`keys`).
//! Invariant: a line opens only as that decision's, of that tenant, of that day.

use std::io;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_domain::{DecisionId, TenantId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use serde::{Deserialize, Serialize};

use crate::keys::SecretBytes;

/// Nonces are random, so a key must not seal more than 2^32 lines (NIST SP 800-38D §8.3): that is one day's at 49,000 a second.
#[derive(Debug)]
pub(super) struct DayKey(LessSafeKey);

#[derive(Serialize, Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    id: std::borrow::Cow<'l, str>,
    #[serde(borrow)]
    sealed: std::borrow::Cow<'l, str>,
}

impl DayKey {
    pub(super) fn new(secret: &SecretBytes, day: u64) -> io::Result<Self> {
        let salt = Salt::new(HKDF_SHA256, b"aegis.dev/audit/disclosures/v1");
        let day = day.to_be_bytes();
        let key = salt.extract(secret.expose()).expand(&[&day], &AES_256_GCM).map(UnboundKey::from);
        key.map(|key| Self(LessSafeKey::new(key))).map_err(|_| refused())
    }

    /// One line, with its newline.
    pub(super) fn seal(
        &self,
        tenant: &TenantId,
        id: DecisionId,
        disclosures: &[Disclosure],
    ) -> io::Result<String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(io::Error::other)?;
        let texts: Vec<&str> = disclosures.iter().map(Disclosure::as_str).collect();
        let mut bytes = texts.join("\n").into_bytes();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0
            .seal_in_place_append_tag(unique, aad(tenant, id), &mut bytes)
            .map_err(|_| refused())?;
        let sealed = URL_SAFE_NO_PAD.encode([nonce.as_slice(), &bytes].concat());
        let line = Line { id: id.as_str().into(), sealed: sealed.into() };
        Ok(format!("{}\n", serde_json::to_string(&line)?))
    }

    /// What a line holds; `None` when it was sealed as something else.
    pub(super) fn open(&self, tenant: &TenantId, line: &[u8]) -> Option<Vec<Disclosure>> {
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let id = DecisionId::parse(&line.id).ok()?;
        let mut sealed = URL_SAFE_NO_PAD.decode(line.sealed.as_bytes()).ok()?;
        let (nonce, bytes) = sealed.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = self.0.open_in_place(nonce, aad(tenant, id), bytes).ok()?;
        let texts = std::str::from_utf8(plain).ok()?.split('\n').filter(|text| !text.is_empty());
        texts.map(|text| Disclosure::parse(text).map(|(disclosure, ..)| disclosure)).collect()
    }
}

/// The decision a line is about, without reading the rest of it.
pub(super) fn id_of(line: &[u8]) -> Option<DecisionId> {
    let id = line.strip_prefix(b"{\"id\":\"")?.get(..26)?;
    DecisionId::parse(std::str::from_utf8(id).ok()?).ok()
}

fn aad(tenant: &TenantId, id: DecisionId) -> Aad<String> {
    Aad::from(format!("{tenant}\n{id}"))
}

/// `ring` gives no reasons.
fn refused() -> io::Error {
    io::Error::other("the cipher refused")
}
