//! Name servers that stall, fail, deny, truncate and flood.
//!
//! Not here: good answers (`answers`). Invariant: trouble ends in `UpstreamUnresolved`, in bounded time, and is not asked
//! for again at once.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use aegis_domain::Reason;

use crate::fixture::{NameServer, Reply, addresses, resolve};

const UNRESOLVED: Result<Vec<String>, Reason> = Err(Reason::UpstreamUnresolved);

fn many(count: u32) -> Reply {
    let first = Ipv4Addr::new(93, 184, 0, 0).to_bits();
    let all = (0..count).map(|at| IpAddr::V4(Ipv4Addr::from_bits(first + at))).collect();
    Reply::TooLong(Box::new(Reply::Addresses(all, 60)))
}

#[tokio::test]
async fn a_silent_server_costs_one_deadline_and_is_left_alone_for_a_while() {
    let server = NameServer::start([("a.test", vec![Reply::Silence])]).await;
    let resolver = server.resolver(|limits| {
        limits.deadline = Duration::from_millis(300);
        limits.failed = Duration::from_secs(60);
    });
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    let asked = server.asked("a.test");
    assert!(asked >= 1);
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    assert_eq!(server.asked("a.test"), asked);
}

#[tokio::test]
async fn a_late_answer_is_as_good_as_none() {
    let late = Reply::Late(Duration::from_secs(20), Box::new(addresses(&["93.184.216.34"], 60)));
    let server = NameServer::start([("a.test", vec![late])]).await;
    let resolver = server.resolver(|limits| limits.deadline = Duration::from_millis(300));
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
}

#[tokio::test]
async fn a_failing_server_is_asked_again_after_the_failure_has_ended() {
    let script = vec![Reply::ServerFailure; 6];
    let server = NameServer::start([("a.test", script)]).await;
    let resolver = server.resolver(|limits| limits.failed = Duration::from_millis(500));
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    let asked = server.asked("a.test");
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    assert_eq!(server.asked("a.test"), asked, "the failure is held");
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    assert!(server.asked("a.test") > asked);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_remembered_as_such() {
    let script = vec![Reply::None(30), addresses(&["93.184.216.34"], 60)];
    let server = NameServer::start([("a.test", script)]).await;
    let resolver = server.resolver(|_| ());
    for _ in 0..3 {
        assert_eq!(resolve(&resolver, "a.test").await, UNRESOLVED);
    }
    assert_eq!(server.asked("a.test"), 1);
    assert_eq!(server.names_asked(), ["a.test"], "no search domain is tried");
}

#[tokio::test]
async fn a_name_without_addresses_is_unresolved() {
    let server = NameServer::start([("a.test", vec![addresses(&[], 60)])]).await;
    assert_eq!(resolve(&server.resolver(|_| ()), "a.test").await, UNRESOLVED);
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_whole() {
    let server = NameServer::start([("a.test", vec![many(200)])]).await;
    let answer = resolve(&server.resolver(|_| ()), "a.test").await.unwrap();
    assert_eq!(answer.len(), 200);
}

#[tokio::test]
async fn a_thousand_addresses_are_refused_whole() {
    let server = NameServer::start([("a.test", vec![many(1_000)])]).await;
    assert_eq!(resolve(&server.resolver(|_| ()), "a.test").await, UNRESOLVED);
}

#[tokio::test]
async fn aliases_are_followed_but_not_in_circles() {
    let server = NameServer::start([
        ("a.test", vec![Reply::Alias("b.test.")]),
        ("b.test", vec![Reply::Alias("c.test.")]),
        ("c.test", vec![addresses(&["93.184.216.34"], 60)]),
        ("x.test", vec![Reply::Alias("y.test.")]),
        ("y.test", vec![Reply::Alias("x.test.")]),
    ])
    .await;
    let resolver = server.resolver(|_| ());
    assert_eq!(resolve(&resolver, "a.test").await, Ok(vec!["93.184.216.34".to_owned()]));
    assert_eq!(resolve(&resolver, "x.test").await, UNRESOLVED);
    assert!(server.asked("x.test") + server.asked("y.test") < 40);
}
