//! Other people's hostile messages, counted, printed and held above what the best peer does.
//!
//! The data is read at test time from `AEGIS_CORPORA`, or from `../shared/corpora` beside the repository, and is
//! never copied here; without it the tests say that they were skipped.
#![expect(clippy::print_stdout, reason = "the counts are what these tests are for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "fixtures stand outside tests")]
#![expect(clippy::disallowed_methods, reason = "test data lives in files")]

mod desync;
mod gadgets;
mod llhttp;
mod replay;
mod targets;

use std::path::PathBuf;

/// The folder of one data set, if it is there.
fn corpus(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora"));
    let root = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    println!("skipped: corpora absent ({name})");
    None
}

/// Each line of a JSON lines file.
fn json_lines(path: PathBuf) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn base64(value: &serde_json::Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// What the best of seven proxies refused of one class of messages, measured near their default configurations: nginx
/// 1.22.1, Envoy 1.40.0, Caddy 2.11.7, Traefik 3.7.15, h2o 2.2.5, HAProxy 2.6.12 and bare Pingora 0.9.1. Their sets are
/// larger than ours and contain them, so shares are compared.
#[derive(Clone, Copy)]
struct BestPeer {
    name: &'static str,
    refused: usize,
    of: usize,
}

/// Prints a row and holds the share at or above the best peer's.
fn hold_above(class: &str, refused: usize, of: usize, best: BestPeer) {
    println!("| {class} | {refused}/{of} | {} {}/{} |", best.name, best.refused, best.of);
    assert!(refused * best.of >= best.refused * of, "{class}: a peer refuses more");
}
