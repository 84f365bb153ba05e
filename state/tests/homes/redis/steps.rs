//! Clocks that step, on servers that forget by their own: no token becomes good a second time.
//!
//! Not here: the same with a time the tests bring (`conformance::refusals`). Invariant: real keys really expire.

use std::time::Duration;

use aegis_domain::{HotAnswer, HotRefusal, Ttl};
use aegis_state::{Ask, HotState as _, TokenCheck};
use aegis_testkit::hot::{Server, Software};

use super::stand::{Gateway, make_old, now, single};
use crate::conformance::{id, is_granted, once};

const REPLAYED: HotAnswer = HotAnswer::Refused(HotRefusal::Replayed);
/// How long past its end a token is remembered (`docs/spec/hot-state.md`).
const REMEMBERED_S: u64 = 120;

/// The use of a token that ends `ends_s` seconds from `now`, by a clock that is `off_s` seconds ahead or behind.
fn use_of(n: u64, ends_s: i64, off_s: i64) -> Ask {
    let by = |s: i64| {
        let (now, length) = (now(), Ttl::from_s(s.unsigned_abs()));
        let back = aegis_domain::Timestamp::from_unix_ms(now.unix_ms() - length.ms());
        if s < 0 { back } else { now.plus(length) }
    };
    let call = once(n, "stepped");
    Ask { now: by(off_s), token: TokenCheck { expires_at: by(ends_s), ..call.token }, ..call }
}

#[test]
fn a_token_used_by_a_clock_that_was_ahead_is_known_when_it_is_back() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let server = Server::start(&program, &[]);
        make_old(&server, "acme");
        let gateway = Gateway::open(single(&server));
        let ahead = use_of(1, 300, 600);
        assert!(is_granted(&gateway.decide_now(ahead)));
        // By the asker's clock the token was over long ago; by the server's it is not.
        let kept = server.ask(&["PTTL", "ag:{acme}:j:stepped"]).parse::<u64>().unwrap();
        assert!(kept > (300 + REMEMBERED_S - 30) * 1_000, "{kept} ms");
        assert_eq!(gateway.decide_now(use_of(2, 300, 0)), REPLAYED);
    }
}

#[test]
fn a_token_the_server_forgot_is_not_new_to_a_clock_that_is_behind() {
    for software in [Software::Redis, Software::Valkey] {
        let Some(program) = software.installed() else { continue };
        let server = Server::start(&program, &[]);
        make_old(&server, "acme");
        let gateway = Gateway::open(single(&server));
        // The token is as old as one may be and still be remembered, for a second.
        let last = 1 - i64::try_from(REMEMBERED_S).unwrap();
        let first = use_of(1, last, 0);
        assert!(is_granted(&gateway.decide_now(first.clone())));
        while server.ask(&["EXISTS", "ag:{acme}:j:stepped"]) != "0" {
            std::thread::sleep(Duration::from_millis(50));
        }
        let behind = use_of(2, 0, -600);
        let behind = Ask { id: id(2), token: first.token, ..behind };
        assert!(behind.now < behind.token.expires_at, "a clock that is right would not accept it");
        assert_eq!(gateway.run(gateway.decide(&behind)), REPLAYED);
    }
}
