//! The voters of a region to each other: the authority of their cluster, each one's certificate, and what a machine is
//! invited with.
//!
//! Not here: what voters do (`raft-store`). This authority signs nothing but voters, and is not the one agents trust.
//! Invariant: every file is 0600 and whole or not there; a cluster's files are never written over by another's.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use aegis_domain::{Secret, Timestamp, Ttl};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::store::{facts, read_secret, replace};
use crate::{AuthorityError, StoreError, at, date, earlier};

/// A cluster outlives its machines; whoever doubts its authority's key makes the cluster anew (`recover`).
const AUTHORITY_LIFE: Ttl = Ttl::from_s(10 * 365 * 24 * 60 * 60);
/// A voter renews its own long before that.
const VOTER_LIFE: Ttl = Ttl::from_s(90 * 24 * 60 * 60);
const RENEWED_BEFORE: Ttl = Ttl::from_s(30 * 24 * 60 * 60);

const KEY_ENDS: &str = "-----BEGIN CERTIFICATE-----";

/// One voter of one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterName {
    pub cluster: String,
    pub node: u64,
}

impl VoterName {
    fn uri(&self) -> String {
        format!("aegis://{}/voters/{}", self.cluster, self.node)
    }

    fn of(certificate: &X509Certificate<'_>) -> Option<Self> {
        let names = certificate.subject_alternative_name().ok()??;
        let name = names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => uri.strip_prefix("aegis://")?.split_once("/voters/"),
            _ => None,
        });
        let (cluster, node) = name?;
        Some(Self { cluster: cluster.to_owned(), node: node.parse().ok()? })
    }
}

/// What a voter proves itself with, in PEM.
#[derive(Debug)]
pub struct VoterCredentials {
    pub name: VoterName,
    pub authority: String,
    pub certificate: String,
    pub key: Secret<String>,
    pub ends: Timestamp,
}

impl VoterCredentials {
    pub fn wants_renewal(&self, now: Timestamp) -> bool {
        self.ends < now.plus(RENEWED_BEFORE)
    }
}

/// What a voter's next start may do once. Without one, its ledger must be there: a voter that comes back empty under its
/// old id could vote twice in a term.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Mandate {
    /// Begin a cluster, with the ledger that is there or an empty one.
    Found,
    /// Begin with nothing, and learn from the others.
    Join,
    /// Take over the ledger of a voter whose cluster is lost.
    Recover(VoterName),
    /// Take over the ledger of the backup beside this.
    Restore,
}

/// All that a machine needs to become one voter. Whoever has it is that voter, and can make others.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    pub name: VoterName,
    /// Where the others will look for it.
    pub address: String,
    authority: String,
    voter: String,
    /// Signs what the region attests, in PKCS#8 PEM.
    pub region_key: String,
    /// What followers prove themselves with, so that one token counts at every voter.
    pub follower_token: String,
}

/// What all voters of a region have in common.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    pub region_key: &'a Secret<String>,
    pub follower_token: &'a Secret<String>,
}

/// The files of a voter, `control/cluster` in its data directory.
#[derive(Clone, Debug)]
pub struct VoterFiles(PathBuf);

impl VoterFiles {
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// Where a backup lies that is to be taken over.
    pub fn backup(&self) -> PathBuf {
        self.0.join("backup.json")
    }

    /// Makes a cluster: its authority and its first voter.
    pub fn create(
        &self,
        name: &VoterName,
        mandate: &Mandate,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let key = KeyPair::generate().map_err(AuthorityError::Making)?;
        let mut params = CertificateParams::default();
        let title = format!("Aegis voters {} {}", name.cluster, date(now)?);
        params.distinguished_name.push(DnType::CommonName, title);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = at(earlier(now))?;
        params.not_after = at(now.plus(AUTHORITY_LIFE))?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Making)?;
        let authority = Secret::new(key.serialize_pem() + &certificate.pem());
        let voter = Signer::load(&authority)?.voter(name, now)?;
        self.lay_out(&authority, &voter, mandate)
    }

    /// Takes an invitation up.
    pub fn accept(&self, invitation: &Invitation) -> Result<(), StoreError> {
        let authority = Secret::new(invitation.authority.clone());
        let voter = Secret::new(invitation.voter.clone());
        Signer::load(&authority)?;
        let (_, certificate) = split(&voter);
        let wrong = |source| StoreError::Content { path: PathBuf::from("the invitation"), source };
        let (name, _) = named(certificate).map_err(wrong)?;
        if name != invitation.name {
            return Err(wrong(AuthorityError::Mismatch));
        }
        self.lay_out(&authority, &voter, &Mandate::Join)
    }

    /// The voter's own file comes last: without it the others are of no use, and with it they are all there.
    fn lay_out(
        &self,
        authority: &Secret<String>,
        voter: &Secret<String>,
        mandate: &Mandate,
    ) -> Result<(), StoreError> {
        let file = |source| StoreError::File { path: self.0.clone(), source };
        if self.read()?.is_some() {
            return Err(file(ErrorKind::AlreadyExists.into()));
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(file)?;
        let mandate = serde_json::to_vec(mandate).map_err(|error| file(error.into()))?;
        replace(&self.0.join("mandate.json"), &mandate, 0o600)?;
        replace(&self.0.join("authority.pem"), authority.expose().as_bytes(), 0o600)?;
        replace(&self.voter(), voter.expose().as_bytes(), 0o600)
    }

    /// What this voter is, if it is one of a cluster.
    pub fn read(&self) -> Result<Option<VoterCredentials>, StoreError> {
        let Some(voter) = read_secret(&self.voter())? else { return Ok(None) };
        let (key, certificate) = split(&voter);
        let content = |source| StoreError::Content { path: self.voter(), source };
        let (name, ends) = named(certificate).map_err(content)?;
        let authority = self.authority()?;
        Ok(Some(VoterCredentials {
            name,
            authority: split(&authority).1.to_owned(),
            certificate: certificate.to_owned(),
            key: Secret::new(key.to_owned()),
            ends,
        }))
    }

    pub fn mandate(&self) -> Result<Option<Mandate>, StoreError> {
        let path = self.0.join("mandate.json");
        let Some(text) = read_secret(&path)? else { return Ok(None) };
        let mandate = serde_json::from_str(text.expose());
        mandate.map(Some).map_err(|error| StoreError::File { path, source: error.into() })
    }

    /// What the mandate allowed was done.
    pub fn carried_out(&self) -> Result<(), StoreError> {
        for path in [self.0.join("mandate.json"), self.backup()] {
            match fs::remove_file(&path) {
                Err(source) if source.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::File { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What another machine joins with.
    pub fn invite(
        &self,
        (name, address): (VoterName, &str),
        common: Common<'_>,
        now: Timestamp,
    ) -> Result<Invitation, StoreError> {
        let authority = self.authority()?;
        let voter = Signer::load(&authority)?.voter(&name, now)?;
        Ok(Invitation {
            name,
            address: address.to_owned(),
            authority: authority.expose().clone(),
            voter: voter.expose().clone(),
            region_key: common.region_key.expose().clone(),
            follower_token: common.follower_token.expose().trim().to_owned(),
        })
    }

    /// A new key and certificate for this voter.
    pub fn renew(&self, name: &VoterName, now: Timestamp) -> Result<(), StoreError> {
        let voter = Signer::load(&self.authority()?)?.voter(name, now)?;
        replace(&self.voter(), voter.expose().as_bytes(), 0o600)
    }

    /// Puts these files aside, for a voter that is to be of another cluster.
    pub fn put_aside(&self, now: Timestamp) -> Result<(), StoreError> {
        let aside = self.0.with_extension(format!("before-{}", now.unix_s()));
        match fs::rename(&self.0, &aside) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(StoreError::File { path: aside, source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn voter(&self) -> PathBuf {
        self.0.join("voter.pem")
    }

    fn authority(&self) -> Result<Secret<String>, StoreError> {
        let path = self.0.join("authority.pem");
        let missing =
            || StoreError::File { path: path.clone(), source: ErrorKind::NotFound.into() };
        read_secret(&path)?.ok_or_else(missing)
    }
}

/// The authority at work.
struct Signer(Issuer<'static, KeyPair>);

impl Signer {
    fn load(both: &Secret<String>) -> Result<Self, AuthorityError> {
        let (key, certificate) = split(both);
        let key = KeyPair::from_pem(key).map_err(AuthorityError::Unusable)?;
        if facts(certificate)?.0 != key.public_key_raw() {
            return Err(AuthorityError::Mismatch);
        }
        Issuer::from_ca_cert_pem(certificate, key).map(Self).map_err(AuthorityError::Unusable)
    }

    /// A voter's key and certificate. It is both ends of connections, so its certificate is good for both.
    fn voter(&self, name: &VoterName, now: Timestamp) -> Result<Secret<String>, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Making)?;
        let mut params = CertificateParams::default();
        let uri = name.uri().as_str().try_into().map_err(AuthorityError::Making)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = at(earlier(now))?;
        params.not_after = at(now.plus(VOTER_LIFE))?;
        let certificate = params.signed_by(&key, &self.0).map_err(AuthorityError::Making)?;
        Ok(Secret::new(key.serialize_pem() + &certificate.pem()))
    }
}

/// A key and the certificate after it.
fn split(both: &Secret<String>) -> (&str, &str) {
    let both = both.expose();
    both.split_at(both.find(KEY_ENDS).unwrap_or(both.len()))
}

/// Whom a certificate names, and when it ends.
fn named(pem: &str) -> Result<(VoterName, Timestamp), AuthorityError> {
    let unusable = || AuthorityError::Unusable(rcgen::Error::CouldNotParseCertificate);
    let (pem, _) = Pem::read(std::io::Cursor::new(pem.as_bytes())).map_err(|_| unusable())?;
    let parsed = X509Certificate::from_der(&pem.contents);
    let (_, certificate) = parsed.map_err(|_| unusable())?;
    let ends = u64::try_from(certificate.validity().not_after.timestamp());
    let ends = Timestamp::from_unix_s(ends.map_err(|_| AuthorityError::Time)?);
    Ok((VoterName::of(&certificate).ok_or_else(unusable)?, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix_s(1_790_000_000)
    }

    fn name(node: u64) -> VoterName {
        VoterName { cluster: "eu-west-1".into(), node }
    }

    fn founder(folder: &Path) -> VoterFiles {
        let files = VoterFiles::at(&folder.join("cluster"));
        files.create(&name(1), &Mandate::Found, now()).unwrap();
        files
    }

    #[test]
    fn a_voter_is_who_its_invitation_says() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let founder = founder(here.path());
        assert_eq!(founder.read().unwrap().unwrap().name, name(1));
        let key = Secret::new("the region's key".to_owned());
        let common = Common { region_key: &key, follower_token: &key };
        let mut invitation = founder.invite((name(2), "b:7400"), common, now()).unwrap();
        let joiner = VoterFiles::at(&there.path().join("cluster"));
        invitation.name.node = 3;
        assert!(joiner.accept(&invitation).is_err(), "its certificate names another");
        invitation.name.node = 2;
        joiner.accept(&invitation).unwrap();
        let joined = joiner.read().unwrap().unwrap();
        assert_eq!(joined.name, name(2));
        assert_eq!(joined.authority, founder.read().unwrap().unwrap().authority);
        assert!(joiner.accept(&invitation).is_err(), "what is there is not written over");
    }

    #[test]
    fn a_mandate_is_good_until_it_was_carried_out() {
        let home = tempfile::tempdir().unwrap();
        let files = founder(home.path());
        assert_eq!(files.mandate().unwrap(), Some(Mandate::Found));
        files.carried_out().unwrap();
        assert_eq!(files.mandate().unwrap(), None);
        files.carried_out().unwrap();
    }

    #[test]
    fn a_renewed_certificate_names_the_same_voter_and_ends_later() {
        let home = tempfile::tempdir().unwrap();
        let files = founder(home.path());
        let before = files.read().unwrap().unwrap();
        let later = now().plus(Ttl::from_s(70 * 24 * 60 * 60));
        assert!(!before.wants_renewal(now()) && before.wants_renewal(later));
        files.renew(&before.name, later).unwrap();
        let after = files.read().unwrap().unwrap();
        assert_eq!(after.name, before.name);
        assert!(after.ends > before.ends && after.certificate != before.certificate);
        assert_eq!(after.authority, before.authority);
    }

    #[test]
    fn files_that_others_can_read_are_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let files = founder(home.path());
        let open = fs::Permissions::from_mode(0o644);
        fs::set_permissions(files.voter(), open).unwrap();
        assert!(matches!(files.read(), Err(StoreError::TooOpen { .. })));
    }
}
