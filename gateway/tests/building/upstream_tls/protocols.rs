//! Protocols and suites, old and new; sessions that are resumed.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use aegis_testkit::{Answer, Plan, Script, Upstream, Wire};
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, SupportedProtocolVersion};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::certificates::assert_unproven;
use super::{Shown, Signer, leaf, server, tool};
use crate::{GATEWAY, house};

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
