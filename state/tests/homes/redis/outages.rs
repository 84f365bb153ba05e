//! What a gateway answers while its servers fail, each in a way of its own: never a grant, never a guess.
//!
//! Not here: another primary (`failover`). Invariant: each case ends with the state well again and nothing counted that
//! was not answered for.

use std::path::Path;
use std::time::Duration;

use aegis_domain::{HotAnswer, Outage, TokenUse, Ttl};
use aegis_state::{Ask, Deployment, HotState as _, RedisConfig, Server as Address, StateError};
use aegis_testkit::hot::{Proxy, Server, Software};

use super::stand::{
    Gateway, address, counted, eventually, live, make_old, now, on_single, simulated, single,
};
use crate::conformance::{
    Home, at, budgets, granted, is_granted, once, run, tenant, tenant_day, usd,
};

const STORAGE: HotAnswer = HotAnswer::Unanswered(Outage::Storage);

/// A call of its own each time, on a budget that is not the matter.
fn call(n: u64) -> Ask {
    live(Ask { budgets: budgets([(tenant_day(), 1 << 40)]), ..crate::conformance::ask(n) })
}

fn is_silent(answer: &HotAnswer) -> bool {
    matches!(answer, HotAnswer::Unanswered(Outage::TimedOut | Outage::Unreachable))
}

/// A deadline short enough to meet, and long enough that a busy machine does not.
fn impatient(config: RedisConfig) -> RedisConfig {
    RedisConfig { deadline: Duration::from_millis(250), ..config }
}

/// One server that keeps what it was told through `kill -9`: while it syncs once a second, it may hold writes back for two.
fn lasting(program: &Path) -> Server {
    Server::start(program, &["--appendonly", "yes", "--appendfsync", "always"])
}

fn recovers(gateway: &Gateway, n: &mut u64) {
    eventually("decisions are granted again", || {
        *n += 1;
        is_granted(&gateway.decide_now(call(*n)))
    });
}

#[test]
fn a_killed_server_is_unreachable_and_comes_back_with_what_it_knew() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let mut server = lasting(&program);
        let gateway = Gateway::open(single(&server));
        assert!(is_granted(&gateway.decide_now(call(1))));
        server.kill();
        eventually("the loss is seen", || gateway.run(gateway.health()).is_err());
        assert_eq!(gateway.decide_now(call(2)), HotAnswer::Unanswered(Outage::Unreachable));
        server.start_again();
        recovers(&gateway, &mut 10);
        let (spent, held) = counted(&gateway);
        assert!(spent == 0 && held >= 20, "the hold of the first life: {held}");
    }
}

#[test]
fn a_hung_server_is_silence_until_it_wakes() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let gateway = Gateway::open(impatient(single(&server)));
    assert!(is_granted(&gateway.decide_now(call(1))));
    server.pause();
    for n in 2..12 {
        let answer = gateway.decide_now(call(n));
        assert!(is_silent(&answer), "{answer:?}");
    }
    // Nobody is asked any more: the connections are given up, though the kernel would still take new ones.
    eventually("it is given up", || {
        gateway.decide_now(call(12)) == HotAnswer::Unanswered(Outage::Unreachable)
    });
    server.resume();
    recovers(&gateway, &mut 20);
}

#[test]
fn a_slow_server_is_silence_although_its_answers_come() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let proxy = Proxy::before(&server);
    let through = Address { host: "127.0.0.1".to_owned(), port: proxy.port() };
    let gateway = Gateway::open(impatient(super::stand::patient(Deployment::Single(through))));
    assert!(is_granted(&gateway.decide_now(call(1))));
    proxy.delay(Duration::from_millis(400));
    for n in 2..10 {
        let answer = gateway.decide_now(call(n));
        assert!(is_silent(&answer), "{answer:?}");
    }
    proxy.delay(Duration::ZERO);
    recovers(&gateway, &mut 20);
}

#[test]
fn a_half_open_connection_is_found_and_replaced() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let proxy = Proxy::before(&server);
    let through = Address { host: "127.0.0.1".to_owned(), port: proxy.port() };
    let gateway = Gateway::open(impatient(super::stand::patient(Deployment::Single(through))));
    proxy.hold();
    // Nobody calls: the probes alone find it.
    eventually("the line is withdrawn", || gateway.run(gateway.health()).is_err());
    assert!(is_silent(&gateway.decide_now(call(1))));
    proxy.delay(Duration::ZERO);
    recovers(&gateway, &mut 20);
}

#[test]
fn a_server_that_became_a_replica_is_not_written_to() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let gateway = Gateway::open(single(&server));
    assert!(is_granted(&gateway.decide_now(call(1))));
    server.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(gateway.decide_now(call(2)), STORAGE);
    eventually("it is not connected to", || {
        gateway.decide_now(call(3)) == HotAnswer::Unanswered(Outage::Unreachable)
    });
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    recovers(&gateway, &mut 20);
}

#[test]
fn a_full_server_refuses_and_loses_nothing() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &["--maxmemory-policy", "noeviction"]);
    let gateway = Gateway::open(single(&server));
    assert!(is_granted(&gateway.decide_now(call(1))));
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    for n in 2..12 {
        assert_eq!(gateway.decide_now(call(n)), STORAGE);
    }
    assert_eq!(counted(&gateway), (0, 10));
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert!(is_granted(&gateway.decide_now(call(20))));
    assert_eq!(counted(&gateway), (0, 20));
}

/// A cache that evicted counters let clients pass (github.blog, "How we scaled the GitHub API with a sharded,
/// replicated rate limiter in Redis", 2021-04-05).
#[test]
fn a_server_that_evicts_is_not_used() {
    let Some(program) = Software::Redis.installed() else { return };
    let options = ["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&program, &options);
    Gateway::begin(single(&server)).stays_unreachable();
}

#[test]
fn forgotten_scripts_are_loaded_again_without_a_word() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    make_old(&server, "acme");
    let gateway = Gateway::open(single(&server));
    assert!(is_granted(&gateway.decide_now(live(once(1, "a")))));
    server.ask(&["SCRIPT", "FLUSH"]);
    // Also a single-use token: it is the same process, so nothing can have been lost.
    assert!(is_granted(&gateway.decide_now(live(once(2, "b")))));
}

#[test]
fn flushed_data_are_not_taken_for_a_beginning() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let gateway = Gateway::open(single(&server));
    let spent = call(1);
    assert!(is_granted(&gateway.decide_now(spent.clone())));
    gateway.run(gateway.settle(&spent.hold(), usd(7), now())).unwrap();
    server.ask(&["FLUSHALL"]);
    assert_eq!(gateway.decide_now(call(2)), STORAGE);
    assert!(matches!(gateway.run(gateway.health()), Err(StateError::Lost { .. })));
    assert_eq!(gateway.decide_now(call(3)), STORAGE);
    // Another gateway that knew the data does not get around it either; the audit log knows what was spent.
    let told = [(tenant_day(), usd(7))];
    gateway.run(gateway.restore(&tenant(), &told, now())).unwrap();
    assert!(is_granted(&gateway.decide_now(call(4))));
    assert_eq!(counted(&gateway), (7, 10));
    // Telling it twice adds nothing.
    gateway.run(gateway.restore(&tenant(), &told, now())).unwrap();
    assert_eq!(counted(&gateway), (7, 10));
}

#[test]
fn a_gateway_that_knew_the_lost_data_follows_the_one_that_restored_them() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let (one, other) = (Gateway::open(single(&server)), Gateway::open(single(&server)));
    assert!(is_granted(&one.decide_now(call(1))) && is_granted(&other.decide_now(call(2))));
    server.ask(&["FLUSHALL"]);
    // A newcomer cannot know, and begins anew; those who know are not deceived by that.
    let newcomer = Gateway::open(single(&server));
    assert!(is_granted(&newcomer.decide_now(call(3))));
    assert_eq!(one.decide_now(call(4)), STORAGE);
    one.run(one.restore(&tenant(), &[], now())).unwrap();
    assert!(is_granted(&one.decide_now(call(5))));
    eventually("the other follows", || is_granted(&other.decide_now(call(6))));
}

#[test]
fn data_flushed_while_the_gateway_was_down_are_missed_too() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let folder = tempfile::tempdir().unwrap();
    let memory = Some(folder.path().join("known"));
    let config = RedisConfig { memory, ..single(&server) };
    let gateway = Gateway::open(config.clone());
    assert!(is_granted(&gateway.decide_now(call(1))));
    gateway.run(gateway.reap(now(), 10)).unwrap();
    drop(gateway);
    server.ask(&["FLUSHALL"]);
    let gateway = Gateway::begin(config);
    eventually("the loss is told", || gateway.decide_now(call(2)) == STORAGE);
}

#[test]
fn an_old_dump_is_not_taken_for_the_present() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let mut server = Server::start(&program, &[]);
        // Time is told here, so that the dump is old without waiting.
        let gateway = Gateway::open(simulated(Deployment::Single(address(&server))));
        let ask = |n, s| Ask { now: at(s), ..crate::conformance::ask(n) };
        assert!(is_granted(&gateway.decide_now(ask(1, 0))));
        gateway.run(gateway.reap(at(1), 10)).unwrap();
        server.ask(&["SAVE"]);
        assert!(is_granted(&gateway.decide_now(ask(2, 90))));
        gateway.run(gateway.reap(at(90), 10)).unwrap();
        server.kill();
        server.start_again();
        eventually("it is told", || gateway.decide_now(ask(3, 91)) == STORAGE);
        let error = gateway.run(gateway.health()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shared state cannot be trusted: its data are older than what was seen"
        );
        gateway.run(gateway.restore(&tenant(), &[(tenant_day(), usd(20))], at(92))).unwrap();
        // 20 by the log; of the holds in the dump one is open, and it counts.
        assert!(is_granted(&gateway.decide_now(ask(4, 92))));
    }
}

#[test]
fn a_settlement_nobody_heard_is_sent_again() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = lasting(&program);
    let gateway = Gateway::open(impatient(single(&server)));
    let settled = call(1);
    assert!(is_granted(&gateway.decide_now(settled.clone())));
    server.kill();
    eventually("it is not heard", || {
        gateway.run(gateway.settle(&settled.hold(), usd(7), now())).is_err()
    });
    server.start_again();
    eventually("it was sent again", || {
        let reaped = gateway.run(gateway.reap(now(), 10));
        reaped.is_ok() && counted(&gateway) == (7, 0)
    });
    gateway.run(gateway.settle(&settled.hold(), usd(7), now())).unwrap();
    assert_eq!(counted(&gateway), (7, 0));
}

#[test]
fn a_restart_that_forgot_settlements_is_told_them_again() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = Server::start(&program, &[]);
    let gateway = Gateway::open(single(&server));
    let (first, second) = (call(1), call(2));
    assert!(is_granted(&gateway.decide_now(first.clone())));
    gateway.run(gateway.settle(&first.hold(), usd(3), now())).unwrap();
    server.ask(&["SAVE"]);
    // After the dump: a hold and its settlement that no file knows of.
    assert!(is_granted(&gateway.decide_now(second.clone())));
    gateway.run(gateway.settle(&second.hold(), usd(4), now())).unwrap();
    server.kill();
    server.start_again();
    let mut n = 10;
    recovers(&gateway, &mut n);
    eventually("both were told", || counted(&gateway).0 == 7);
}

/// A primary is lost with the last settlements, and the gateway that made them dies before it can tell another.
#[test]
fn settlements_that_server_and_gateway_forgot_are_in_the_notes() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = Server::start(&program, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, left) = Gateway::noting(single(&server), folder.path());
    assert_eq!(left, []);
    let call = call(1);
    assert!(is_granted(&gateway.decide_now(call.clone())));
    server.ask(&["SAVE"]);
    gateway.run(gateway.settle(&call.hold(), usd(4), now())).unwrap();
    gateway.run(gateway.reap(now(), 10)).unwrap();
    server.kill();
    drop(gateway);
    server.start_again();
    let (gateway, left) = Gateway::noting(single(&server), folder.path());
    assert_eq!(counted(&gateway), (0, 10), "the server kept it, so nothing is shown");
    assert_eq!(left, [call.hold()]);
    gateway.run(gateway.settle(&left[0], usd(4), now())).unwrap();
    assert_eq!(counted(&gateway), (4, 0));
}

/// A call that is refused because its decision got no answer costs nothing, although a server took it.
#[test]
fn what_a_server_holds_for_a_call_that_was_refused_is_given_back() {
    let Some(program) = Software::Redis.installed() else { return };
    let server = Server::start(&program, &[]);
    let folder = tempfile::tempdir().unwrap();
    let (gateway, _) = Gateway::noting(impatient(single(&server)), folder.path());
    assert!(is_granted(&gateway.decide_now(call(1))));
    let silent = |n| {
        server.pause();
        let answer = gateway.decide_now(call(n));
        assert!(is_silent(&answer), "{answer:?}");
        server.resume();
        eventually("the server holds it", || counted(&gateway) == (0, 20));
    };
    let reaped = || {
        gateway.wait_until_well();
        gateway.run(gateway.reap(now(), 10)).ok();
        std::thread::sleep(Duration::from_millis(20));
    };
    silent(2);
    // It may be asked again, so nobody takes it back by himself.
    (0..5).for_each(|_| reaped());
    assert_eq!(counted(&gateway), (0, 20));
    gateway.abandon(&call(2).id);
    eventually("it is given back", || {
        reaped();
        counted(&gateway) == (0, 10)
    });
    // Nor is it lost where the gateway dies before that.
    silent(3);
    drop(gateway);
    let (gateway, left) = Gateway::noting(single(&server), folder.path());
    let left = left.iter().find(|hold| hold.id == call(3).id).unwrap();
    gateway.run(gateway.release(left, now())).unwrap();
    assert_eq!(counted(&gateway), (0, 10));
}

#[test]
fn after_a_restart_only_new_single_use_tokens_pass() {
    let Some(program) = Software::Redis.installed() else { return };
    let mut server = lasting(&program);
    let gateway = Gateway::open(RedisConfig { issuer_skew: Ttl::from_ms(0), ..single(&server) });
    make_old(&server, "acme");
    let old = live(once(1, "old"));
    let unused = live(once(2, "unused"));
    assert!(is_granted(&gateway.decide_now(old.clone())));
    server.kill();
    server.start_again();
    recovers(&gateway, &mut 10);
    // Neither can be told from one whose use was lost; a token for many calls does not mind.
    let again = Ask { id: crate::conformance::id(3), ..old };
    assert_eq!(gateway.decide_now(again), STORAGE);
    assert_eq!(gateway.decide_now(unused), STORAGE);
    let fresh = live(once(4, "fresh"));
    assert_eq!(fresh.token.token_use, TokenUse::Once);
    assert!(is_granted(&gateway.decide_now(fresh)));
    // Without a time of issue, it is as old as it can be.
    let mut unknown = live(once(5, "unknown"));
    unknown.token.issued_at = None;
    assert_eq!(gateway.decide_now(unknown), STORAGE);
}

#[test]
fn a_sum_that_is_no_count_is_not_counted_with() {
    let Some(home) = Software::Redis.installed().map(on_single) else { return };
    let day = aegis_state::Period::of(tenant_day().window, at(0)).index;
    for wrong in ["-1", "9007199254740992", "1.5", "much"] {
        home.server().ask(&["HSET", &format!("ag:{{acme}}:s:d{day}"), "st", wrong]);
        assert_eq!(run(home.decide(&crate::conformance::ask(1))), STORAGE, "{wrong}");
    }
    home.server().ask(&["HSET", &format!("ag:{{acme}}:s:d{day}"), "st", "0"]);
    assert_eq!(run(home.decide(&crate::conformance::ask(1))), granted(10, 1_000));
}

/// BerriAI/litellm#40956: counters without an expiry stayed for ever.
#[test]
fn everything_expires() {
    let Some(home) = Software::Redis.installed().map(on_single) else { return };
    everything_is_used(&home);
    let keys = home.server().ask(&["KEYS", "ag:{acme}:*"]);
    let lasting = keys.lines().filter(|key| home.server().ask(&["PTTL", key]) == "-1");
    // But for what is there once for each tenant; open holds leave when they end.
    assert_eq!(lasting.collect::<Vec<_>>(), ["ag:{acme}:e"]);
}

fn everything_is_used(home: &impl Home) {
    let rates =
        aegis_state::Rates { minute: crate::conformance::limit(60, 5), ..Default::default() };
    let rates = aegis_state::Counted { agent: rates, ..Default::default() };
    let both = budgets([(tenant_day(), 1_000), (crate::conformance::agent_month(), 1_000)]);
    for n in 1..4 {
        let ask = Ask { rates, budgets: both.clone(), ..once(n, &format!("j{n}")) };
        assert!(is_granted(&run(home.decide(&ask))));
        if n < 3 {
            run(home.settle(&ask.hold(), usd(n), at(1))).unwrap();
        }
    }
    run(home.settle(&once(9, "lost").hold(), usd(1), at(1))).unwrap();
    assert_eq!(run(home.reap(at(31), 10)).unwrap(), 1);
}
