//! TLS: an agent that shows its certificate enrols with it, gets tokens by it, and has them bound to it (RFC 8705).
//!
//! Not here: the rest of the API, which is the same. Invariant: the certificates are real and self-signed, and the
//! handshakes are rustls'.

use std::sync::Arc;

use aegis_control::{Serving, SubjectSources, serve, tls_config};
use aegis_identity::{CertificateThumbprint, inspect};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::node::open;

fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn der(key: &CertifiedKey<rcgen::KeyPair>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.signing_key.serialize_der()))
}

/// A client that trusts the server, and shows a certificate if it has one.
fn client(
    server: &CertifiedKey<rcgen::KeyPair>,
    own: Option<&CertifiedKey<rcgen::KeyPair>>,
) -> ureq::Agent {
    let root = Certificate::from_der(server.cert.der()).to_owned();
    let own = own.map(|own| {
        let key = PrivateKey::from_pem(own.signing_key.serialize_pem().as_bytes()).unwrap();
        ClientCert::new_with_certs(&[Certificate::from_der(own.cert.der()).to_owned()], key)
    });
    let tls = TlsConfig::builder().root_certs(RootCerts::from([root])).client_cert(own).build();
    ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
}

fn sent(client: &ureq::Agent, url: &str, kind: &str, bearer: &str, body: &str) -> (u16, Value) {
    let request = client.post(url).header("content-type", kind).header("authorization", bearer);
    let request =
        if bearer.is_empty() { client.post(url).header("content-type", kind) } else { request };
    let mut answer = request.send(body).unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
}

#[test]
fn a_certificate_enrols_authenticates_and_binds() {
    let (server, agent, thief) = (certificate(), certificate(), certificate());
    let home = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let control = Arc::new(runtime.block_on(open(home.path(), &url, SubjectSources::default())));
    let tls = tls_config(vec![server.cert.der().clone()], der(&server)).unwrap();
    runtime.spawn(serve(listener, control, Serving::Tls(Arc::new(tls)), std::future::pending()));

    let admin = format!(
        "Bearer {}",
        std::fs::read_to_string(home.path().join("admin.token")).unwrap().trim()
    );
    let json_type = "application/json";
    let new = json!({ "tenant": "acme", "id": "bot", "org": "acme", "mode": "mtls" }).to_string();
    let (status, registered) =
        sent(&client(&server, None), &format!("{url}/v1/agents"), json_type, &admin, &new);
    assert_eq!(status, 201, "{registered}");
    let code = json!({ "code": registered["enrolment"]["code"] }).to_string();
    let enrol = format!("{url}/v1/enrol");
    assert_eq!(sent(&client(&server, None), &enrol, json_type, "", &code).0, 403, "no certificate");
    let (status, enrolled) = sent(&client(&server, Some(&agent)), &enrol, json_type, "", &code);
    let thumbprint = CertificateThumbprint::of_der(agent.cert.der()).to_string();
    assert_eq!((status, &enrolled["agent"]["key"]["x5t#S256"]), (200, &json!(thumbprint)));

    let ask = |own| {
        let form = "grant_type=client_credentials&client_id=acme%2Fbot";
        let kind = "application/x-www-form-urlencoded";
        sent(&client(&server, own), &format!("{url}/oauth2/token"), kind, "", form)
    };
    let (status, answer) = ask(Some(&agent));
    assert_eq!(status, 200, "{answer}");
    let seen = inspect(answer["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(seen.unverified_payload["cnf"], json!({ "x5t#S256": thumbprint }));
    assert_eq!(ask(Some(&thief)).1["error"], "invalid_client");
    assert_eq!(ask(None).1["error"], "invalid_request");
}
