//! A CA and a certificate for the fake upstream, made anew for every run.
//!
//! Not here: who uses them. Invariant: the key of the CA behind the upstream's certificate is never written down.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// What the upstream's certificate is for.
pub(crate) const UPSTREAM_NAME: &str = "api.payments.test";

/// Where the certificates of one run lie.
#[derive(Clone, Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificates {
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let files = Self {
            ca: folder.join("ca.pem"),
            certificate: folder.join("upstream.pem"),
            key: folder.join("upstream.key"),
        };
        let (ca, ca_key) = authority()?;
        std::fs::write(&files.ca, ca.self_signed(&ca_key)?.pem())?;
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let mut leaf = CertificateParams::new(vec![UPSTREAM_NAME.to_owned()])?;
        leaf.use_authority_key_identifier_extension = true;
        std::fs::write(&files.certificate, leaf.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(&files.key, key.serialize_pem())?;
        Ok(files)
    }
}

/// An authority for a proxy that signs leaves of its own: certificate and key in one file.
pub(crate) fn make_authority(file: &Path) -> anyhow::Result<()> {
    let (ca, key) = authority()?;
    std::fs::write(file, format!("{}{}", ca.self_signed(&key)?.pem(), key.serialize_pem()))?;
    Ok(())
}

fn authority() -> anyhow::Result<(CertificateParams, KeyPair)> {
    let mut params = CertificateParams::new(Vec::new())?;
    // OpenSSL takes a leaf whose names are its issuer's for a certificate that signed itself.
    params.distinguished_name.push(DnType::CommonName, "load test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok((params, KeyPair::generate()?))
}
