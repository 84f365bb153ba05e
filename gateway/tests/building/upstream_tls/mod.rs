//! Upstreams with certificates that must not be believed, protocols that must not be spoken, and questions of their own.
//!
//! Not here: whether a certificate was revoked, which is asked of nobody. Invariant: of a call whose upstream did not
//! prove itself not one byte leaves, and its record says why.

mod certificates;
mod clients;
mod protocols;

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use serde_json::{Value, json};

/// Signs whatever a test asks for.
struct Signer {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key_pem: String,
}

/// A chain, leaf first, and the leaf's key.
#[derive(Clone)]
struct Shown {
    chain: Vec<String>,
    key: String,
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Signer {
    fn root(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().unwrap());
        let pem = params.self_signed(&key).unwrap().pem();
        let key_pem = key.serialize_pem();
        Self { issuer: Issuer::new(params, key), pem, key_pem }
    }

    /// An authority below this one.
    fn below(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let (mut params, key) = (authority("a middle one"), KeyPair::generate().unwrap());
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let key_pem = key.serialize_pem();
        Self { issuer: Issuer::new(params, key), pem, key_pem }
    }

    fn sign(&self, params: &CertificateParams) -> Shown {
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().pem()];
        Shown { chain, key: key.serialize_pem() }
    }
}

impl Shown {
    fn with(mut self, middle: &Signer) -> Self {
        self.chain.push(middle.pem.clone());
        self
    }
}

fn der(shown: &Shown) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = shown.chain.iter();
    let chain = chain.map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).collect();
    (chain, PrivateKeyDer::from_pem_slice(shown.key.as_bytes()).unwrap())
}

fn server(shown: &Shown, versions: &[&'static SupportedProtocolVersion]) -> ServerConfig {
    let (chain, key) = der(shown);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(versions).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A tool at this port that trusts `matrix.pem` alone.
fn tool(port: u16, more: &Value) -> Value {
    let mut binding = json!({
        "upstream": format!("https://open.test:{port}"), "resolve": ["127.0.0.1"],
        "addresses": ["127.0.0.1"], "ca_file": "matrix.pem", "protocol": "http1",
        "price": { "per_call_usd": "0.01" },
    });
    for (name, value) in more.as_object().unwrap() {
        binding[name] = value.clone();
    }
    binding
}
