//! Clients just work: well-known libraries and programs through `HTTPS_PROXY`, and SDKs through `base_url` too.
//!
//! Not here: what the proxy refuses (`proxy`). `make clients` installs the libraries; without them these tests say so and
//! are skipped, but where `CI` is set they fail. Invariant: a client is configured as its users would, with nothing patched.
#![expect(clippy::print_stdout, reason = "says what was tried and what was skipped")]

use std::path::{Path, PathBuf};
use std::process::Output;

use aegis_testkit::{Answer, Building, Gate, Plan, Script};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::GATEWAY;
use crate::proxy::trusting;

/// Where `make clients` puts them.
pub(crate) fn installed() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/clients");
    let place = std::env::var_os("AEGIS_CLIENTS").map_or(target, PathBuf::from);
    if place.join("venv/bin/python").exists() {
        return Some(place);
    }
    let wanted = std::env::var_os("CI").is_some();
    assert!(!wanted, "the client libraries are not installed: run `make clients`");
    println!("skipped: the client libraries are not installed; run `make clients`");
    None
}

pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A building in which the calls of every client are allowed.
async fn building() -> Building {
    let plan = Plan::new()
        .await
        .policy(
            "acme",
            "messages: { type: array }",
            "messages: { type: array }\n      model: { type: string }",
        )
        .policy("acme", "[/v1/chat/completions]", "[/v1/chat/completions, /v1/messages]")
        .policy(
            "acme",
            "page: { type: string }",
            "page: { type: string }\n      service: { type: string }",
        )
        .without("/tenants/acme/tools/model/price")
        .without("/tenants/acme/tools/model/credential");
    trusting(plan.start(GATEWAY).await)
}

/// Those in which they look for the proxy: gRPC reads small letters, aiohttp a name of its own for WebSocket.
const PROXIES: [&str; 3] = ["HTTPS_PROXY", "https_proxy", "WSS_PROXY"];
/// The variables in which programs look for the authorities they trust.
const AUTHORITY_FILES: [&str; 5] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// A command in an environment as an agent's would be.
pub(crate) fn through_proxy(house: &Building, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let token = house.agent("bot").token();
    let mut command = Command::new(program);
    let ca = house.data().join("authority.crt");
    for name in PROXIES {
        command.env(name, format!("http://agent:{token}@127.0.0.1:{}", house.port()));
    }
    for name in AUTHORITY_FILES {
        command.env(name, &ca);
    }
    command.env_remove("NO_PROXY").env_remove("no_proxy").env("GIT_TERMINAL_PROMPT", "0");
    command
}

pub(crate) async fn says(command: &mut Command) -> String {
    let Output { stdout, stderr, .. } = command.kill_on_drop(true).output().await.unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    format!("{}{stderr}", stdout.trim_end())
}

fn origin(house: &Building, host: &str) -> String {
    format!("https://{host}:{}", house.upstream().port())
}

#[tokio::test]
async fn http_libraries_reach_an_upstream_through_the_proxy() {
    let Some(clients) = installed() else { return };
    let house = building().await;
    let url = format!("{}/v1/things", origin(&house, "open.test"));
    house.upstream().on("/v1/things", Script::Answer(Answer::default().body("received")));
    let python = clients.join("venv/bin/python");
    let node = |version: &'static str| {
        let mut node = through_proxy(&house, "node");
        node.arg(clients.join("agent.mjs")).arg(&url).arg(version);
        node
    };
    let go = |version: &'static str| {
        let mut go = through_proxy(&house, clients.join("agent-go"));
        go.arg(&url).arg(version);
        go
    };
    let library = |name: &'static str| {
        let mut library = through_proxy(&house, &python);
        library.arg(scripts().join("agent.py")).arg(name).arg(&url);
        library
    };
    for (name, mut command, expected) in [
        ("requests", library("requests"), "200 received"),
        ("httpx", library("httpx"), "200 received HTTP/2"),
        ("aiohttp", library("aiohttp"), "200 received"),
        ("undici over HTTP/1.1", node("h1"), "200 received"),
        ("undici over HTTP/2", node("h2"), "200 received"),
        ("Go over HTTP/1.1", go("h1"), "200 HTTP/1.1 received"),
        ("Go over HTTP/2", go("h2"), "200 HTTP/2.0 received"),
    ] {
        let before = house.upstream().count();
        assert_eq!(says(&mut command).await, expected, "{name}");
        assert_eq!(house.upstream().count(), before + 1, "{name}");
        assert_eq!(
            house.upstream().last().text().replace(' ', ""),
            r#"{"text":"hello"}"#,
            "{name}"
        );
        println!("{name}: {expected}");
    }
}

#[tokio::test]
async fn go_works_through_a_base_url() {
    let Some(clients) = installed() else { return };
    let house = building().await;
    house.upstream().on("/v1/things", Script::Answer(Answer::default().body("received")));
    let token = house.agent("bot").token();
    for (base, authority) in [
        (format!("http://127.0.0.1:{}", house.port()), "unused"),
        (format!("https://localhost:{}", house.tls_port()), "ca.pem"),
    ] {
        for (version, expected) in
            [("h1", "200 HTTP/1.1 received"), ("h2", "200 HTTP/2.0 received")]
        {
            let mut go = Command::new(clients.join("agent-go"));
            go.arg(format!("{base}/open/v1/things")).arg(version).arg(&token);
            go.env("SSL_CERT_FILE", house.data().join(authority));
            assert_eq!(says(&mut go).await, expected, "{base}");
            println!("Go at {base}: {expected}");
        }
    }
    assert_eq!(house.upstream().count(), 4);
}

#[tokio::test]
async fn model_sdks_work_through_the_proxy_and_through_a_base_url() {
    let Some(clients) = installed() else { return };
    let house = building().await;
    let python = clients.join("venv/bin/python");
    let script = scripts().join("agent.py");
    for (name, base, path, answer) in [
        ("openai", "/v1", "/v1/chat/completions", chat()),
        ("openai_stream", "/v1", "/v1/chat/completions", chat_stream()),
        ("anthropic", "", "/v1/messages", message()),
    ] {
        house.upstream().on(path, answer);
        let mut proxied = through_proxy(&house, &python);
        proxied.arg(&script).arg(name).arg(format!("{}{base}", origin(&house, "model.test")));
        assert_eq!(says(&mut proxied).await, "hi", "{name} through the proxy");
        let last = house.upstream().last();
        assert!(last.everything().contains("the-agents-own-key"), "{name}: its own key goes on");

        let mut direct = Command::new(&python);
        direct.arg(&script).arg(name).arg("unused");
        direct.env("AEGIS_BASE_URL", format!("http://127.0.0.1:{}/model{base}", house.port()));
        direct.env("AEGIS_TOKEN", house.agent("bot").token());
        assert_eq!(says(&mut direct).await, "hi", "{name} through base_url");
        println!("{name}: through the proxy and through base_url");
    }
}

fn chat() -> Script {
    Script::Answer(Answer::json(&json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{
            "index": 0, "finish_reason": "stop",
            "message": { "role": "assistant", "content": "hi" },
        }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 },
    })))
}

fn chat_stream() -> Script {
    let piece = |text: &str| {
        json!({
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }],
        })
        .to_string()
    };
    let gate = Gate::default();
    gate.open(6);
    Script::Events(vec![piece("h"), piece("i"), "[DONE]".to_owned()], gate)
}

fn message() -> Script {
    Script::Answer(Answer::json(&json!({
        "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": null, "content": [{ "type": "text", "text": "hi" }],
        "usage": { "input_tokens": 1, "output_tokens": 1 },
    })))
}

/// Packs the smallest package there is; returns the file's bytes and what npm says of them.
async fn packed(folder: &Path) -> (Vec<u8>, String) {
    std::fs::create_dir(folder).unwrap();
    let package = json!({ "name": "@scope/probe", "version": "1.0.0" });
    std::fs::write(folder.join("package.json"), package.to_string()).unwrap();
    let mut npm = Command::new("npm");
    let said = says(npm.args(["pack", "--json", "--silent"]).current_dir(folder)).await;
    let told: Value = serde_json::from_str(&said).unwrap();
    let text = |name: &str| told[0][name].as_str().unwrap().to_owned();
    (std::fs::read(folder.join(text("filename"))).unwrap(), text("integrity"))
}

/// npm asks for `/@scope%2fprobe`, which a tool must allow.
#[tokio::test]
async fn npm_installs_a_scoped_package_where_the_tool_allows_escaped_slashes() {
    if installed().is_none() {
        return;
    }
    for (rule, is_installed) in [("allow", true), ("refuse", false)] {
        let plan = Plan::new().await.with("/tenants/acme/tools/open/encoded_slashes", json!(rule));
        let house = trusting(plan.start(GATEWAY).await);
        let origin = origin(&house, "open.test");
        let (bytes, integrity) = packed(&house.data().join("packing")).await;
        let file = Answer::default().header("content-type", "application/octet-stream").body(bytes);
        house.upstream().on("/@scope/probe/-/probe-1.0.0.tgz", Script::Answer(file));
        let tarball = format!("{origin}/@scope/probe/-/probe-1.0.0.tgz");
        let version = json!({
            "name": "@scope/probe", "version": "1.0.0",
            "dist": { "tarball": tarball, "integrity": integrity },
        });
        let about = json!({
            "name": "@scope/probe", "dist-tags": { "latest": "1.0.0" }, "versions": { "1.0.0": version },
        });
        house.upstream().on("/@scope%2Fprobe", Script::Answer(Answer::json(&about)));
        let target = house.data().join("installed");
        let mut npm = through_proxy(&house, "npm");
        npm.args(["install", "@scope/probe", "--no-audit", "--no-fund", "--fetch-retries", "0"]);
        npm.arg("--registry").arg(format!("{origin}/")).arg("--prefix").arg(&target);
        npm.arg("--cache").arg(house.data().join("npm-cache"));
        npm.arg("--cafile").arg(house.data().join("authority.crt"));
        let said = says(&mut npm).await;
        let package = target.join("node_modules/@scope/probe/package.json");
        assert_eq!(package.exists(), is_installed, "{said}");
        assert_eq!(house.upstream().count(), if is_installed { 2 } else { 0 }, "{said}");
    }
    println!("npm: a scoped package through the proxy");
}

#[tokio::test]
async fn git_and_pip_work_through_the_proxy() {
    let Some(clients) = installed() else { return };
    let house = building().await;
    let origin = origin(&house, "open.test");
    // Smart HTTP's first answer (gitprotocol-http): the service, a flush, one reference, a flush.
    let commit = "95d09f2b10159347eece71399a7e2e907ea3df4f";
    let reference = format!("{commit} refs/heads/main\0agent=test\n");
    let refs =
        format!("001e# service=git-upload-pack\n0000{:04x}{reference}0000", reference.len() + 4);
    let answer = Answer::default()
        .header("content-type", "application/x-git-upload-pack-advertisement")
        .body(refs);
    house.upstream().on("/repo.git/info/refs", Script::Answer(answer));
    let mut git = through_proxy(&house, "git");
    // The proxy's address is in HTTPS_PROXY; its password goes out unasked only as `basic`.
    git.args(["-c", "http.proxyAuthMethod=basic", "ls-remote"]).arg(format!("{origin}/repo.git"));
    let said = says(&mut git).await;
    assert!(said.starts_with(&format!("{commit}\trefs/heads/main")), "{said}");
    println!("git: ls-remote through the proxy");

    let wheel = "probe-1.0-py3-none-any.whl";
    let page = format!("<a href=\"/files/{wheel}\">{wheel}</a>");
    let page = Answer::default().header("content-type", "text/html").body(page);
    house.upstream().on("/simple/probe/", Script::Answer(page));
    let packed = Command::new(clients.join("venv/bin/python"))
        .arg(scripts().join("wheel.py"))
        .arg(house.data().join(wheel))
        .status();
    assert!(packed.await.unwrap().success());
    let bytes = std::fs::read(house.data().join(wheel)).unwrap();
    let file = Answer::default().header("content-type", "application/octet-stream").body(bytes);
    house.upstream().on(&format!("/files/{wheel}"), Script::Answer(file));
    let mut pip = through_proxy(&house, clients.join("venv/bin/python"));
    // Isolated from what this machine says of indexes, and so told its authority by hand.
    pip.args(["-m", "pip", "--isolated", "download", "--no-deps", "--no-cache-dir"]);
    pip.args(["--retries", "0", "--disable-pip-version-check", "--cert"]);
    pip.arg(house.data().join("authority.crt")).arg("--index-url").arg(format!("{origin}/simple/"));
    pip.arg("--dest").arg(house.data().join("downloaded")).arg("probe==1.0");
    let said = says(&mut pip).await;
    assert!(house.data().join("downloaded").join(wheel).exists(), "{said}");
    println!("pip: download through the proxy");
}
