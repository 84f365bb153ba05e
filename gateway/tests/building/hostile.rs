//! Upstreams whose answers are made to be misread.
//!
//! Not here: floods (`floods`) and each rule of the gate (`gate`). Invariant: an agent gets one answer in one framing, a
//! refusal, or an answer that visibly breaks off; and the next call gets its own answer, whatever came before it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegis_gate::{Asked, BodyGate, Limits, Progress, ResponseBody, ResponseGate, ResponseReading};
use aegis_testkit::{Building, Gate, Plan, Puppet, Word};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::GATEWAY;

/// What an agent was left with.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Refused(u16),
    Whole,
    Cut,
    /// Anything else: two readers could read two things.
    Mixed,
}

/// For upstreams that always say how their answer ends: a machine that stands still for a moment is not taken for silence.
pub(crate) const PATIENT: &str = "10s";
/// For upstreams that leave an answer open, and stay: this long is waited for each.
const BRIEF: &str = "1s";

/// A building with one more tool, `rough`, whose upstream is a puppet.
pub(crate) async fn with(puppet: &Puppet, read_timeout: &str) -> Building {
    let binding = json!({
        "upstream": format!("http://open.test:{}", puppet.port()), "resolve": ["127.0.0.1"],
        "addresses": ["127.0.0.0/8"], "protocol": "http1", "read_timeout": read_timeout,
    });
    Plan::new().await.tool("rough", binding).start(GATEWAY).await
}

fn say(bytes: impl Into<Bytes>) -> Word {
    Word::Say(bytes.into())
}

/// Calls the puppet on a connection of its own and takes everything that comes back.
async fn call(house: &Building, token: &str, method: &str, path: &str) -> Vec<u8> {
    let mut line = house.raw().await;
    let head = format!(
        "{method} /rough{path} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {token}\r\n\
         connection: close\r\n\r\n"
    );
    line.send(head.as_bytes()).await;
    line.rest_bytes().await
}

/// Reads what an agent got as strictly as the gate reads upstreams.
fn heard(method: &str, bytes: &[u8]) -> Heard {
    let asked = if method == "HEAD" { Asked::Head } else { Asked::Plain };
    let mut gate = ResponseGate::new(asked, Limits::RESPONSE);
    let mut rest = bytes;
    let head = loop {
        match gate.read(rest) {
            Ok(ResponseReading::Interim { bytes, .. }) => rest = &rest[bytes..],
            Ok(ResponseReading::Final(head)) => break head,
            Ok(ResponseReading::Partial) => return Heard::Cut,
            Err(_) => return Heard::Mixed,
        }
    };
    let ResponseBody::Framed(framing) = head.body else { return Heard::Mixed };
    let mut body = BodyGate::new(framing);
    match (body.push(&rest[head.bytes..]), String::from_utf8_lossy(rest)) {
        (Ok(Progress::More), _) => Heard::Cut,
        (Ok(Progress::Ends { at }), _) if head.bytes + at != rest.len() => Heard::Mixed,
        (Ok(Progress::Ends { .. }), text) if text.contains("\"decision_id\"") => {
            let is_named = ["UpstreamFailed", "UpstreamTimeout"]
                .iter()
                .any(|reason| text.contains(&format!("\"reason\":\"{reason}\"")));
            assert!(is_named && matches!(head.status, 502 | 504), "{text}");
            Heard::Refused(head.status)
        }
        (Ok(Progress::Ends { .. }), _) => Heard::Whole,
        (Err(_), _) => Heard::Mixed,
    }
}

/// The call that follows gets its own answer, and says on which connection.
async fn next(house: &Building, puppet: &Puppet, number: usize) -> usize {
    let path = format!("/next/{number}");
    let reply = house.agent("bot").get(&format!("/rough{path}")).send().await;
    assert_eq!(reply.is_ok().text(), format!("own:{path}"));
    puppet.calls().iter().find(|(_, called)| *called == path).unwrap().0
}

/// One vector, and the call after it on the same gateway. Returns what was heard, and whether the connection was used
/// again.
async fn play(
    (house, puppet): (&Building, &Puppet),
    method: &str,
    number: usize,
    words: Vec<Word>,
) -> (Heard, bool, Vec<u8>) {
    let path = format!("/vector/{number}");
    puppet.on(&path, words);
    let token = house.agent("bot").token();
    let bytes = call(house, &token, method, &path).await;
    let connection = puppet.calls().iter().find(|(_, called)| *called == path).unwrap().0;
    let following = next(house, puppet, number).await;
    (heard(method, &bytes), connection == following, bytes)
}

#[tokio::test]
async fn no_response_of_the_corpus_is_mixed_with_another() {
    let corpora = std::env::var_os("AEGIS_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora"),
        PathBuf::from,
    );
    let Ok(text) = std::fs::read_to_string(corpora.join("llhttp/http1_vectors.jsonl")) else {
        println!("skipped: corpora absent");
        return;
    };
    let vectors = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let vectors: Vec<_> = vectors.filter(|vector| vector["type"] == "response").collect();
    assert_eq!(vectors.len(), 75);
    let puppet = Puppet::open().await;
    let house = with(&puppet, BRIEF).await;
    let mut counts: BTreeMap<(bool, &str), usize> = BTreeMap::new();
    let mut played = 0;
    for vector in &vectors {
        let said = STANDARD.decode(vector["raw_b64"].as_str().unwrap()).unwrap();
        let is_error = !vector["error"].is_null();
        // An upstream may stay after its answer, or hang up.
        for last in [None, Some(Word::HangUp)] {
            played += 1;
            let words = std::iter::once(say(said.clone())).chain(last).collect();
            let (heard, is_reused, bytes) = play((&house, &puppet), "GET", played, words).await;
            let shown = String::from_utf8_lossy(&bytes);
            assert_ne!(heard, Heard::Mixed, "{}: {shown}", vector["title"]);
            assert!(!is_error || !is_reused, "{} is reused", vector["title"]);
            assert!(heard == Heard::Whole || !is_reused, "{} is reused", vector["title"]);
            let name = match heard {
                Heard::Refused(_) => "refused",
                Heard::Whole if is_reused => "whole, connection used again",
                Heard::Whole => "whole, connection closed",
                Heard::Cut => "cut",
                Heard::Mixed => "mixed",
            };
            *counts.entry((is_error, name)).or_default() += 1;
        }
    }
    println!("{played} answers, of 75 vectors that an upstream stays or hangs up after; 0 mixed");
    for ((is_error, name), count) in counts {
        println!("| {} | {name} | {count} |", if is_error { "error" } else { "valid" });
    }
}

/// What an answer must lead to.
#[derive(Clone, Copy, Debug)]
enum Want {
    Refused,
    /// Refused if nothing had been passed on, and cut if something had.
    Broken,
    Whole(&'static str),
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

/// Heads that nobody should believe, each behind a status line of its own.
const REFUSED: [(&str, &str); 35] = [
    (
        "both framings",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    ("both, turned", "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n"),
    ("a length twice", "content-length: 5\r\ncontent-length: 5\r\n\r\nhello"),
    ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"),
    ("a list of lengths", "content-length: 5, 5\r\n\r\nhello"),
    ("a signed length", "content-length: +5\r\n\r\nhello"),
    ("a negative length", "content-length: -5\r\n\r\nhello"),
    ("a hexadecimal length", "content-length: 0x5\r\n\r\nhello"),
    ("no number", "content-length:\r\n\r\nhello"),
    ("a length in two words", "content-length: 5 5\r\n\r\nhello"),
    ("a length beyond numbers", "content-length: 18446744073709551621\r\n\r\nhello"),
    ("another coding", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("identity", "transfer-encoding: identity\r\n\r\nhello"),
    ("chunked twice", "transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked not last", "transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    (
        "codings in two lines",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("a tab before the coding", "transfer-encoding:\u{b}chunked\r\n\r\n0\r\n\r\n"),
    ("space before the colon", "content-length : 5\r\n\r\nhello"),
    ("a look-alike", "content_length: 5\r\ntransfer_encoding: chunked\r\n\r\nhello"),
    ("a fold", "x: a\r\n content-length: 5\r\n\r\nhello"),
    ("a fold at once", " x: a\r\ncontent-length: 5\r\n\r\nhello"),
    ("a bare LF", "x: a\ncontent-length: 5\r\n\r\nhello"),
    ("a bare LF at the end", "content-length: 5\r\n\nhello"),
    ("a bare CR", "x: a\rcontent-length: 5\r\n\r\nhello"),
    ("NUL in a value", "x: a\0b\r\ncontent-length: 5\r\n\r\nhello"),
    ("NUL in a name", "x\0y: a\r\ncontent-length: 5\r\n\r\nhello"),
    ("a control in a value", "x: a\u{1}b\r\ncontent-length: 5\r\n\r\nhello"),
    ("no name", ": a\r\ncontent-length: 5\r\n\r\nhello"),
    ("no colon", "content-length\r\n\r\nhello"),
    ("a chunk size beyond numbers", "transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nhello"),
    ("a signed chunk size", "transfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk extension", "transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("a bare LF after a size", "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    (
        "a trailer that frames",
        "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 5\r\n\r\n",
    ),
];

/// Whole messages, first line included.
const MESSAGES: [(&str, &str, &str, Want); 37] = [
    ("HTTP/0.9", "GET", "hello world", Want::Refused),
    ("a version 0.9", "GET", "HTTP/0.9 200 OK\r\ncontent-length: 5\r\n\r\nhello", Want::Refused),
    ("a version 2.0", "GET", "HTTP/2.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", Want::Refused),
    ("another protocol", "GET", "ICY 200 OK\r\ncontent-length: 5\r\n\r\nhello", Want::Refused),
    (
        "a line before",
        "GET",
        "\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        Want::Refused,
    ),
    ("LF alone", "GET", "HTTP/1.1 200 OK\ncontent-length: 5\n\nhello", Want::Refused),
    ("a status of 99", "GET", "HTTP/1.1 099 X\r\ncontent-length: 5\r\n\r\nhello", Want::Refused),
    ("a status of 600", "GET", "HTTP/1.1 600 X\r\ncontent-length: 5\r\n\r\nhello", Want::Refused),
    (
        "chunked in 1.0",
        "GET",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Want::Refused,
    ),
    (
        "101 unasked",
        "GET",
        "HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        Want::Refused,
    ),
    (
        "101 to h2c",
        "GET",
        "HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        Want::Refused,
    ),
    (
        "204 with a length",
        "GET",
        "HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\nhello",
        Want::Refused,
    ),
    (
        "204 with chunks",
        "GET",
        "HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        Want::Refused,
    ),
    (
        "103 with a body",
        "GET",
        "HTTP/1.1 103 H\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        Want::Refused,
    ),
    ("half a head", "GET", "HTTP/1.1 200 OK\r\ncontent-le", Want::Refused),
    ("nothing", "GET", "", Want::Refused),
    ("a short body", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", Want::Broken),
    (
        "half a chunk",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\nhel",
        Want::Broken,
    ),
    (
        "no last chunk",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        Want::Broken,
    ),
    (
        "half a trailer",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y",
        Want::Broken,
    ),
    ("a length", "GET", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", Want::Whole("hello")),
    (
        "chunks",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        Want::Whole("hello"),
    ),
    (
        "trailers",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        Want::Whole("hello"),
    ),
    ("until the end", "GET", "HTTP/1.1 200 OK\r\nx: y\r\n\r\nhello", Want::Whole("hello")),
    ("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello", Want::Whole("hello")),
    ("204", "GET", "HTTP/1.1 204 No\r\n\r\n", Want::Whole("204")),
    (
        "304 with a length",
        "GET",
        "HTTP/1.1 304 Not\r\ncontent-length: 5\r\n\r\n",
        Want::Whole("304"),
    ),
    (
        "HEAD with a length",
        "HEAD",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
        Want::Whole("200"),
    ),
    (
        "a hint before",
        "GET",
        "HTTP/1.1 103 H\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        Want::Whole("hello"),
    ),
    (
        "100 unasked",
        "GET",
        "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        Want::Whole("hello"),
    ),
    (
        "a long body",
        "GET",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello, evil",
        Want::Whole("hello"),
    ),
    (
        "more after chunks",
        "GET",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nevil",
        Want::Whole("hello"),
    ),
    (
        "a second answer",
        "GET",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        Want::Whole("hello"),
    ),
    (
        "HEAD with a body",
        "HEAD",
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        Want::Whole("200"),
    ),
    (
        "304 with a body",
        "GET",
        "HTTP/1.1 304 Not\r\ncontent-length: 4\r\n\r\nevil",
        Want::Whole("304"),
    ),
    ("204 and a body", "GET", "HTTP/1.1 204 No\r\n\r\nevil", Want::Whole("204")),
    (
        "said to be closed",
        "GET",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello",
        Want::Whole("hello"),
    ),
];

/// What is said, how it was asked for, and what must come of it.
fn messages() -> Vec<(&'static str, &'static str, String, Want)> {
    let heads =
        REFUSED.iter().map(|(name, rest)| (*name, "GET", format!("{OK}{rest}"), Want::Refused));
    let nine = "HTTP/1.1 103 H\r\nlink: x\r\n\r\n".repeat(9) + OK + "content-length: 0\r\n\r\n";
    let nine = ("nine hints before", "GET", nine, Want::Refused);
    let rows = MESSAGES.map(|(name, method, text, want)| (name, method, text.to_owned(), want));
    heads.chain([nine]).chain(rows).collect()
}

#[tokio::test]
async fn an_answer_with_two_readings_is_refused_and_one_with_one_passes() {
    let puppet = Puppet::open().await;
    let house = with(&puppet, PATIENT).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let messages = messages();
    for (number, (name, method, text, want)) in messages.iter().enumerate() {
        let words = vec![say(text.clone()), Word::HangUp];
        let (heard, is_reused, bytes) = play((&house, &puppet), method, number, words).await;
        let shown = String::from_utf8_lossy(&bytes);
        assert!(!is_reused, "{name}: a connection that was hung up cannot be used");
        assert!(!shown.contains("evil"), "{name}: {shown}");
        let said = match (want, &heard) {
            (Want::Refused | Want::Broken, Heard::Refused(_)) => "refused",
            (Want::Broken, Heard::Cut) => "cut",
            (Want::Whole(part), Heard::Whole) if shown.contains(part) => "whole",
            _ => unreachable!("{name}: wanted {want:?}, and it is {heard:?}: {shown}"),
        };
        *counts.entry(said).or_default() += 1;
    }
    println!("{} answers: {counts:?}, 0 mixed", messages.len());
}

#[tokio::test]
async fn only_an_undisputed_answer_leaves_its_connection_to_the_next_call() {
    let puppet = Puppet::open().await;
    let house = with(&puppet, BRIEF).await;
    let mut used_again = 0;
    let messages = messages();
    for (number, (name, method, text, want)) in messages.iter().enumerate() {
        // The upstream stays, so that only the gateway can end the connection.
        let words = vec![say(text.clone())];
        let (_, is_reused, _) = play((&house, &puppet), method, number, words).await;
        let may_be = matches!(want, Want::Whole(_))
            && !text.contains("evil")
            && !text.contains("close")
            && !text.starts_with("HTTP/1.0")
            && *name != "until the end";
        assert_eq!(is_reused, may_be, "{name}");
        used_again += usize::from(is_reused);
    }
    println!("{} answers, {used_again} connections used again", messages.len());
}

#[tokio::test]
async fn what_comes_between_two_calls_ends_the_connection_and_answers_nobody() {
    let puppet = Puppet::open().await;
    let house = with(&puppet, PATIENT).await;
    let poison = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
    let answer = format!("{OK}content-length: 5\r\n\r\nhello");
    for (number, (method, first)) in
        [("GET", answer.as_str()), ("HEAD", &answer[..answer.len() - 5])].into_iter().enumerate()
    {
        let gate = Gate::default();
        let path = format!("/poison/{number}");
        puppet.on(&path, [say(first.to_owned()), Word::Wait(gate.clone()), say(poison)]);
        let token = house.agent("bot").token();
        let bytes = call(&house, &token, method, &path).await;
        assert_eq!(heard(method, &bytes), Heard::Whole);
        gate.open(1);
        // The gateway lets go of the connection by itself; the next call's is closed by the puppet.
        puppet.ended(2 * number + 1).await;
        let own = format!("own:/next/{number}");
        let own = format!("{OK}content-length: {}\r\n\r\n{own}", own.len());
        puppet.on(&format!("/next/{number}"), [say(own), Word::HangUp]);
        next(&house, &puppet, number).await;
        puppet.ended(2 * number + 2).await;
    }
}

#[tokio::test]
async fn an_answer_that_comes_before_its_call_is_never_anothers() {
    let puppet = Puppet::open().await;
    let house = with(&puppet, PATIENT).await;
    let token = house.agent("bot").token();
    let mut refused = 0;
    for number in 0..10 {
        puppet.greet(Some(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\ngreeting"));
        let bytes = call(&house, &token, "GET", &format!("/greeted/{number}")).await;
        puppet.greet(None);
        // It is an answer only where it came after the call; then the real one behind it ends the connection.
        match heard("GET", &bytes) {
            Heard::Refused(502) => refused += 1,
            Heard::Whole => assert!(bytes.ends_with(b"greeting")),
            other => unreachable!("{other:?}"),
        }
        puppet.ended(2 * number + 1).await;
        let own = format!("own:/next/{number}");
        let answer = format!("{OK}content-length: {}\r\n\r\n{own}", own.len());
        puppet.on(&format!("/next/{number}"), [say(answer), Word::HangUp]);
        next(&house, &puppet, number).await;
        puppet.ended(2 * number + 2).await;
    }
    println!("10 answers before their calls: {refused} refused, 0 mixed");
}
