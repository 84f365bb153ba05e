//! Upstreams that ask who calls.

use std::path::Path;
use std::sync::Arc;

use aegis_domain::Reason;
use aegis_testkit::{Plan, Upstream};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde_json::{Value, json};

use super::{Shown, Signer, der, leaf, tool};
use crate::GATEWAY;

/// An upstream that asks every client for a certificate of this authority.
async fn asking(
    root: &Signer,
    clients: &Signer,
    version: &'static SupportedProtocolVersion,
) -> Upstream {
    let (chain, key) = der(&root.sign(&leaf(&["open.test"])));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let builder = builder.with_client_cert_verifier(verifier.build().unwrap());
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Upstream::tls_of(Arc::new(config)).await
}

fn for_clients(signer: &Signer, name: &str) -> Shown {
    let mut params = leaf(&[name]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    signer.sign(&params)
}

/// Writes a pair as users would have it.
fn pair(plan: &Plan, folder: &Path, name: &str, shown: &Shown, mode: u32) -> Value {
    use std::os::unix::fs::PermissionsExt as _;

    plan.file(&format!("{name}.crt"), &shown.chain.concat());
    let key = folder.join(format!("{name}.key"));
    std::fs::write(&key, &shown.key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    json!({ "chain": format!("{name}.crt"), "key": key })
}

/// In TLS 1.3 the refusal comes after the handshake, and the library of HTTP/2 tells no more than that the connection
/// ended.
fn refused_as(protocol: &str, version: &SupportedProtocolVersion) -> Reason {
    if protocol == "http1" || *version == TLS12 {
        Reason::UpstreamTls
    } else {
        Reason::UpstreamFailed
    }
}

#[tokio::test]
async fn a_tool_shows_its_own_certificate_to_an_upstream_that_asks() {
    let (root, clients) = (Signer::root("the authority"), Signer::root("the clients"));
    let folder = tempfile::tempdir().unwrap();
    let middle = clients.below(|_| {});
    let mine = for_clients(&clients, "aegis");
    let other = for_clients(&middle, "aegis-too").with(&middle);
    let strange = for_clients(&Signer::root("a stranger"), "aegis");
    for version in [&TLS12, &TLS13] {
        let upstream = asking(&root, &clients, version).await;
        let mut plan = Plan::new().await;
        plan.file("matrix.pem", &root.pem);
        let pairs = [("mine", &mine), ("other", &other), ("strange", &strange)]
            .map(|(name, shown)| (name, pair(&plan, folder.path(), name, shown, 0o600)));
        for protocol in ["http1", "http2", "auto"] {
            for (name, pair) in &pairs {
                let more = json!({ "client_certificate": pair, "protocol": protocol });
                plan = plan.tool(&format!("{name}-{protocol}"), tool(upstream.port(), &more));
            }
            let none = tool(upstream.port(), &json!({ "protocol": protocol }));
            plan = plan.tool(&format!("none-{protocol}"), none);
        }
        let house = plan.start(GATEWAY).await;
        for protocol in ["http1", "http2", "auto"] {
            for (name, shown) in [("mine", &mine), ("other", &other)] {
                let ask = house.agent("bot").get(&format!("/{name}-{protocol}/x"));
                ask.send().await.is_ok();
                let shake = upstream.handshakes().pop().unwrap();
                assert_eq!(shake.client.unwrap(), der(shown).0[0].to_vec(), "{name} {protocol}");
            }
            let before = (upstream.handshakes().len(), upstream.count());
            for name in ["strange", "none"] {
                let ask = house.agent("bot").get(&format!("/{name}-{protocol}/x"));
                let reason = refused_as(protocol, version);
                ask.send().await.is_refused(reason);
            }
            assert_eq!((upstream.handshakes().len(), upstream.count()), before);
        }
    }
}

#[tokio::test]
async fn a_client_certificate_that_cannot_be_used_is_told_with_its_place() {
    let (root, folder) = (Signer::root("the authority"), tempfile::tempdir().unwrap());
    let (one, two) = (for_clients(&root, "one"), for_clients(&root, "two"));
    let mixed = Shown { chain: one.chain.clone(), key: two.key.clone() };
    let empty = Shown { chain: Vec::new(), key: one.key.clone() };
    let no_key = Shown { chain: one.chain.clone(), key: "no key".to_owned() };
    for (name, shown, mode, line, said) in [
        ("mixed", &mixed, 0o600, "client_certificate", "does not belong to the first certificate"),
        ("empty", &empty, 0o600, "empty.crt", "holds no certificate"),
        ("nokey", &no_key, 0o600, "nokey.key", "the key is not PEM"),
        ("open", &one, 0o644, "open.key", "others may read the key"),
        ("writable", &one, 0o660, "writable.key", "or its group change it"),
    ] {
        let plan = Plan::new().await;
        let pair = pair(&plan, folder.path(), name, shown, mode);
        let plan = plan.with("/tenants/acme/tools/open/client_certificate", pair);
        let (failed, house) = plan.fails(GATEWAY).await;
        let config = std::fs::read_to_string(house.data().join("aegis.yaml")).unwrap();
        let number = config.lines().position(|text| text.contains(line)).unwrap() + 1;
        let place = format!("aegis.yaml:{number}:");
        assert!(failed.stderr.contains(&place), "{place}\n{}", failed.stderr);
        assert!(failed.stderr.contains(said), "{said}\n{}", failed.stderr);
        assert!(!failed.stderr.contains("PRIVATE"), "{}", failed.stderr);
    }
    let missing = json!({ "chain": "nowhere.crt", "key": "nowhere.key" });
    let plan = Plan::new().await.with("/tenants/acme/tools/open/client_certificate", missing);
    let (failed, _house) = plan.fails(GATEWAY).await;
    for what in ["the chain cannot be read", "the key cannot be read"] {
        assert!(failed.stderr.contains(what), "{}", failed.stderr);
    }
}

/// No file of the gateway names the tool: the region says which of the gateway's own things it goes with.
#[tokio::test]
async fn a_tool_of_the_region_goes_with_the_gateways_own_authority_and_certificate() {
    const CRM: &str = "/v1/tenants/acme/tools/crm";
    let (root, clients) = (Signer::root("the authority"), Signer::root("the clients"));
    let folder = tempfile::tempdir().unwrap();
    let mine = for_clients(&clients, "aegis");
    let upstream = asking(&root, &clients, &TLS13).await;
    let plan = Plan::new().await.keeping_the_registry().tool("crm", json!({}));
    plan.file("inside.pem", &root.pem);
    let mut lent = pair(&plan, folder.path(), "mine", &mine, 0o600);
    lent["hosts"] = json!(["open.test"]);
    lent["tenants"] = json!(["acme"]);
    let inside = json!({ "ca_file": "inside.pem", "hosts": ["open.test"], "tenants": ["acme"] });
    let plan = plan
        .without("/tenants/acme/tools/crm")
        .with("/definitions", json!({ "from": "region", "addresses": ["127.0.0.1/32"] }))
        .with("/authorities", json!({ "inside": inside }))
        .with("/client_certificates", json!({ "mine": lent }));
    let house = plan.start(GATEWAY).await;
    let define = |host: &str, more: &str| {
        let to = format!("upstream: https://{host}:{}\nresolve: [127.0.0.1]\n", upstream.port());
        let text = format!("{to}addresses: [127.0.0.1]\n{more}");
        house.region().put(CRM, json!({ "text": text }));
    };
    let call = || async { house.agent("bot").get("/crm/x").send().await };

    for protocol in ["http1", "http2", "auto"] {
        let both = "authority: inside\nclient_certificate: mine\n";
        define("open.test", &format!("{both}protocol: {protocol}\n"));
        call().await.is_ok();
        let shake = upstream.handshakes().pop().unwrap();
        assert_eq!(shake.client.unwrap(), der(&mine).0[0].to_vec(), "{protocol}");
    }
    let before = upstream.count();
    for (host, more, reason) in [
        ("open.test", "client_certificate: mine\n", Reason::UpstreamTls),
        ("open.test", "authority: inside\nprotocol: http1\n", Reason::UpstreamTls),
        ("care.test", "client_certificate: mine\n", Reason::DefinitionUnusable),
        ("care.test", "authority: inside\n", Reason::DefinitionUnusable),
        ("open.test", "authority: outside\n", Reason::DefinitionUnusable),
    ] {
        define(host, more);
        call().await.is_refused(reason);
    }
    assert_eq!(upstream.count(), before);
    let told = house.stderr();
    assert!(told.contains("the client certificate `mine` is not for care.test"), "{told}");
    assert!(told.contains("`authorities` has no `outside`"), "{told}");
}
