//! Upstreams with certificates that must not be believed, protocols that must not be spoken, and questions of their own.
//!
//! Not here: whether a certificate was revoked, which is asked of nobody. Invariant: of a call whose upstream did not
//! prove itself not one byte leaves, and its record says why.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use aegis_domain::Reason;
use aegis_testkit::{Answer, Building, Plan, Script, Upstream, Wire};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::{GATEWAY, house};

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

/// The certificates that must not be believed for `open.test`.
fn matrix(root: &Signer) -> Vec<(&'static str, Shown)> {
    let of = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = leaf(&["open.test"]);
        change(&mut params);
        root.sign(&params)
    };
    let stranger = Signer::root("a stranger");
    let middle = root.below(|_| {});
    let narrow = root.below(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("else.test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let shut = root.below(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: Vec::new(),
            excluded_subtrees: vec![GeneralSubtree::DnsName("test".to_owned())],
        });
    });
    let last = root.below(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_last = last.below(|_| {});
    let no_authority = root.below(|params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let old = root.below(|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let plain = leaf(&["open.test"]);
    let self_signed = {
        let key = KeyPair::generate().unwrap();
        Shown { chain: vec![plain.self_signed(&key).unwrap().pem()], key: key.serialize_pem() }
    };
    let root_itself = Shown { chain: vec![root.pem.clone()], key: root.key_pem.clone() };
    let only_cn = |params: &mut CertificateParams| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "open.test");
    };
    let signs = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    vec![
        (
            "expired",
            of(&|params| {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            }),
        ),
        (
            "not yet valid",
            of(&|params| {
                params.not_before = date_time_ymd(2999, 1, 1);
                params.not_after = date_time_ymd(3000, 1, 1);
            }),
        ),
        ("another name", root.sign(&leaf(&["else.test"]))),
        ("a name below", root.sign(&leaf(&["a.open.test"]))),
        ("a name that begins so", root.sign(&leaf(&["open.test.evil.test"]))),
        ("an address", root.sign(&leaf(&["127.0.0.1"]))),
        ("a wildcard for everything", root.sign(&leaf(&["*"]))),
        ("a wildcard for a whole zone", root.sign(&leaf(&["*.test"]))),
        ("a wildcard in the middle of a label", root.sign(&leaf(&["o*n.test"]))),
        ("a common name and no other", of(&only_cn)),
        ("no name", of(&|params| params.subject_alt_names.clear())),
        ("a stranger's signature", stranger.sign(&plain)),
        ("a stranger's, with its chain", stranger.sign(&plain).with(&stranger)),
        ("its own signature", self_signed),
        ("the authority itself", root_itself),
        ("an authority for a server", of(&signs)),
        (
            "for clients",
            of(&|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            }),
        ),
        (
            "for code",
            of(&|params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            }),
        ),
        ("outside its authority's names", narrow.sign(&plain).with(&narrow)),
        ("among the names shut out", shut.sign(&plain).with(&shut)),
        ("without the one between", middle.sign(&plain)),
        ("one between too many", below_last.sign(&plain).with(&below_last).with(&last)),
        ("signed by a server", no_authority.sign(&plain).with(&no_authority)),
        ("the one between expired", old.sign(&plain).with(&old)),
    ]
}

async fn assert_unproven(house: &Building, route: &str, name: &str) {
    let ask = house.agent("bot").post(&format!("/{route}/x")).json(&json!({ "text": "a" }));
    let reply = ask.send().await;
    assert!(!reply.status.is_success(), "{name}: the upstream was believed");
    reply.is_refused(Reason::UpstreamTls);
    let outcome = house.journal().outcome(reply.decision_id()).await;
    assert_eq!((outcome.reason, outcome.cost.micro_usd()), (Reason::UpstreamTls, 0), "{name}");
}

#[tokio::test]
async fn an_upstream_that_does_not_prove_itself_gets_not_one_byte() {
    let root = Signer::root("the authority");
    let cases = matrix(&root);
    let mut plan = Plan::new().await;
    plan.file("matrix.pem", &root.pem);
    let mut upstreams = Vec::new();
    for (number, (_, shown)) in cases.iter().enumerate() {
        let upstream = Upstream::tls_of(Arc::new(server(shown, &BOTH))).await;
        // Pingora dials by itself where HTTP/2 is asked for, and must see it the same way.
        for protocol in ["http1", "http2", "auto"] {
            let binding = tool(upstream.port(), &json!({ "protocol": protocol }));
            plan = plan.tool(&format!("bad{number}-{protocol}"), binding);
        }
        upstreams.push(upstream);
    }
    let house = plan.start(GATEWAY).await;
    for (number, ((name, _), upstream)) in cases.iter().zip(&upstreams).enumerate() {
        for protocol in ["http1", "http2", "auto"] {
            assert_unproven(&house, &format!("bad{number}-{protocol}"), name).await;
        }
        assert!(upstream.connections() >= 3, "{name}: nobody came");
        assert!(upstream.handshakes().is_empty(), "{name}: a handshake was finished");
        assert_eq!(upstream.count(), 0, "{name}");
    }
    println!("{} bad certificates, {} calls: 0 bytes sent", cases.len(), 3 * cases.len());
}

#[tokio::test]
async fn what_is_signed_as_it_should_be_is_believed() {
    let root = Signer::root("the authority");
    let middle = root.below(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let by_address = json!({ "upstream": "https://127.0.0.1:PORT" });
    let cases = [
        ("a name", root.sign(&leaf(&["open.test"])), json!({})),
        ("one of many names", root.sign(&leaf(&["a.test", "open.test"])), json!({})),
        ("a chain", middle.sign(&leaf(&["open.test"])).with(&middle), json!({})),
        ("an address", root.sign(&leaf(&["127.0.0.1"])), by_address),
    ];
    let mut plan = Plan::new().await;
    plan = plan.policy("acme", "hosts: [open.test]", "hosts: [open.test, 127.0.0.1]");
    plan.file("matrix.pem", &root.pem);
    for (number, (_, shown, more)) in cases.iter().enumerate() {
        let upstream = Upstream::tls_of(Arc::new(server(shown, &BOTH))).await;
        let more = more.to_string().replace("PORT", &upstream.port().to_string());
        let more = serde_json::from_str(&more).unwrap();
        plan = plan.tool(&format!("good{number}"), tool(upstream.port(), &more));
    }
    plan = plan.policy("acme", "hosts: [open.test]", "hosts: [open.test, 127.0.0.1]");
    let house = plan.start(GATEWAY).await;
    for (number, (name, ..)) in cases.iter().enumerate() {
        let reply = house.agent("bot").get(&format!("/good{number}/x")).send().await;
        assert!(reply.status.is_success(), "{name}: {}", reply.text());
    }
}

/// Runs `openssl`, which makes and speaks what no library of ours would.
async fn openssl(folder: &Path, command: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(command.split(' ')).current_dir(folder).output().await.unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server of `openssl` that answers every GET with a page about itself.
async fn s_server(folder: &Path, named: &str, how: &str) -> (Child, u16) {
    let port = {
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    let args = format!("s_server -accept {port} -cert {named}.crt -key {named}.key -www {how}");
    let server = Command::new("openssl")
        .args(args.split(' '))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    (server, port)
}

#[tokio::test]
async fn old_protocols_weak_suites_and_weak_signatures_are_refused() {
    if !tool_is_there("openssl") {
        return;
    }
    let root = Signer::root("the authority");
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("ca.crt"), &root.pem).unwrap();
    std::fs::write(at.join("ca.key"), &root.key_pem).unwrap();
    std::fs::write(at.join("names"), "subjectAltName=DNS:open.test").unwrap();
    for (named, kind, hash) in [
        ("good", "rsa:2048", "sha256"),
        ("short", "rsa:1024", "sha256"),
        ("weak", "rsa:2048", "sha1"),
    ] {
        let made = format!(
            "req -newkey {kind} -nodes -keyout {named}.key -out {named}.csr -subj /CN=open.test"
        );
        openssl(at, &made).await;
        let signed = format!(
            "x509 -req -in {named}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -{hash} -days 2 \
             -extfile names -out {named}.crt"
        );
        openssl(at, &signed).await;
    }
    let any = "-cipher ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    let only = |suite: &str| format!("-tls1_2 -cipher {suite}:@SECLEVEL=0");
    let cases = [
        ("TLS 1.0", "good", format!("-tls1 {any}")),
        ("TLS 1.1", "good", format!("-tls1_1 {any}")),
        ("a key of 1024 bits", "short", any.to_owned()),
        ("a SHA-1 signature", "weak", any.to_owned()),
        ("no forward secrecy", "good", only("AES128-GCM-SHA256")),
        ("CBC", "good", only("ECDHE-RSA-AES128-SHA")),
        ("CBC with SHA-256", "good", only("ECDHE-RSA-AES128-SHA256")),
        ("no encryption", "good", only("ECDHE-RSA-NULL-SHA")),
        ("no certificate", "good", only("AECDH-AES128-SHA")),
        ("finite fields", "good", only("DHE-RSA-AES128-GCM-SHA256")),
    ];
    let mut plan = Plan::new().await;
    plan.file("matrix.pem", &root.pem);
    let mut servers = Vec::new();
    for (number, (_, named, how)) in cases.iter().enumerate() {
        let (server, port) = s_server(at, named, how).await;
        plan = plan.tool(&format!("weak{number}"), tool(port, &json!({})));
        servers.push(server);
    }
    let (_control, port) = s_server(at, "good", &only("ECDHE-RSA-AES128-GCM-SHA256")).await;
    let house = plan.tool("strong", tool(port, &json!({}))).start(GATEWAY).await;
    // The same server is believed once it speaks as it should.
    house.agent("bot").get("/strong/x").send().await.is_ok();
    for (number, ((name, ..), server)) in cases.iter().zip(&mut servers).enumerate() {
        assert_unproven(&house, &format!("weak{number}"), name).await;
        server.start_kill().unwrap();
        let mut said = String::new();
        server.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
        assert!(!said.contains("POST /"), "{name}: {said}");
    }
    println!("{} weak upstreams: 0 bytes sent", cases.len());
}

/// Says so when a program is absent; where everything must be tested that is a failure.
fn tool_is_there(name: &str) -> bool {
    let is_there = std::process::Command::new(name).arg("version").output().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "{name} is missing");
    if !is_there {
        println!("skipped: {name} is not installed");
    }
    is_there
}

#[tokio::test]
async fn our_own_listener_and_our_tunnels_speak_tls_1_2_and_1_3_with_strong_suites_only() {
    if !tool_is_there("openssl") {
        return;
    }
    let house = house().await;
    let suites = "ciphers -s -tls1_2 ALL:COMPLEMENTOFALL:@SECLEVEL=0";
    let suites = Command::new("openssl").args(suites.split(' ')).output().await.unwrap();
    let suites = String::from_utf8(suites.stdout).unwrap();
    let token = house.agent("bot").token();
    let listener = format!("-connect 127.0.0.1:{}", house.tls_port());
    let tunnel = format!(
        "-connect open.test:443 -servername open.test -proxy 127.0.0.1:{} -proxy_user agent \
         -proxy_pass pass:{token}",
        house.port()
    );
    let old = ["-tls1", "-tls1_1"].map(|version| (version, "ALL:COMPLEMENTOFALL"));
    let offers = suites.trim().split(':').map(|suite| ("-tls1_2", suite)).chain(old);
    let (mut taken, mut tried) = (Vec::new(), 0);
    for (version, suite) in offers {
        for place in [&listener, &tunnel] {
            tried += 1;
            let args = format!("s_client {place} {version} -cipher {suite}:@SECLEVEL=0");
            let mut client = Command::new("openssl");
            let said = client.args(args.split(' ')).stdin(Stdio::null()).output().await.unwrap();
            if said.status.success() {
                taken.push(format!("{version} {suite}"));
            }
        }
    }
    println!("{tried} offers, taken: {taken:?}");
    assert!(tried > 100, "{suites}");
    let strong = ["AES256-GCM-SHA384", "CHACHA20-POLY1305", "AES128-GCM-SHA256"];
    let strong = strong.map(|suite| format!("-tls1_2 ECDHE-ECDSA-{suite}"));
    assert!(taken.iter().all(|it| strong.contains(it)), "{taken:?}");
    assert_eq!(taken.len(), 2 * strong.len(), "each of them at both: {taken:?}");
}

/// An upstream that hangs up after each answer, so that each call has a handshake.
async fn forgetful(shown: &Shown, versions: &[&'static SupportedProtocolVersion]) -> Upstream {
    let upstream = Upstream::tls_of(Arc::new(server(shown, versions))).await;
    upstream.on("/x", Script::Answer(Answer::default().header("connection", "close")));
    upstream
}

#[tokio::test]
async fn sessions_are_resumed_with_a_private_authority_and_never_for_another_tool() {
    let root = Signer::root("the authority");
    let shown = root.sign(&leaf(&["open.test"]));
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let upstream = forgetful(&shown, &[version]).await;
        let plan = Plan::new().await;
        plan.file("matrix.pem", &root.pem);
        let binding = tool(upstream.port(), &json!({}));
        let auto = tool(upstream.port(), &json!({ "protocol": "auto" }));
        let plan = plan.tool("one", binding.clone()).tool("two", binding).tool("three", auto);
        let house = plan.start(GATEWAY).await;
        for tool in ["one", "two", "three"] {
            let before = upstream.handshakes().len();
            for _ in 0..6 {
                house.agent("bot").get(&format!("/{tool}/x")).send().await.is_ok();
            }
            let all = upstream.handshakes();
            let shakes = &all[before..];
            let resumed: Vec<bool> = shakes.iter().map(|shake| shake.is_resumed).collect();
            println!("{name:?}, {tool}: {resumed:?}");
            assert_eq!(resumed, [false, true, true, true, true, true], "{tool}");
            assert!(shakes.iter().all(|shake| shake.version == name));
        }
    }
}

#[tokio::test]
async fn http2_is_found_out_once_and_then_spoken() {
    let house = house().await;
    for _ in 0..4 {
        house.agent("bot").get("/open/x").over(Wire::TlsHttp2).send().await.is_ok();
    }
    let calls = house.upstream().calls();
    assert!(calls.iter().all(|call| call.version == http::Version::HTTP_2));
    assert!(calls.iter().all(|call| call.connection == calls[0].connection));
    assert_eq!(house.upstream().connections(), 2, "one to find out, and one for all calls");
}

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
