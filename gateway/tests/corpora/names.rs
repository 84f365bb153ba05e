//! Whatever a URL or a name is written like, the host that is judged is the one that is asked for, dialled, shown in the
//! handshake and said in `Host`; and it is the one that the standard reads.
//!
//! The name server gives every name an address of its own, so the address a connection was made to tells which name was
//! dialled. Not here: readers alone (`address`). Invariant: refusing is always right, disagreeing never is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use aegis_audit_chain::record::{DecisionEntry, Dest};
use aegis_domain::Host;
use aegis_testkit::Building;
use futures::StreamExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use url::Url;

use crate::adapt::{message_of, trace};
use crate::canary::{Canary, Request};
use crate::client::{Heard, Proxy};
use crate::evidence::Evidence;
use crate::hosts::{self, spelled};
use crate::house::{Tenant, plan};
use crate::name_server::NameServer;
use crate::{GATEWAY, corpus, idna_lines, namespace, text_of};

const AT_ONCE: usize = 64;
/// Networks that URLs of the corpus name by address; those that no connect tells apart (`0.0.0.0`) are left out.
const NETWORKS: [&str; 9] = [
    "10.0.0.0/8",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "::1/128",
    "2001:db8::/32",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_that_is_judged_is_the_one_that_is_dialled_and_said() {
    let Some(folder) = corpus("url-wpt") else { return };
    if !namespace::is_inside("names::the_host_that_is_judged_is_the_one_that_is_dialled_and_said") {
        return;
    }
    let mut calls = Vec::new();
    let urls = url_calls(&folder, &mut calls);
    let lines = idna_calls(&folder, &mut calls);
    let given = Arc::new(Given::default());
    let rule = Arc::clone(&given);
    let names = NameServer::start(Box::new(move |name, _| vec![rule.address_of(name)])).await;
    let texts: Vec<String> = calls.iter().map(Call::url).collect();
    let canary = Canary::start(&hosts::ports(&texts), Vec::new()).await;
    let mut house = house(&calls, &texts, &canary).await;
    let proxy = Proxy::of(&house, &house.agent("bot").token());

    let heard: Vec<Heard> = futures::stream::iter(calls.iter().enumerate())
        .map(|(number, call)| call.make(&proxy, number))
        .buffered(AT_ONCE)
        .collect()
        .await;

    let evidence = Evidence::of(&mut house).await;
    let requests = canary.requests();
    let spans: Vec<String> = requests.iter().map(|it| it.traceparent.clone()).collect();
    let (pairs, unsent) = evidence.pairs(&house, &spans);
    let owners = given.owners();
    for request in &requests {
        agree(request, dest(evidence.intent(&request.traceparent)), &owners);
    }
    let judged = judged(&evidence, &calls);
    let asked: BTreeSet<String> = names.asked().into_keys().collect();
    let named = judged.values().filter(|host| host.address().is_none()).map(Host::to_string);
    let unknown: Vec<_> = asked.difference(&named.collect()).cloned().collect();
    assert_eq!(unknown, Vec::<String>::new(), "asked for, and never judged");
    print(&calls, &heard, &judged, (urls, lines));
    println!(
        "names: {pairs} requests at {} addresses, each with one intent; {unsent} intents that came to nothing; {} names \
         asked for; 0 disagreements",
        canary.arrivals().iter().collect::<BTreeSet<_>>().len(),
        asked.len()
    );
}

/// Gives every name an address of its own.
#[derive(Default)]
struct Given(Mutex<BTreeMap<String, u32>>);

impl Given {
    fn address_of(&self, name: &str) -> IpAddr {
        let mut given = self.0.lock();
        let next = u32::try_from(given.len()).unwrap() + 1;
        let number = *given.entry(name.to_owned()).or_insert(next);
        Ipv4Addr::from_bits(Ipv4Addr::new(10, 1, 0, 0).to_bits() + number).into()
    }

    /// Who has which address.
    fn owners(&self) -> BTreeMap<IpAddr, String> {
        let names: Vec<String> = self.0.lock().keys().cloned().collect();
        names.into_iter().map(|name| (self.address_of(&name), name)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Set {
    Url,
    Idna,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    /// The URL, and what stands in `Host`.
    Absolute {
        url: String,
        host: String,
    },
    Connect(String),
}

/// One thing to say, and what the standard says of it.
struct Call {
    set: Set,
    form: Form,
    /// The host the standard reads, in the spelling of records; `None` where it says nothing.
    expected: Option<String>,
    must_fail: bool,
}

impl Call {
    async fn make(&self, proxy: &Proxy, number: usize) -> Heard {
        let trace = trace(number, 0);
        match &self.form {
            Form::Absolute { url, host } => {
                proxy.traced(url.as_bytes(), host.as_bytes(), Some(&trace)).await
            }
            Form::Connect(target) => proxy.connect_traced(target, Some(&trace)).await,
        }
    }

    fn url(&self) -> String {
        match &self.form {
            Form::Absolute { url, .. } => url.clone(),
            Form::Connect(target) => format!("https://{target}"),
        }
    }
}

/// Every URL of web-platform-tests, in absolute form and its host in CONNECT; returns how many there are.
fn url_calls(folder: &std::path::Path, calls: &mut Vec<Call>) -> usize {
    let text = std::fs::read_to_string(folder.join("urltestdata.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let cases: Vec<&Value> = cases.iter().filter(|case| case.is_object()).collect();
    for case in &cases {
        let input = text_of(case, "input");
        let must_fail = case["failure"] == true;
        let listed = Url::parse(text_of(case, "href")).ok();
        let expected = listed.and_then(|url| url.host_str().and_then(spelled));
        for host in hosts::written(input) {
            let form = Form::Absolute { url: input.to_owned(), host: host.clone() };
            let expected = expected.clone();
            calls.push(Call { set: Set::Url, form, expected: expected.clone(), must_fail });
            if !host.is_empty() {
                let form = Form::Connect(hosts::with_port(&host, 443));
                // A relative reference has its base's host; a target of CONNECT is its own.
                let expected = expected.filter(|_| input.contains("://"));
                // What fails may be the path.
                calls.push(Call { set: Set::Url, form, expected, must_fail: false });
            }
        }
    }
    assert!(cases.len() >= 869);
    cases.len()
}

/// Both columns of every line of the conformance data of UTS #46; returns how many lines there are.
fn idna_calls(folder: &std::path::Path, calls: &mut Vec<Call>) -> usize {
    let data = std::fs::read_to_string(folder.join("IdnaTestV2.txt")).unwrap();
    let (lines, total) = idna_lines::read(&data);
    let mut texts: BTreeMap<String, Option<String>> = BTreeMap::new();
    for line in lines {
        // What ends an authority, or is refused with the line it stands in, is no part of a name.
        let is_name = |text: &str| !text.contains(['/', '?', '#', '@', ':', '[', ']', '\\', '%']);
        let expected = is_name(&line.source).then(|| line.ascii.clone());
        texts.insert(line.source, expected);
        texts.entry(line.ascii.clone()).or_insert(Some(line.ascii));
    }
    for (text, expected) in texts {
        let url = format!("http://{text}/");
        let absolute = Form::Absolute { url, host: text.clone() };
        let connect = Form::Connect(format!("{text}:443"));
        for form in [absolute, connect] {
            let expected = expected.clone();
            calls.push(Call { set: Set::Idna, form, expected, must_fail: false });
        }
    }
    assert!(total >= 6_391);
    total
}

async fn house(calls: &[Call], texts: &[String], canary: &Canary) -> Building {
    let mut hosts = hosts::all(texts);
    hosts.extend(calls.iter().filter_map(|call| spelled(call.expected.as_ref()?)));
    let tenant = Tenant {
        name: "acme".to_owned(),
        tools: Vec::new(),
        direct: json!({ "addresses": NETWORKS, "ca_file": "canary.pem", "protocol": "http1" }),
        hosts: hosts.into_iter().collect(),
    };
    let plan = plan(&[tenant]).await;
    plan.file("canary.pem", canary.pem());
    plan.start(GATEWAY).await
}

fn dest(intent: &DecisionEntry) -> &Dest {
    intent.dest.as_ref().unwrap()
}

/// The host of the record is the one that was dialled, asked for in the handshake and said in the request.
fn agree(request: &Request, judged: &Dest, owners: &BTreeMap<IpAddr, String>) {
    let host = judged.host.as_str();
    let dialled = request.dialled.ip();
    let named = match owners.get(&dialled) {
        Some(name) => name.clone(),
        // The one name that is nobody's to answer (RFC 6761 §6.3).
        None if host == "localhost" && dialled.is_loopback() => host.to_owned(),
        None => dialled.to_string(),
    };
    assert_eq!((named.as_str(), request.dialled.port()), (host, judged.port), "{request:?}");
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let default = if request.is_tls { 443 } else { 80 };
    let said = match judged.port {
        port if port == default => bracketed,
        port => format!("{bracketed}:{port}"),
    };
    assert_eq!(request.host, said, "{request:?}");
    let is_address = judged.host.address().is_some();
    let sni = (request.is_tls && !is_address).then_some(host);
    assert_eq!(request.sni.as_deref(), sni, "{request:?}");
}

/// The host that each call was judged for, if it was read at all; each is the one of the standard.
fn judged(evidence: &Evidence, calls: &[Call]) -> BTreeMap<usize, Host> {
    let mut judged = BTreeMap::new();
    for intent in evidence.intents() {
        let trace = intent.trace.as_ref().unwrap().header();
        let number = message_of(&trace).unwrap();
        let (call, host) = (&calls[number], &dest(intent).host);
        assert!(!call.must_fail, "{:?} is no URL, and went on to {host}", call.form);
        if let Some(expected) = &call.expected {
            assert_eq!(host.as_str(), expected, "{:?}", call.form);
        }
        assert!(judged.insert(number, host.clone()).is_none(), "{:?}: two calls", call.form);
    }
    judged
}

fn print(
    calls: &[Call],
    heard: &[Heard],
    judged: &BTreeMap<usize, Host>,
    (urls, lines): (usize, usize),
) {
    for (set, of) in [(Set::Url, format!("{urls} URLs")), (Set::Idna, format!("{lines} lines"))] {
        for form in ["absolute form", "CONNECT"] {
            let (mut said, mut read, mut reached) = (0, 0, 0);
            let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
            for (number, (call, heard)) in calls.iter().zip(heard).enumerate() {
                let is_absolute = matches!(call.form, Form::Absolute { .. });
                if call.set != set || is_absolute != (form == "absolute form") {
                    continue;
                }
                said += 1;
                read += usize::from(judged.contains_key(&number));
                reached += usize::from(heard.status() == 200);
                assert!(heard.is_ours(), "{:?}: {}", call.form, heard.status());
                for reason in heard.reasons() {
                    let is_policy = matches!(reason.as_str(), "PolicyDenied" | "DefaultDeny");
                    assert!(!is_policy, "{:?}: the policy hides what was read", call.form);
                    *reasons.entry(reason).or_default() += 1;
                }
            }
            println!(
                "names, {set:?}, {form}: {of}, {said} calls: {read} read, {reached} reached their host, refused {reasons:?}"
            );
            // A reader that refuses everything proves nothing.
            assert!(reached >= 35, "{set:?}, {form}: {reached}");
        }
    }
}
