//! HTTP/2 frames: the 34 of http2-frame-test-case, one connection each, to the TLS listener.
//!
//! Not here: floods of good frames, and what is in a request. Invariant: a frame in error ends its stream or its
//! connection with an error, reaches no upstream, and takes nobody else's connection with it.

use std::collections::BTreeMap;

use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Heard, dial, say, trusting};
use crate::evidence::Evidence;
use crate::house::{Tenant, plan};
use crate::recorder::Recorder;
use crate::{GATEWAY, corpus, text_of};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// An empty SETTINGS, with which a connection begins (RFC 9113 §3.4).
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// The end of a connection in order, so that a peer without a complaint hangs up.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The error codes of the RST_STREAM and GOAWAY frames that were heard, but for NO_ERROR.
fn errors(heard: &Heard) -> Vec<u64> {
    let (mut rest, mut codes) = (heard.0.as_slice(), Vec::new());
    while let [a, b, c, kind, _, _, _, _, _, after @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let (payload, next) = after.split_at(length.min(after.len()));
        let code = match kind {
            3 => payload.get(..4),
            7 => payload.get(4..8),
            _ => None,
        };
        codes.extend(code.map(|code| code.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))));
        rest = next;
    }
    codes.retain(|code| *code != 0);
    codes
}

#[tokio::test]
async fn a_frame_in_error_ends_in_an_error_and_reaches_nobody() {
    let Some(folder) = corpus("http2-frames") else { return };
    let recorder = Recorder::start().await;
    let upstream = serde_json::json!({
        "upstream": format!("http://open.test:{}", recorder.port), "resolve": ["127.0.0.1"],
        "addresses": ["127.0.0.1"],
    });
    let hosts = vec!["open.test".to_owned()];
    let tools = vec![("read".to_owned(), upstream, hosts)];
    let direct = serde_json::json!({});
    let tenant = Tenant { name: "acme".to_owned(), tools, direct, hosts: Vec::new() };
    let mut house = plan(&[tenant]).await.start(GATEWAY).await;
    let connector = TlsConnector::from(trusting(house.authority().pem(), &["h2"]));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for frame in frames(&folder) {
        let mut stream = open(&connector, house.tls_port()).await;
        let bytes = [PREFACE, SETTINGS, &wire(&frame), GOAWAY].concat();
        let found = errors(&say(&mut stream, &bytes).await);
        let wanted: Vec<u64> =
            frame["error"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        let column = match (wanted.is_empty(), found.is_empty()) {
            (true, true) => "good, taken",
            (true, false) => "good, but out of place here: an error",
            (false, true) => panic!("no error for {}", text_of(&frame, "description")),
            (false, false) if found.iter().any(|code| wanted.contains(code)) => {
                "bad: an error the corpus lists"
            }
            (false, false) => "bad: another error",
        };
        println!("{}: {found:?}, listed {wanted:?}", text_of(&frame, "description"));
        *counts.entry(column).or_default() += 1;
        assert!(house.is_ready().await);
    }
    println!("{counts:?}");
    let evidence = Evidence::of(&mut house).await;
    assert_eq!((recorder.messages().len(), evidence.intents().count()), (0, 0));
    assert_eq!(counts.values().sum::<usize>(), 34);
}

fn frames(folder: &std::path::Path) -> Vec<Value> {
    let mut frames = Vec::new();
    for kind in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        for file in kind.is_dir().then(|| std::fs::read_dir(&kind).unwrap()).into_iter().flatten() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            frames.push(serde_json::from_str(&text).unwrap());
        }
    }
    frames
}

fn wire(frame: &Value) -> Vec<u8> {
    let digits = text_of(frame, "wire");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

async fn open(connector: &TlsConnector, port: u16) -> TlsStream<TcpStream> {
    let stream = dial(port).await;
    let stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await;
    let stream = stream.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    stream
}
