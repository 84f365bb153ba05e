//! The region's certificate authorities: short-lived leaves for the hosts whose TLS the forward proxy opens, and voters'
//! proof to each other; and the key that stock OPA verifies its policy bundles with.
//!
//! Not here: deciding whether a tunnel may be opened, and TLS itself (`gateway::door`). Invariant: a leaf names
//! exactly one host, is good for servers only, and never outlives its authority.

mod bundle_key;
mod store;
mod voters;

use std::net::IpAddr;

use aegis_domain::{Host, Region, Secret, Timestamp, Ttl};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

pub use bundle_key::{BUNDLE_KEY_ID, BundleKey};
pub use store::{Store, StoreError};
pub use voters::{Common, Invitation, Mandate, VoterCredentials, VoterFiles, VoterName};

/// How long an authority is good for: agents must be given a new one before that.
pub const AUTHORITY_LIFE: Ttl = Ttl::from_s(2 * 365 * 24 * 60 * 60);
/// How long a leaf is good for. Stolen ones are worth little, and nobody has to be told of a revocation.
pub const LEAF_LIFE: Ttl = Ttl::from_s(24 * 60 * 60);
/// Agents' clocks may be behind ours by this much.
const BACKDATED: Ttl = Ttl::from_s(60 * 60);

/// Why a certificate could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the authority's certificate or key cannot be used")]
    Unusable(#[source] rcgen::Error),
    #[error("the authority's key is not the one in its certificate")]
    Mismatch,
    #[error("a certificate could not be made")]
    Making(#[source] rcgen::Error),
    #[error("the system gives no randomness")]
    Random,
    #[error("a time lies outside what certificates can say")]
    Time,
    #[error("the host is not one a certificate can name")]
    Host,
}

/// Signs leaves. Its key never leaves it but as a `Secret`.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    ends: Timestamp,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// The key that all leaves of one process share; it lives in memory only.
pub struct LeafKey(KeyPair);

impl std::fmt::Debug for LeafKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeafKey")
    }
}

/// A certificate for one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub der: Vec<u8>,
    pub ends: Timestamp,
}

impl Authority {
    /// A new authority of a region, and its key in PKCS#8 PEM. ECDSA on P-256, which every TLS client knows.
    pub fn create(
        region: &Region,
        now: Timestamp,
    ) -> Result<(Self, Secret<String>), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Making)?;
        let mut params = CertificateParams::default();
        // The year and day keep an authority apart from the one it replaces.
        let name = format!("Aegis egress {region} {}", date(now)?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, "Aegis");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = at(earlier(now))?;
        params.not_after = at(now.plus(AUTHORITY_LIFE))?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Making)?;
        let secret = Secret::new(key.serialize_pem());
        let ends = now.plus(AUTHORITY_LIFE);
        let issuer = Issuer::new(params, key);
        Ok((Self { issuer, certificate_pem: certificate.pem(), ends }, secret))
    }

    /// An authority from what `create` gave.
    pub fn load(certificate_pem: &str, key_pem: &Secret<String>) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem.expose()).map_err(AuthorityError::Unusable)?;
        let (public, ends) = store::facts(certificate_pem)?;
        if public != key.public_key_raw() {
            return Err(AuthorityError::Mismatch);
        }
        let issuer = Issuer::from_ca_cert_pem(certificate_pem, key);
        let issuer = issuer.map_err(AuthorityError::Unusable)?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned(), ends })
    }

    /// What agents must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// When it ends.
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// A certificate for one host, a name or an address.
    pub fn leaf(&self, host: &Host, key: &LeafKey, now: Timestamp) -> Result<Leaf, AuthorityError> {
        let ends = now.plus(LEAF_LIFE).min(self.ends);
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![match host.as_str().parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let name = host.as_str().try_into().map_err(|_| AuthorityError::Host)?;
                SanType::DnsName(name)
            }
        }];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = at(earlier(now))?;
        params.not_after = at(ends)?;
        let certificate = params.signed_by(&key.0, &self.issuer).map_err(AuthorityError::Making)?;
        Ok(Leaf { der: certificate.der().to_vec(), ends })
    }
}

impl LeafKey {
    pub fn generate() -> Result<Self, AuthorityError> {
        KeyPair::generate().map(Self).map_err(AuthorityError::Making)
    }

    /// PKCS#8 in DER, for whoever terminates TLS.
    pub fn pkcs8_der(&self) -> Secret<Vec<u8>> {
        Secret::new(self.0.serialize_der())
    }
}

fn at(time: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    let seconds = i64::try_from(time.unix_s()).map_err(|_| AuthorityError::Time)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_| AuthorityError::Time)
}

fn date(time: Timestamp) -> Result<String, AuthorityError> {
    let time = at(time)?;
    Ok(format!("{:04}-{:02}-{:02}", time.year(), u8::from(time.month()), time.day()))
}

fn earlier(now: Timestamp) -> Timestamp {
    Timestamp::from_unix_s(now.unix_s().saturating_sub(BACKDATED.s_ceil()))
}
