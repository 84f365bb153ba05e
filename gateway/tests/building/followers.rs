//! Gateways that only follow their region: their calls ask its voters for approvals, and are let through on a voter's word.
//!
//! Not here: the gateways of voters (`approvals`), and what voters agree on (`voters`). Invariant: voters, gateways and the
//! proxies that fail between them are processes and sockets; a grant lets one call through, whoever dies meanwhile.

use std::collections::BTreeSet;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_domain::{Effect, Reason};
use aegis_testkit::{Building, Plan, Reply};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::GATEWAY;
use crate::voters::{eventually, leader, three};

/// A payment that policy wants a person for, perhaps with what one granted.
async fn pay(house: &Building, amount: u64, approval: Option<&str>) -> Reply {
    let bot = house.agent("bot");
    let call = bot.post("/pay/v1/out").json(&json!({ "amount": amount }));
    let call = match approval {
        Some(id) => call.header("aegis-approval-id", id),
        None => call,
    };
    call.send().await
}

fn urls(houses: &[Building]) -> Vec<String> {
    houses.iter().map(Building::control_url).collect()
}

/// A gateway that follows the region of these voters by these addresses.
async fn follower(voters: &[Building], urls: &[String]) -> Building {
    let plan = Plan::new().await.following_any(&voters[0], urls).await;
    plan.paying_at(&voters[0]).start(GATEWAY).await
}

/// What a person gives to a call that waits, without its asking.
fn override_once(voter: &Building, waiting: &Reply) -> String {
    let approval = waiting.problem()["approval"].clone();
    let wish = json!({
        "tenant": "acme", "params_hash": approval["params_hash"], "rules": ["high-value"],
    });
    voter.region().post("/v1/overrides", wish)["id"].as_str().unwrap().to_owned()
}

fn through(replies: &[Reply]) -> usize {
    replies.iter().filter(|reply| reply.status == 200).count()
}

/// What an agent can tell a refusal by; ids, times and signatures differ from call to call.
fn shape(reply: &Reply) -> (u16, BTreeSet<String>, Value) {
    let names = reply.headers.keys().map(|name| name.as_str().to_owned()).collect();
    let mut problem = reply.problem();
    for name in ["decision_id", "trace_id", "instance", "attestation"] {
        problem.as_object_mut().unwrap().remove(name);
    }
    for name in ["id", "expires_at", "expires_at_unix_s"] {
        problem["approval"].as_object_mut().map(|approval| approval.remove(name));
    }
    (reply.status.as_u16(), names, problem)
}

#[tokio::test]
async fn a_call_is_asked_for_granted_and_refused_at_a_follower_as_at_a_voter() {
    let voters = three().await;
    let near = &voters[0];
    let far = follower(&voters, &urls(&voters)).await;
    let (here, there) = (pay(near, 501, None).await, pay(&far, 501, None).await);
    there.is_denied(Reason::ApprovalNeeded);
    assert_eq!(shape(&here), shape(&there));

    // Granted at one voter, it counts at once wherever the follower asks.
    let id = there.header("aegis-approval-id").unwrap();
    let waiting = near.region().get(&format!("/v1/approvals/acme/{id}"));
    assert_eq!((&waiting["agent"], &waiting["tool"]), (&json!("bot"), &json!("pay.out")));
    voters[2].region().post(&format!("/v1/approvals/acme/{id}/grant"), json!({}));
    pay(&far, 502, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    let granted = pay(&far, 501, Some(&id)).await;
    granted.is_ok();
    let record = granted.record();
    assert_eq!((record.decision, record.approval_id.unwrap().as_str()), (Effect::Allow, &*id));
    assert_eq!(near.upstream().count(), 1);

    // Used up at the follower, it is at the voter; and what was made up was never there.
    for house in [near, &far] {
        for id in [&*id, "01J9ZK3V5QD6Y8M2W4C7N0R1TB", "yes"] {
            pay(house, 501, Some(id)).await.is_denied(Reason::ApprovalNeeded);
        }
    }
    assert_eq!(near.upstream().count(), 1);
}

#[tokio::test]
async fn of_many_calls_on_two_followers_that_show_one_override_one_goes_out() {
    let voters = three().await;
    let mut reversed = urls(&voters);
    reversed.reverse();
    let gateways = [follower(&voters, &urls(&voters)).await, follower(&voters, &reversed).await];
    let waiting = pay(&gateways[0], 501, None).await;
    let id = override_once(&voters[1], &waiting);
    let calls = (0..12).map(|number| pay(&gateways[number % 2], 501, Some(&id)));
    let replies = futures::future::join_all(calls).await;
    assert_eq!(through(&replies), 1);
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        reply.is_denied(Reason::ApprovalNeeded);
    }
    assert_eq!(voters[0].upstream().count(), 1);
}

/// Stands before a voter, hands on what is asked and answered, and can keep the answer to a use of a grant for itself.
struct Between {
    url: String,
    keeps: Arc<AtomicBool>,
    /// Hears of each answer that was kept. The connection ends when what is heard is dropped.
    kept: mpsc::UnboundedReceiver<std::sync::mpsc::Sender<()>>,
}

impl Between {
    fn before(voter: &Building) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let address = voter.control_url().trim_start_matches("http://").to_owned();
        let keeps = Arc::new(AtomicBool::new(true));
        let (seen, kept) = mpsc::unbounded_channel();
        let own = Arc::clone(&keeps);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (address, keeps, seen) = (address.clone(), Arc::clone(&own), seen.clone());
                std::thread::spawn(move || carry(&client, &address, &keeps, &seen));
            }
        });
        Self { url, keeps, kept }
    }
}

/// Until either side ends, or an answer is kept.
fn carry(
    client: &TcpStream,
    address: &str,
    keeps: &AtomicBool,
    seen: &mpsc::UnboundedSender<std::sync::mpsc::Sender<()>>,
) -> Option<()> {
    let voter = TcpStream::connect(address).ok()?;
    let (mut asks, mut answers) = (BufReader::new(client), BufReader::new(&voter));
    loop {
        let asked = message(&mut asks)?;
        (&voter).write_all(&asked).ok()?;
        let answer = message(&mut answers)?;
        let is_use = String::from_utf8_lossy(&asked).contains("/consume HTTP/1.1");
        if is_use && keeps.load(Ordering::SeqCst) {
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            let (go, wait) = std::sync::mpsc::channel();
            seen.send(go).ok()?;
            wait.recv().ok();
            return None;
        }
        (&*client).write_all(&answer).ok()?;
    }
}

/// One message of HTTP/1.1 with a declared length.
fn message(from: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head).ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&head).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    from.read_exact(&mut body).ok()?;
    Some([head, body].concat())
}

#[tokio::test]
async fn a_use_whose_answer_died_with_the_leader_is_told_by_another_voter_and_lets_one_call_through()
 {
    let mut voters = three().await;
    let lost = leader(&voters);
    let mut between = Between::before(&voters[lost]);
    let others = urls(&voters).into_iter().enumerate().filter(|(place, _)| *place != lost);
    let way: Vec<_> = [between.url.clone()].into_iter().chain(others.map(|(_, url)| url)).collect();
    let gateway = follower(&voters, &way).await;
    let id = override_once(&voters[lost], &pay(&gateway, 501, None).await);
    let calls = async {
        let calls = (0..4).map(|_| pay(&gateway, 501, Some(&id)));
        futures::future::join_all(calls).await
    };
    let killing = async {
        let kept = between.kept.recv().await.unwrap();
        voters[lost].shoot();
        drop(kept);
        between.keeps.store(false, Ordering::SeqCst);
    };
    let (replies, ()) = tokio::join!(calls, killing);
    voters[lost].ended().await;
    assert_eq!(through(&replies), 1);
    let upstream = voters[0].upstream();
    assert_eq!(upstream.count(), 1);
    pay(&gateway, 501, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_use_that_nobody_answers_for_lets_nothing_through_and_is_spent() {
    let voters = three().await;
    let mut between = Between::before(&voters[0]);
    let gateway = follower(&voters, std::slice::from_ref(&between.url)).await;
    let id = override_once(&voters[0], &pay(&gateway, 501, None).await);
    let cutting = async { while between.kept.recv().await.is_some() {} };
    let refused = tokio::select! {
        refused = pay(&gateway, 501, Some(&id)) => refused,
        () = cutting => unreachable!("whoever stands between goes on"),
    };
    refused.is_denied(Reason::Unavailable);
    assert_eq!(refused.status, 503);
    between.keeps.store(false, Ordering::SeqCst);
    let used = voters[1].region().get(&format!("/v1/approvals/acme/{id}"));
    assert_eq!(used["standing"], "consumed", "it is not known to the agent, so it is spent");
    pay(&gateway, 501, Some(&id)).await.is_denied(Reason::ApprovalNeeded);
    assert_eq!(voters[0].upstream().count(), 0);
}

#[tokio::test]
async fn without_a_quorum_what_needs_a_person_is_refused_and_the_rest_goes_on() {
    let mut voters = three().await;
    let gateway = follower(&voters, &urls(&voters)).await;
    let id = override_once(&voters[1], &pay(&gateway, 501, None).await);
    let [first, second, third] = &mut voters;
    for house in [second, third] {
        house.shoot();
        house.ended().await;
    }
    for house in [&*first, &gateway] {
        pay(house, 501, Some(&id)).await.is_denied(Reason::Unavailable);
        pay(house, 501, None).await.is_denied(Reason::Unavailable);
        pay(house, 499, None).await.is_ok();
    }
    assert_eq!(first.upstream().count(), 2);
}

/// The names of the gateways that a voter shows, without those that are silent.
fn fleet(voter: &Building) -> Vec<String> {
    let fleet = voter.region().get("/v1/fleet");
    let gateways = fleet["gateways"].as_array().unwrap();
    let heard = gateways.iter().filter(|gateway| gateway["is_silent"] == false);
    heard.map(|gateway| gateway["gateway"].as_str().unwrap().to_owned()).collect()
}

/// Publishes and activates the testkit's policy for `acme`, and names the version that denies more.
fn released(voter: &Building, text: &str) {
    let region = voter.region();
    let pushed = |text: &str| {
        let files = json!({ "files": [{ "name": "acme.policy.yaml", "text": text }] });
        region.post("/v1/policies/acme/test/versions", files);
    };
    pushed(text);
    let stricter = text.replace("max: 1000", "max: 400");
    assert_ne!(stricter, text);
    pushed(&stricter);
    region.put_at("/v1/policies/acme/test/pointer", "\"0\"", json!({ "active": 1 }));
}

/// A gateway that follows one voter and decides by what the region releases.
async fn released_to(voters: &[Building], name: &str, voter: usize) -> Building {
    let urls = [voters[voter].control_url()];
    let plan = Plan::new().await.following_any(&voters[0], &urls).await.paying_at(&voters[0]);
    let plan = plan.with("/name", json!(name));
    plan.with("/tenants/acme/policy", json!({ "release": "test" })).start(GATEWAY).await
}

#[tokio::test]
async fn every_voter_shows_the_gateways_of_all_and_a_guard_acts_on_their_sum() {
    let mut voters = three().await;
    let text = voters[0].plan().text("acme.policy.yaml");
    released(&voters[1], &text);
    let mut gateways = Vec::new();
    for (number, voter) in [0, 1, 2, 2].into_iter().enumerate() {
        gateways.push(released_to(&voters, &format!("gw-{number}"), voter).await);
    }
    let names: Vec<_> = (0..4).map(|number| format!("gw-{number}")).collect();
    for voter in &voters {
        eventually("all four are shown", || fleet(voter) == names).await;
    }

    // Ten calls at each gateway: no voter hears of more than twenty by itself, and the guard wants thirty-five.
    let region = voters[2].region();
    let guard = json!({ "limit": { "p99": { "us_max": 1 } }, "then": "roll_back" });
    let stage = json!({
        "share": "100%", "min_duration_s": 600, "calls_min": 35, "guards": [guard],
    });
    let pointer = || region.get("/v1/policies/acme/test/pointer");
    let wish = json!({ "candidate": 2, "stages": [stage] });
    let seen = format!("\"{}\"", pointer()["epoch"]);
    region.post_at("/v1/policies/acme/test/rollout", &seen, wish);
    for gateway in &gateways {
        assert_eq!(pointer()["rollout"]["state"], "running", "not by what one voter heard");
        let mut counted = 0;
        while counted < 10 {
            let decided = pay(gateway, 450, None).await.record();
            let by_candidate = decided.policy.is_some_and(|policy| policy.version == 2);
            counted += i32::from(by_candidate);
        }
    }
    eventually("the sum passes the guard", || pointer()["rollout"]["state"] == "rolled_back").await;

    // A voter that is gone is named, and its gateways are not taken for heard.
    voters[2].shoot();
    voters[2].ended().await;
    let told = || voters[0].region().get("/v1/fleet");
    eventually("it is named", || {
        told()["voters"].as_array().unwrap().iter().any(|voter| voter["is_silent"] == true)
    })
    .await;
    let left = ["gw-0".to_owned(), "gw-1".to_owned()];
    eventually("its gateways are silent", || fleet(&voters[0]) == left).await;
}
