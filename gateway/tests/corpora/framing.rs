//! Framing: every request of http-desync-guardian, te-gadgets and llhttp, through each door to a recording upstream.
//!
//! Not here: the rules one by one (`gate`). Invariants: nothing that two readers could frame differently reaches the
//! upstream, no class is refused less often than the best peer refuses it, and every request that the upstream saw has
//! one intent in the audit log.

use std::collections::BTreeMap;

use aegis_testkit::Building;
use futures::StreamExt as _;
use serde_json::json;

use crate::GATEWAY;
use crate::adapt::{Door, message_of};
use crate::client::{Heard, dial, say};
use crate::evidence::Evidence;
use crate::house::{Tenant, plan};
use crate::messages::{self, Class, Sample};
use crate::recorder::{Message, Recorder};

/// Messages under way at once. Most wait for a deadline, so this is what keeps the run short.
const AT_ONCE: usize = 192;

/// The route whose bodies go on as they come.
const STREAMED: &str = "tool route, streamed";

/// What the best of seven proxies refused of a class, measured near their default configurations: nginx 1.22.1, Envoy
/// 1.40.0, Caddy 2.11.7, Traefik 3.7.15, h2o 2.2.5, HAProxy 2.6.12 and bare Pingora 0.9.1. Their sets contain ours and
/// are larger, so shares are compared.
#[derive(Clone, Copy)]
struct BestPeer {
    name: &'static str,
    refused: usize,
    of: usize,
}

fn best_peer(class: Class) -> Option<BestPeer> {
    let peer = |name, refused, of| Some(BestPeer { name, refused, of });
    match class {
        Class::Severe => peer("nginx", 57, 58),
        Class::Ambiguous => peer("Envoy", 48, 58),
        Class::Disguise => peer("Envoy", 664, 668),
        Class::LlhttpError => peer("nginx and Envoy", 54, 63),
        Class::Compliant | Class::Acceptable | Class::LlhttpValid => None,
    }
}

/// What became of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// The upstream saw nothing.
    Rejected,
    /// It saw the beginning of a body that streamed, and a connection that closed before its end.
    BrokenOff,
    /// It saw one clean framing.
    Normalised,
    Unsafe(&'static str),
}

fn verdict(seen: &[&Message]) -> Verdict {
    if let Some(why) = seen.iter().find_map(|message| message.danger()) {
        return Verdict::Unsafe(why);
    }
    match seen {
        [] => Verdict::Rejected,
        seen if seen.iter().any(|message| message.is_whole) => Verdict::Normalised,
        _ => Verdict::BrokenOff,
    }
}

/// One message through one door.
struct Run<'a> {
    sample: &'a Sample,
    door: &'a Door,
    number: usize,
    requests: usize,
    heard: Heard,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_two_readers_could_frame_differently_reaches_an_upstream() {
    let Some(samples) = messages::all() else { return };
    let recorder = Recorder::start().await;
    let mut house = recorded(&recorder).await;
    let doors = doors(&house, &recorder);
    let port = house.port();
    let every = doors.iter().flat_map(|door| samples.iter().map(move |sample| (door, sample)));
    let runs: Vec<Run<'_>> = futures::stream::iter(every.enumerate())
        .map(|(number, (door, sample))| async move {
            let (bytes, requests) = sample.through(door, number);
            let heard = say(&mut dial(port).await, &bytes).await;
            Run { sample, door, number, requests, heard }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let evidence = Evidence::of(&mut house).await;
    let seen = recorder.messages();
    let spans: Vec<String> = seen.iter().map(|it| it.header("traceparent").unwrap()).collect();
    let (pairs, unsent) = evidence.pairs(&house, &spans);
    println!(
        "{} messages, {} decisions: {pairs} requests at the upstream, each with one intent; {unsent} intents that came to nothing",
        runs.len(),
        evidence.decisions
    );
    let mut by_message: BTreeMap<usize, Vec<&Message>> = BTreeMap::new();
    for (message, span) in seen.iter().zip(&spans) {
        by_message.entry(message_of(span).unwrap()).or_default().push(message);
    }
    judge(&runs, &by_message);
}

/// A gateway with a route whose bodies are read, one whose bodies stream, and the recorder behind both.
async fn recorded(recorder: &Recorder) -> Building {
    let binding = |body: &str| {
        json!({
            "upstream": format!("http://open.test:{}", recorder.port), "resolve": ["127.0.0.1"],
            "addresses": ["127.0.0.1"], "protocol": "http1", "body": body,
        })
    };
    let hosts = vec!["open.test".to_owned()];
    let tenant = Tenant {
        name: "acme".to_owned(),
        tools: vec![
            ("read".to_owned(), binding("inspect"), hosts.clone()),
            ("streamed".to_owned(), binding("stream"), hosts),
        ],
        // Where llhttp's own absolute targets lead: nowhere that may be dialled, and no name is asked for.
        direct: json!({ "resolve": ["192.0.2.1"] }),
        hosts: vec!["hypnotoad.org".to_owned()],
    };
    plan(&[tenant]).await.start(GATEWAY).await
}

fn doors(house: &Building, recorder: &Recorder) -> [Door; 3] {
    let token = house.agent("bot").token();
    let route = |name, prefix: &str| Door {
        name,
        prefix: prefix.to_owned(),
        credential: format!("Authorization: Bearer {token}"),
        host: None,
    };
    let host = format!("open.test:{}", recorder.port);
    let absolute = Door {
        name: "absolute form",
        prefix: format!("http://{host}"),
        credential: format!("Proxy-Authorization: Bearer {token}"),
        host: Some(host),
    };
    [route("tool route", "/read"), route(STREAMED, "/streamed"), absolute]
}

fn judge(runs: &[Run<'_>], seen: &BTreeMap<usize, Vec<&Message>>) {
    let mut counts: BTreeMap<(&str, Class), BTreeMap<&str, usize>> = BTreeMap::new();
    for run in runs {
        let messages = seen.get(&run.number).map_or(&[][..], Vec::as_slice);
        let verdict = verdict(messages);
        check(run, messages, verdict);
        if run.sample.class == Class::Compliant && verdict == Verdict::Rejected {
            println!(
                "{}: {} is refused: {:?}",
                run.door.name,
                run.sample.name,
                run.heard.reasons()
            );
        }
        let column = match verdict {
            Verdict::Rejected => "rejected",
            Verdict::BrokenOff => "broken off",
            Verdict::Normalised => "normalised",
            Verdict::Unsafe(_) => "UNSAFE",
        };
        *counts.entry((run.door.name, run.sample.class)).or_default().entry(column).or_default() +=
            1;
    }
    println!(
        "| door | class | messages | rejected | broken off | normalised | UNSAFE | best peer |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for ((door, class), row) in &counts {
        let of = |column: &str| row.get(column).copied().unwrap_or(0);
        let total: usize = row.values().sum();
        let [rejected, broken, normalised, dangerous] =
            ["rejected", "broken off", "normalised", "UNSAFE"].map(of);
        let peer = best_peer(*class);
        let shown =
            peer.map_or(String::new(), |it| format!("{} {}/{}", it.name, it.refused, it.of));
        println!(
            "| {door} | {class:?} | {total} | {rejected} | {broken} | {normalised} | {dangerous} | {shown} |"
        );
        assert_eq!(dangerous, 0, "{door}, {class:?}");
        if let Some(peer) = peer {
            let kept = rejected + broken;
            assert!(
                kept * peer.of >= peer.refused * total,
                "{door}: a peer refuses more {class:?}"
            );
        }
        if *class == Class::Compliant {
            // One has a query that no policy could declare, so it is stripped; where bodies stream nothing can be.
            let least = if *door == STREAMED { 9 } else { 10 };
            assert!(normalised >= least, "{door}: {normalised} of the compliant pass");
        }
    }
    let totals = Class::ALL.map(|class| runs.iter().filter(|it| it.sample.class == class).count());
    assert_eq!(totals.map(|total| total / 3), [14, 9, 40, 5, 504, 63, 68]);
}

fn check(run: &Run<'_>, seen: &[&Message], verdict: Verdict) {
    let told = || {
        let answers = String::from_utf8_lossy(&run.heard.0).into_owned();
        format!(
            "{}, {:?} {}: {verdict:?}\n{answers}",
            run.door.name, run.sample.class, run.sample.name
        )
    };
    assert!(!matches!(verdict, Verdict::Unsafe(_)), "{}", told());
    // The policy lets everything through, so it is the gate that refuses.
    let reasons = run.heard.reasons();
    let is_policy = |reason: &String| matches!(reason.as_str(), "PolicyDenied" | "DefaultDeny");
    assert!(!reasons.iter().any(is_policy), "{}", told());
    // Whoever sent bytes is answered, but for the preface of HTTP/2.
    assert!(run.heard.status() > 0 || run.sample.bytes.starts_with(b"PRI "), "{}", told());
    assert!(run.heard.is_ours(), "{}", told());
    let hidden = seen.iter().any(|message| message.target().contains("smuggled"));
    assert!(!hidden, "{}", told());
    if run.sample.class == Class::LlhttpError {
        let whole = seen.iter().filter(|message| message.is_whole).count();
        assert!(whole == 0 || whole < run.requests, "{}", told());
    }
}
