//! What a TLS client makes of the leaves: it takes those of an authority it trusts, for the one host they name.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use aegis_authority::{Authority, AuthorityError, LEAF_LIFE, LeafKey, Store, StoreError};
use aegis_domain::{Host, Region, Timestamp, Ttl};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};

const NOW: Timestamp = Timestamp::from_unix_s(1_795_000_000);

fn region() -> Region {
    Region::parse("eu-west-1").unwrap()
}

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn client(trusted: &str) -> Arc<WebPkiServerVerifier> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trusted.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
}

fn accepts(trusted: &str, leaf: &[u8], name: &str, at: Timestamp) -> bool {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.unix_s()));
    let leaf = CertificateDer::from(leaf);
    client(trusted).verify_server_cert(&leaf, &[], &name, &[], at).is_ok()
}

#[test]
fn a_leaf_is_good_for_its_host_alone_and_for_a_day() {
    let (authority, _) = Authority::create(&region(), NOW).unwrap();
    let key = LeafKey::generate().unwrap();
    let pem = authority.certificate_pem();
    for name in ["api.example.com", "192.0.2.7", "2001:db8::7"] {
        let leaf = authority.leaf(&host(name), &key, NOW).unwrap();
        assert!(accepts(pem, &leaf.der, name, NOW), "{name}");
        assert!(!accepts(pem, &leaf.der, "other.example.com", NOW), "{name}");
        let minute = Ttl::from_s(60);
        assert!(accepts(pem, &leaf.der, name, Timestamp::from_unix_s(NOW.unix_s() - 60)));
        assert!(!accepts(pem, &leaf.der, name, NOW.plus(LEAF_LIFE).plus(minute)), "{name}");
    }
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let (authority, _) = Authority::create(&region(), NOW).unwrap();
    let key = LeafKey::generate().unwrap();
    let late = Timestamp::from_unix_s(authority.ends().unix_s() - 60);
    let leaf = authority.leaf(&host("api.example.com"), &key, late).unwrap();
    assert_eq!(leaf.ends, authority.ends());
}

#[test]
fn another_authority_is_not_believed() {
    let (ours, _) = Authority::create(&region(), NOW).unwrap();
    let (theirs, _) = Authority::create(&region(), NOW).unwrap();
    let leaf = theirs.leaf(&host("api.example.com"), &LeafKey::generate().unwrap(), NOW).unwrap();
    assert!(!accepts(ours.certificate_pem(), &leaf.der, "api.example.com", NOW));
}

#[test]
fn an_authority_survives_a_restart_and_its_key_stays_private() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let first = store.open(&region(), NOW).unwrap();
    let again = store.open(&region(), NOW.plus(Ttl::from_s(9))).unwrap();
    assert_eq!(first.certificate_pem(), again.certificate_pem());
    assert_eq!(first.ends(), again.ends());
    let leaf = again.leaf(&host("a.test"), &LeafKey::generate().unwrap(), NOW).unwrap();
    assert!(accepts(first.certificate_pem(), &leaf.der, "a.test", NOW));

    let file = folder.path().join("authority.pem");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!store.bundle(NOW).unwrap().unwrap().contains("PRIVATE"));
    std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(store.open(&region(), NOW), Err(StoreError::TooOpen { .. })));
}

#[test]
fn after_a_rotation_both_are_trusted_until_the_old_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::at(folder.path());
    let old = store.open(&region(), NOW).unwrap();
    let later = NOW.plus(Ttl::from_s(30 * 24 * 60 * 60));
    let new = store.rotate(&region(), later).unwrap();
    let bundle = store.bundle(later).unwrap().unwrap();
    let key = LeafKey::generate().unwrap();
    for authority in [&old, &new] {
        let leaf = authority.leaf(&host("a.test"), &key, later).unwrap();
        assert!(accepts(&bundle, &leaf.der, "a.test", later));
    }
    let after = store.bundle(old.ends()).unwrap().unwrap();
    assert_eq!(after, new.certificate_pem());
}

#[test]
fn a_file_that_is_no_authority_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    for text in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "x"] {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        let error = Store::at(folder.path()).open(&region(), NOW).unwrap_err();
        assert!(error.to_string().contains("authority.pem"), "{error}");
    }
    // A key and a certificate that do not belong together.
    let (one, _) = Authority::create(&region(), NOW).unwrap();
    let (_, key) = Authority::create(&region(), NOW).unwrap();
    let mixed = Authority::load(one.certificate_pem(), &key);
    assert!(matches!(mixed, Err(AuthorityError::Mismatch)));
}
