//! Other people's hostile messages, URLs and names, said to the running gateway; the counts are printed.
//!
//! Not here: the same data read by the pure crates alone (`gate/tests/corpora`, `address/tests/corpora`). The data is
//! read at test time from `AEGIS_CORPORA`, or from `../shared/corpora` beside the repository, and is never copied here;
//! without it the tests say that they were skipped.
//! Invariant: what an upstream saw is what it recorded itself, never what the gateway says that it sent.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]
#![expect(clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]
#![expect(clippy::print_stdout, reason = "the counts are what these tests are for")]

mod adapt;
mod canary;
mod client;
mod evidence;
mod framing;
mod hosts;
mod house;
mod http2;
mod idna_lines;
mod messages;
mod name_server;
mod names;
mod namespace;
mod recorder;
mod ssrf;

use std::path::PathBuf;

const GATEWAY: &str = env!("CARGO_BIN_EXE_aegis-gateway");

/// The folder or file of one data set, if it is there.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora"));
    let root = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
    let place = root.join(name);
    if place.exists() {
        return Some(place);
    }
    println!("skipped: corpora absent ({name})");
    None
}

/// Each line of a JSON lines file.
fn json_lines(path: PathBuf) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text_of<'a>(value: &'a serde_json::Value, key: &str) -> &'a str {
    value.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}
