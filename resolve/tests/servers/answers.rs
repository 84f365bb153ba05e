//! Answers: what is asked for, how often, and what a call may do with what came back.
//!
//! Not here: servers that misbehave (`trouble`). Invariant: an answer that turns forbidden is refused when it is used.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aegis_address::{AddressClass, Dialable, Undialable};
use aegis_domain::{Host, Reason};

use crate::fixture::{NameServer, Reply, addresses, resolve};

const PUBLIC: &str = "93.184.216.34";

fn check(answer: Vec<String>) -> Result<Dialable, Undialable> {
    let answer: Vec<IpAddr> = answer.iter().map(|text| text.parse().unwrap()).collect();
    Dialable::check(answer, &[])
}

#[tokio::test]
async fn a_name_is_asked_for_once_while_its_answer_holds() {
    let server =
        NameServer::start([("a.test", vec![addresses(&[PUBLIC, "2606:4700::1"], 60)])]).await;
    let resolver = server.resolver(|_| ());
    for _ in 0..3 {
        let answer = resolve(&resolver, "a.test").await;
        assert_eq!(answer, Ok(vec![PUBLIC.to_owned(), "2606:4700::1".to_owned()]));
    }
    assert_eq!(server.asked("a.test"), 1);
}

#[tokio::test]
async fn a_name_that_is_rebound_gains_nothing() {
    let script = vec![addresses(&[PUBLIC], 0), addresses(&["169.254.169.254"], 0)];
    let server = NameServer::start([("rebind.test", script)]).await;
    let floor = Duration::from_millis(500);
    let resolver = server.resolver(|limits| limits.found.0 = floor);

    let first = resolve(&resolver, "rebind.test").await.unwrap();
    let within = resolve(&resolver, "rebind.test").await.unwrap();
    assert_eq!((&first, server.asked("rebind.test")), (&within, 1), "a TTL of 0 has a floor");
    assert_eq!(check(first).unwrap().turn(0).to_string(), PUBLIC);

    tokio::time::sleep(floor * 2).await;
    let after = resolve(&resolver, "rebind.test").await.unwrap();
    assert_eq!(server.asked("rebind.test"), 2);
    assert_eq!(check(after), Err(Undialable::Forbidden(AddressClass::Metadata)));
}

#[tokio::test]
async fn answers_that_hide_a_forbidden_address_are_refused() {
    let server = NameServer::start([
        ("mixed.test", vec![addresses(&[PUBLIC, "10.0.0.1"], 60)]),
        ("families.test", vec![addresses(&[PUBLIC, "fd00:ec2::254"], 60)]),
        ("mapped.test", vec![addresses(&["::ffff:169.254.169.254"], 60)]),
        ("nat64.test", vec![addresses(&["64:ff9b::a9fe:a9fe"], 60)]),
        ("alias.test", vec![Reply::Alias("inside.test.")]),
        ("inside.test", vec![addresses(&["10.0.0.1"], 60)]),
    ])
    .await;
    let resolver = server.resolver(|_| ());
    for name in ["mixed.test", "families.test", "mapped.test", "nat64.test", "alias.test"] {
        let answer = resolve(&resolver, name).await.unwrap();
        assert!(check(answer).is_err(), "{name}");
    }
}

#[tokio::test]
async fn many_calls_for_one_name_are_one_question() {
    let late = Reply::Late(Duration::from_millis(200), Box::new(addresses(&[PUBLIC], 60)));
    let server = NameServer::start([("a.test", vec![late])]).await;
    let resolver = Arc::new(server.resolver(|_| ()));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let resolver = Arc::clone(&resolver);
            tokio::spawn(async move { resolve(&resolver, "a.test").await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(vec![PUBLIC.to_owned()]));
    }
    assert_eq!(server.asked("a.test"), 1);
}

#[tokio::test]
async fn a_call_that_hangs_up_does_not_take_the_others_with_it() {
    let late = Reply::Late(Duration::from_millis(300), Box::new(addresses(&[PUBLIC], 60)));
    let server = NameServer::start([("a.test", vec![late])]).await;
    let resolver = Arc::new(server.resolver(|_| ()));
    let call = |resolver: Arc<_>| tokio::spawn(async move { resolve(&resolver, "a.test").await });
    let first = call(Arc::clone(&resolver));
    while server.asked("a.test") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let second = call(resolver);
    first.abort();
    assert_eq!(second.await.unwrap(), Ok(vec![PUBLIC.to_owned()]));
}

#[tokio::test]
async fn names_wait_their_turn_beyond_the_bound_on_questions() {
    let late = || vec![Reply::Late(Duration::from_millis(50), Box::new(addresses(&[PUBLIC], 60)))];
    let script = [("a.test", late()), ("b.test", late()), ("c.test", late()), ("d.test", late())];
    let server = NameServer::start(script).await;
    let resolver = server.resolver(|limits| limits.questions_max = 1);
    let (a, b, c, d) = tokio::join!(
        resolve(&resolver, "a.test"),
        resolve(&resolver, "b.test"),
        resolve(&resolver, "c.test"),
        resolve(&resolver, "d.test"),
    );
    assert!([a, b, c, d].iter().all(Result::is_ok));
    // One name is two questions: A and AAAA.
    assert!(server.under_way_max() <= 2, "{}", server.under_way_max());
}

#[tokio::test]
async fn addresses_localhost_and_metadata_services_are_never_asked_for() {
    let server = NameServer::start([]).await;
    let resolver = server.resolver(|_| ());
    assert_eq!(resolve(&resolver, "192.0.2.1").await, Ok(vec!["192.0.2.1".to_owned()]));
    assert_eq!(resolve(&resolver, "2001:db8::1").await, Ok(vec!["2001:db8::1".to_owned()]));
    assert!(check(resolve(&resolver, "localhost").await.unwrap()).is_err());
    let metadata = resolver.resolve(&Host::parse("metadata.google.internal").unwrap()).await;
    assert_eq!(metadata, Err(Reason::AddressForbidden));
    assert_eq!(server.names_asked(), Vec::<String>::new());
}
