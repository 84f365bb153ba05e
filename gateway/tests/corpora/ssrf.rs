//! Server-side request forgery: every URL and name of the corpus, through every way in, in a network where each address
//! leads to a canary.
//!
//! Not here: the classes of addresses (`address`). Invariants: no connection is ever made to a forbidden address, whatever
//! the answer says; the one allowed host is reached; the policy lets everything through, so that only the rules on
//! addresses stand in the way; every request the canary saw has one intent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aegis_config::Upstream;
use aegis_testkit::{Building, Plan};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::canary::Canary;
use crate::client::{Heard, Proxy, dial, say};
use crate::evidence::Evidence;
use crate::hosts;
use crate::house::{Tenant, plan};
use crate::name_server::{NameServer, Rule};
use crate::{GATEWAY, corpus, json_lines, namespace, text_of};

const ALLOWED: &str = "198.51.100.10";
/// Its first answer is allowed and every later one is not.
const REBOUND: &str = "rebind.test";
const AT_ONCE: usize = 48;
/// Tools of one tenant; a policy holds 200 at most.
const TOOLS_MAX: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_url_leads_to_a_connect_to_a_forbidden_address() {
    let Some(folder) = corpus("ssrf") else { return };
    if !namespace::is_inside("ssrf::no_url_leads_to_a_connect_to_a_forbidden_address") {
        return;
    }
    let data = Data::read(&folder);
    let names = NameServer::start(answers(&data.fixture)).await;
    let canary = Canary::start(&hosts::ports(&data.urls), data.urls.clone()).await;
    let tools = tools(&data.urls);
    let mut house = house(&data, &tools, &canary).await;
    let token = house.agent("bot").token();
    let modes = Modes { proxy: Proxy::of(&house, &token), canary: &canary, data: &data };

    modes.control().await;
    let rebound = modes.rebind().await;
    modes.absolute().await;
    modes.connect().await;
    modes.routes(&house, &tools).await;
    modes.redirects().await;
    modes.rebound(rebound, &names).await;

    let breaches: BTreeSet<_> =
        canary.arrivals().into_iter().filter(|at| at.ip().to_string() != ALLOWED).collect();
    assert_eq!(breaches, BTreeSet::new(), "a forbidden address was dialled");
    let evidence = Evidence::of(&mut house).await;
    let spans: Vec<String> = canary.requests().into_iter().map(|it| it.traceparent).collect();
    let (pairs, unsent) = evidence.pairs(&house, &spans);
    println!(
        "ssrf: {} connects, all to {ALLOWED}; {pairs} requests there, each with one intent; \
         {unsent} intents that came to nothing; {} decisions",
        canary.arrivals().len(),
        evidence.decisions
    );
}

/// What the corpus holds.
struct Data {
    /// The listed URLs, and one for each name of the DNS fixture.
    urls: Vec<String>,
    fixture: Value,
    /// Every sample address, which URLs may spell in any way.
    samples: Vec<String>,
}

impl Data {
    fn read(folder: &std::path::Path) -> Self {
        let json = |name: &str| -> Value {
            serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
        };
        let (fixture, classes) = (json("dns_fixture.json"), json("address_classes.json"));
        let lines = json_lines(folder.join("urls.jsonl"));
        assert!(lines.len() >= 1_552);
        let names = ["a", "aaaa"].map(|family| fixture[family].as_object().unwrap().keys());
        let names = names.into_iter().flatten().filter(|name| *name != REBOUND);
        let inside = ["169-254-169-254.nip.io", "10.0.0.1.nip.io", "www.198.51.100.10.nip.io"];
        let names = names.map(String::as_str).chain(inside);
        let listed = lines.iter().map(|line| text_of(line, "url").to_owned());
        let urls = listed.chain(names.map(|name| format!("http://{name}/"))).collect();
        let samples = ["sample_v4", "sample_v6"].map(|key| classes[key].as_array().unwrap());
        let samples = samples.into_iter().flatten();
        let samples = samples.map(|row| text_of(row, "address").to_owned()).collect();
        Self { urls, fixture, samples }
    }
}

/// What the fixture says, and for `*.nip.io` the address inside the name.
fn answers(fixture: &Value) -> Rule {
    let mut known: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for family in ["a", "aaaa"] {
        for (name, list) in fixture[family].as_object().unwrap() {
            let list = list.as_array().unwrap().iter().filter_map(Value::as_str);
            known.insert(name.clone(), list.map(|text| text.parse().unwrap()).collect());
        }
    }
    Box::new(move |name, nth| {
        let name = name.to_ascii_lowercase();
        if let Some(inside) = name.strip_suffix(".nip.io") {
            let quads: Vec<&str> = inside.split(['.', '-']).collect();
            let tail = quads[quads.len().saturating_sub(4)..].join(".");
            return tail.parse().into_iter().collect();
        }
        let found = known.get(&name).cloned().unwrap_or_default();
        match name.as_str() {
            REBOUND => vec![found[usize::from(nth > 1)]],
            _ => found,
        }
    })
}

/// The tools that a configuration can hold: the URLs it takes as upstreams, one for each origin.
fn tools(urls: &[String]) -> Vec<(String, Upstream)> {
    let mut origins = BTreeMap::new();
    let mut taken = 0;
    for url in urls {
        let Ok(upstream) = url.parse::<Upstream>() else { continue };
        taken += 1;
        let port = upstream.port;
        origins.entry((upstream.host.to_string(), port)).or_insert((url.clone(), upstream));
    }
    println!(
        "ssrf, tool route: of {} URLs the configuration takes {taken} as upstreams, {} origins",
        urls.len(),
        origins.len()
    );
    origins.into_values().collect()
}

async fn house(data: &Data, tools: &[(String, Upstream)], canary: &Canary) -> Building {
    let binding = json!({
        "addresses": [ALLOWED], "ca_file": "canary.pem", "protocol": "http1",
    });
    let mut hosts = hosts::all(&data.urls);
    hosts.extend(data.samples.iter().cloned());
    hosts.extend([REBOUND, ALLOWED].map(str::to_owned));
    let mut tenants = vec![Tenant {
        name: "acme".to_owned(),
        tools: Vec::new(),
        direct: binding.clone(),
        hosts: hosts.into_iter().collect(),
    }];
    for (number, some) in tools.chunks(TOOLS_MAX).enumerate() {
        let tool = |(nth, (url, upstream)): (usize, &(String, Upstream))| {
            let mut binding = binding.clone();
            binding["upstream"] = json!(url);
            (format!("t{nth}"), binding, vec![upstream.host.to_string()])
        };
        tenants.push(Tenant {
            name: format!("tenant{number}"),
            tools: some.iter().enumerate().map(tool).collect(),
            direct: json!({}),
            hosts: Vec::new(),
        });
    }
    let plan: Plan = plan(&tenants).await;
    plan.file("canary.pem", canary.pem());
    plan.start(GATEWAY).await
}

/// How each URL was driven, and what came of it.
#[derive(Default)]
struct Tally {
    calls: usize,
    reached: usize,
    reasons: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, call: &str, heard: &Heard) {
        let (status, reasons) = (heard.status(), heard.reasons());
        self.calls += 1;
        assert!(heard.is_ours(), "{call}: {status}");
        self.reached += usize::from(reasons.is_empty() && (200..400).contains(&status));
        if reasons.is_empty() && status == 0 {
            *self.reasons.entry("hung up".to_owned()).or_default() += 1;
        }
        for reason in reasons {
            let is_policy = matches!(reason.as_str(), "PolicyDenied" | "DefaultDeny");
            assert!(!is_policy, "the policy stands in the way of the rules on addresses: {call}");
            *self.reasons.entry(reason).or_default() += 1;
        }
    }
}

struct Modes<'a> {
    proxy: Proxy,
    canary: &'a Arc<Canary>,
    data: &'a Data,
}

impl Modes<'_> {
    /// Says how the calls of one mode ended, and that each connect they led to was to the allowed host.
    fn print(&self, mode: &str, tally: &Tally, before: usize) {
        let arrivals = self.canary.arrivals().split_off(before);
        let breaches: BTreeSet<String> = arrivals
            .iter()
            .filter(|at| at.ip().to_string() != ALLOWED)
            .map(ToString::to_string)
            .collect();
        println!(
            "ssrf, {mode}: {} URLs, {} calls: {} to the allowed host, {} blocked {:?}; {} breaches",
            self.data.urls.len(),
            tally.calls,
            tally.reached,
            tally.calls - tally.reached,
            tally.reasons,
            breaches.len()
        );
        assert_eq!(breaches, BTreeSet::new(), "{mode}");
    }

    fn before(&self) -> usize {
        self.canary.arrivals().len()
    }

    /// The allowed host is reached in every way there is, or nothing that follows proves anything.
    async fn control(&self) {
        for host in ["allowed.example.com", ALLOWED] {
            let url = format!("http://{host}/");
            let heard = self.proxy.absolute(url.as_bytes(), host.as_bytes()).await;
            assert_eq!(heard.status(), 200, "{host}: {:?}", heard.reasons());
            for port in [80, 443] {
                let heard = self.proxy.connect(&format!("{host}:{port}")).await;
                assert_eq!(heard.status(), 200, "{host}:{port}: {:?}", heard.reasons());
            }
        }
    }

    async fn rebind(&self) -> tokio::time::Instant {
        let url = format!("http://{REBOUND}/");
        let heard = self.proxy.absolute(url.as_bytes(), REBOUND.as_bytes()).await;
        assert_eq!(heard.status(), 200, "its first answer is allowed: {:?}", heard.reasons());
        tokio::time::Instant::now()
    }

    /// Once the first answer is forgotten the name leads to a forbidden address, and nowhere.
    async fn rebound(&self, first: tokio::time::Instant, names: &NameServer) {
        let before = self.before();
        tokio::time::sleep_until(first + Duration::from_secs(6)).await;
        let url = format!("http://{REBOUND}/");
        let plain = self.proxy.absolute(url.as_bytes(), REBOUND.as_bytes()).await;
        let inside = self.proxy.connect(&format!("{REBOUND}:80")).await;
        for heard in [plain, inside] {
            assert_eq!(heard.reasons(), ["AddressForbidden"]);
        }
        assert!(names.asked()[REBOUND] >= 2, "the answer was not forgotten");
        assert_eq!(self.before(), before);
    }

    async fn absolute(&self) {
        let before = self.before();
        let mut calls = Vec::new();
        for url in &self.data.urls {
            calls.extend(hosts::written(url).into_iter().map(|host| (url, host)));
        }
        let mut tally = Tally::default();
        let mut heard = futures::stream::iter(calls)
            .map(|(url, host)| async move {
                (url, self.proxy.absolute(url.as_bytes(), host.as_bytes()).await)
            })
            .buffer_unordered(AT_ONCE);
        while let Some((url, heard)) = heard.next().await {
            tally.add(url, &heard);
        }
        self.print("absolute form", &tally, before);
        // A reader that refuses everything proves nothing.
        assert!(tally.reasons["AddressForbidden"] >= 250, "{:?}", tally.reasons);
    }

    async fn connect(&self) {
        let before = self.before();
        let mut targets = BTreeSet::new();
        for url in &self.data.urls {
            targets.extend(hosts::written(url).into_iter().map(|host| hosts::with_port(&host, 80)));
        }
        let mut tally = Tally::default();
        let mut heard = futures::stream::iter(targets)
            .map(|target| async move { (self.proxy.connect(&target).await, target) })
            .buffer_unordered(AT_ONCE);
        while let Some((heard, target)) = heard.next().await {
            tally.add(&target, &heard);
        }
        self.print("CONNECT, distinct targets", &tally, before);
        assert!(tally.reasons["AddressForbidden"] >= 100, "{:?}", tally.reasons);
    }

    async fn routes(&self, house: &Building, tools: &[(String, Upstream)]) {
        let before = self.before();
        let mut tally = Tally::default();
        let port = house.port();
        for (number, some) in tools.chunks(TOOLS_MAX).enumerate() {
            let token = house.agent("bot").of(&format!("tenant{number}")).token();
            let mut heard = futures::stream::iter(some.iter().enumerate())
                .map(|(nth, (url, _))| {
                    let call = format!(
                        "GET /t{nth}/ HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n\
                         Connection: close\r\n\r\n"
                    );
                    async move { (url, say(&mut dial(port).await, call.as_bytes()).await) }
                })
                .buffer_unordered(AT_ONCE);
            while let Some((url, heard)) = heard.next().await {
                tally.add(url, &heard);
            }
        }
        self.print("tool route, distinct origins", &tally, before);
        assert!(tally.reached >= 1, "allowed.example.com is one of them");
        assert!(tally.reasons["AddressForbidden"] >= 100, "{:?}", tally.reasons);
    }

    /// The allowed host sends the agent to each URL; the gateway hands that on and goes nowhere itself.
    async fn redirects(&self) {
        let before = self.before();
        let mut tally = Tally::default();
        let mut heard = futures::stream::iter(0..self.data.urls.len())
            .map(|number| async move {
                let url = format!("http://allowed.example.com/redirect/{number}");
                self.proxy.absolute(url.as_bytes(), b"allowed.example.com").await
            })
            .buffer_unordered(AT_ONCE);
        while let Some(heard) = heard.next().await {
            assert!(heard.status() == 302 || !heard.reasons().is_empty());
            tally.add("a redirect", &heard);
        }
        self.print("redirects handed on", &tally, before);
        assert!(tally.reached >= 1_000, "{:?}", tally.reasons);
    }
}
