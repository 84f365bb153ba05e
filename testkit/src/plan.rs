//! What a building is built from: configuration, policies, keys, an authority and upstreams.
//!
//! Not here: running it (`building`). Invariant: a plan without changes is a working gateway with a route for every
//! kind of upstream there is.

use std::path::PathBuf;

use aegis_identity::{KeySet, SigningKey};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::building::random;
use crate::clock::Clock;
use crate::hot::Host;
use crate::ports::Port;
use crate::{Authority, Upstream};

/// What tokens for the building name in `aud`.
pub(crate) const AUDIENCE: &str = "https://gw.building.test";
pub(crate) const ISSUER: &str = "https://issuer.building.test";
/// What the gateway puts into calls of the tools that have a credential.
const CREDENTIAL: &str = "upstream-credential-0451";

/// A gateway to be.
pub struct Plan {
    pub(crate) data: TempDir,
    pub(crate) authority: Authority,
    pub(crate) issuer: SigningKey,
    pub(crate) ports: Ports,
    /// Speaks TLS, HTTP/1.1 and HTTP/2.
    pub(crate) upstream: Upstream,
    /// Speaks HTTP/1.1 and HTTP/2 without TLS.
    pub(crate) plain: Upstream,
    /// Where the gateway runs, and others find it.
    pub(crate) host: Host,
    pub(crate) clock: Option<Clock>,
    /// A program, and what it is told, that starts the gateway.
    pub(crate) under: Vec<String>,
    config: Value,
}

pub(crate) struct Ports {
    pub(crate) plain: Port,
    pub(crate) tls: Port,
    pub(crate) metrics: Port,
    pub(crate) control: Port,
    pub(crate) voter: Port,
}

impl Plan {
    /// The hosts the upstream's certificate is for; the policy allows different things at each.
    const HOSTS: [&str; 4] = ["open.test", "care.test", "pay.test", "model.test"];

    /// Three tenants (`acme` and `other` at home, `abroad` elsewhere) and their tools.
    pub async fn new() -> Self {
        Self::on(Host::here("127.0.0.1")).await
    }

    /// The same on a host of its own; the upstreams are outside.
    pub async fn on(host: Host) -> Self {
        let authority = Authority::default();
        let upstream = Upstream::tls_at(&host.outside, &authority, &Self::HOSTS).await;
        let plain = Upstream::plain_at(&host.outside).await;
        let issuer = SigningKey::from_seed(random());
        Self::around((authority, issuer), (upstream, plain), host)
    }

    /// Another gateway for the same agents before the same upstreams.
    pub fn beside(other: &Self, host: Host) -> Self {
        let trusted = (other.authority.clone(), other.issuer.clone());
        Self::around(trusted, (other.upstream.clone(), other.plain.clone()), host)
    }

    fn around(
        (authority, issuer): (Authority, SigningKey),
        (upstream, plain): (Upstream, Upstream),
        host: Host,
    ) -> Self {
        let ports = Ports {
            plain: Port::reserve(),
            tls: Port::reserve(),
            metrics: Port::reserve(),
            control: Port::reserve(),
            voter: Port::reserve(),
        };
        let config = standard(&ports, (&upstream, &plain), &host);
        let data = tempfile::tempdir().unwrap();
        let (clock, under) = (None, Vec::new());
        let plan =
            Self { data, authority, issuer, ports, upstream, plain, host, clock, under, config };
        plan.lay_out();
        plan
    }

    fn lay_out(&self) {
        let keys = KeySet::default().with(self.issuer.public_key().clone()).unwrap();
        let leaf = self.authority.leaf(&["localhost", &self.host.ip, &self.host.outside]);
        for (name, text) in [
            ("issuer.jwks.json", keys.to_jwks_json().as_str()),
            ("ca.pem", self.authority.pem()),
            ("gateway.pem", &leaf.certificate),
            ("gateway.key", &leaf.key),
            ("credential", CREDENTIAL),
        ] {
            self.file(name, text);
        }
        for tenant in ["acme", "other", "abroad"] {
            self.file(&format!("{tenant}.policy.yaml"), &policy(tenant));
        }
    }

    /// A file of the data directory.
    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.data.path().join(name)).unwrap()
    }

    /// Writes a file into the data directory, where the configuration lies too.
    pub fn file(&self, name: &str, text: &str) {
        std::fs::write(self.data.path().join(name), text).unwrap();
    }

    /// A certificate and its key for one host, as files for a server that is not ours.
    pub fn certify(&self, host: &str) -> [PathBuf; 2] {
        let leaf = self.authority.leaf(&[host]);
        [("pem", leaf.certificate), ("key", leaf.key)].map(|(extension, text)| {
            let name = format!("{host}.{extension}");
            self.file(&name, &text);
            self.path(&name)
        })
    }

    /// Where a file of the plan lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.data.path().join(name)
    }

    /// Sets one value of the configuration, by JSON pointer; what is missing on the way is made.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        self.set(pointer, value);
        self
    }

    pub(crate) fn set(&mut self, pointer: &str, value: Value) {
        let mut place = &mut self.config;
        for name in pointer.split('/').skip(1) {
            if let (true, Ok(index)) = (place.is_array(), name.parse::<usize>()) {
                place = &mut place[index];
                continue;
            }
            if !place.is_object() {
                *place = json!({});
            }
            place = &mut place[name];
        }
        *place = value;
    }

    /// Takes one member out of the configuration, by JSON pointer.
    pub fn without(mut self, pointer: &str) -> Self {
        let (object, name) = pointer.rsplit_once('/').unwrap();
        let object = self.config.pointer_mut(object).and_then(Value::as_object_mut);
        assert!(object.unwrap().remove(name).is_some(), "there is no {pointer}");
        self
    }

    /// Gives `acme` one tool more, at which anything may be done.
    pub fn tool(self, route: &str, binding: Value) -> Self {
        let name = "acme.policy.yaml";
        let text = std::fs::read_to_string(self.data.path().join(name)).unwrap();
        self.file(name, &(text + &open_tool(route)));
        self.with(&format!("/tenants/acme/tools/{route}"), binding)
    }

    /// Replaces one text by another in a tenant's policy.
    pub fn policy(self, tenant: &str, from: &str, to: &str) -> Self {
        let name = format!("{tenant}.policy.yaml");
        self.copy(&name, &name, (from, to));
        self
    }

    /// Copies a file, with one text in it replaced by another.
    pub fn copy(&self, name: &str, copy: &str, (from, to): (&str, &str)) {
        let text = std::fs::read_to_string(self.data.path().join(name)).unwrap();
        assert!(text.contains(from), "{name} does not hold {from:?}");
        self.file(copy, &text.replace(from, to));
    }

    /// The TLS upstream, to say how it answers before anything runs.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Has a wall clock of its own, as far as one can be had.
    pub fn with_own_clock(mut self) -> Self {
        self.clock = Clock::new(&self.path("clock"));
        self
    }

    /// Is started by another program, which becomes the gateway.
    pub fn under(mut self, program: &[&str]) -> Self {
        self.under = program.iter().map(|part| (*part).to_owned()).collect();
        self
    }

    pub(crate) fn at(&self, port: &Port) -> String {
        format!("{}:{}", self.host.ip, port.number())
    }

    pub(crate) fn setting(&self, pointer: &str) -> Option<&str> {
        self.config.pointer(pointer).and_then(Value::as_str)
    }

    /// How `acme` is bound to a tool.
    pub(crate) fn binding(&self, route: &str) -> Value {
        self.config["tenants"]["acme"]["tools"][route].clone()
    }

    pub(crate) fn write_config(&self) {
        // JSON is YAML, and one line a member gives mistakes a place.
        self.file("aegis.yaml", &format!("{:#}", self.config));
    }
}

/// Routes to `open.test`, where anything may be done.
const OPEN_ROUTES: [&str; 8] =
    ["open", "open-h1", "open-h2", "plain", "plain-h2", "stream", "stream-h2", "guarded"];

/// The policy of the testkit for one tenant.
fn policy(tenant: &str) -> String {
    let closed = include_str!("policy.yaml").replace("@tenant@", tenant);
    closed + &OPEN_ROUTES.map(open_tool).concat()
}

/// A policy belongs to a route by its tool's name.
fn open_tool(route: &str) -> String {
    include_str!("policy-open-tool.yaml").replace("@route@", route)
}

fn standard(ports: &Ports, upstreams: (&Upstream, &Upstream), host: &Host) -> Value {
    let at = |port: &Port| format!("{}:{}", host.ip, port.number());
    let tenant = |name: &str, region: &str| {
        json!({
            "org": "acme",
            "region": region,
            "policy": { "enforce": format!("{name}.policy.yaml") },
            "agents": agents(),
            "tools": tools(upstreams, &host.outside),
        })
    };
    json!({
        "region": "eu-west-1",
        "domain": "audit.building.test",
        "data_dir": ".",
        "listen": {
            "plain": at(&ports.plain),
            "tls": { "address": at(&ports.tls), "certificate": "gateway.pem", "key": "gateway.key" },
            "metrics": at(&ports.metrics),
        },
        // Comparing engines is the slow part of a start, and the engine has tests of its own for it.
        "limits": { "drain": "200ms", "grace": "10s", "policies_compared": 8 },
        "identity": {
            "audience": AUDIENCE,
            "issuers": [{ "issuer": ISSUER, "jwks": "issuer.jwks.json" }],
        },
        "regions": { "us-east-1": "https://gw.us-east-1.building.test" },
        "tenants": {
            "acme": tenant("acme", "eu-west-1"),
            "other": tenant("other", "eu-west-1"),
            "abroad": tenant("abroad", "us-east-1"),
        },
    })
}

fn agents() -> Value {
    json!({
        "bot": { "groups": ["staff"] },
        "second-bot": { "groups": ["staff"] },
        "retired-bot": { "groups": ["staff"], "disabled": true },
        // Three payouts of a cent.
        "poor-bot": { "groups": ["staff"], "budgets": { "day_usd": "0.03" } },
        "hasty-bot": { "groups": ["staff"], "rates": { "per_hour": 2 } },
    })
}

fn tools((upstream, plain): (&Upstream, &Upstream), ip: &str) -> Value {
    let binding = |base: &Value, more: &Value| binding(ip, base, more);
    let tls = |host: &str, more: Value| {
        let url = format!("https://{host}:{}", upstream.port());
        binding(&json!({ "upstream": url, "addresses": [ip], "ca_file": "ca.pem" }), &more)
    };
    let bare = |more: Value| {
        let url = format!("http://open.test:{}", plain.port());
        binding(&json!({ "upstream": url, "addresses": [ip] }), &more)
    };
    let tokens = json!({
        "input_per_million_usd": "1", "output_per_million_usd": "10", "output_tokens_max": 1000,
    });
    json!({
        "open": tls("open.test", json!({})),
        "open-h1": tls("open.test", json!({ "protocol": "http1" })),
        "open-h2": tls("open.test", json!({ "protocol": "http2" })),
        "plain": bare(json!({ "protocol": "http1" })),
        "plain-h2": bare(json!({ "protocol": "http2" })),
        "stream": tls("open.test", json!({ "body": "stream", "protocol": "http1" })),
        "stream-h2": tls("open.test", json!({ "body": "stream", "protocol": "http2" })),
        "care": tls("care.test", json!({})),
        "pay": tls("pay.test", json!({
            "price": { "per_call_usd": "0.01" },
            "credential": { "prefix": "Bearer ", "file": "credential" },
        })),
        "model": tls("model.test", json!({
            "price": tokens,
            "credential": { "header": "x-api-key", "file": "credential" },
        })),
        // Resolves to an address which its definition does not name.
        "guarded": binding(&bare(json!({})), &json!({ "addresses": [] })),
    })
}

/// A tool's binding; every name leads to one address.
fn binding(ip: &str, base: &Value, more: &Value) -> Value {
    let mut whole = json!({ "resolve": [ip] });
    for part in [base, more] {
        for (name, value) in part.as_object().unwrap() {
            whole[name] = value.clone();
        }
    }
    whole
}
