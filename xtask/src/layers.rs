//! Which crate may depend on which: the arrows of `docs/architecture.md`, and what a pure crate must not list.
//!
//! Not here: where inside a crate an outside library may be named (`rooms`). Invariant: a crate that the map does not
//! draw is a finding, so the map cannot fall behind. Dev-dependencies are free: users never run them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::document::{ARCHITECTURE, Layer, Map, Purity};
use crate::finding::Finding;
use crate::tree::{Crate, Tree};

/// Runtimes, sockets, clocks and dice; a trailing `*` stands for any ending.
const IMPURE: [&str; 24] = [
    "async-std",
    "chrono",
    "fastrand",
    "futures*",
    "getrandom",
    "hickory*",
    "hyper*",
    "mio",
    "object_store",
    "openraft*",
    "pingora*",
    "polling",
    "rand*",
    "redb",
    "redis",
    "reqwest",
    "rustls*",
    "smol",
    "socket2",
    "time",
    "tokio*",
    "tonic*",
    "tracing*",
    "ureq",
];

pub(crate) fn check(tree: &Tree, map: &Map) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for krate in &tree.crates {
        let manifest = format!("{}/Cargo.toml", krate.dir);
        let text = fs::read_to_string(tree.root.join(&manifest)).context(manifest.clone())?;
        let page = Page { file: manifest, text };
        if !inherits_lints(&page.text)? {
            let cure = "add `[lints]` with `workspace = true`";
            findings.push(page.finding("lints", "the shared lints are not inherited", cure));
        }
        let Some(layer) = map.layer(&krate.dir) else {
            let problem = format!("{} is not on the map", krate.dir);
            let cure = format!("give it a row in the layers table of {ARCHITECTURE}");
            findings.push(page.finding("name", &problem, &cure));
            continue;
        };
        findings.extend(arrows(krate, layer, &page));
        if layer.pure == Purity::Pure {
            findings.extend(impurities(krate, &page));
            findings.extend(bans(&tree.root, &krate.dir));
        }
    }
    Ok(findings)
}

/// A manifest, to point into.
struct Page {
    file: String,
    text: String,
}

impl Page {
    /// A finding at the first line that begins with `key`.
    fn finding(&self, key: &str, problem: &str, cure: &str) -> Finding {
        let at = self.text.lines().position(|line| line.starts_with(key)).unwrap_or(0);
        Finding {
            file: self.file.clone(),
            line: at.saturating_add(1),
            problem: problem.to_owned(),
            cure: cure.to_owned(),
        }
    }
}

fn arrows(krate: &Crate, layer: &Layer, page: &Page) -> Vec<Finding> {
    let ours = krate.dependencies.iter().filter_map(|it| Some((&it.name, it.ours.as_ref()?)));
    ours.filter(|(_, dir)| !layer.may_import.contains(dir))
        .map(|(name, dir)| {
            let problem = format!("{} may not import {dir}", krate.dir);
            let cure = format!("move what they share to domain; the arrows are in {ARCHITECTURE}");
            page.finding(name, &problem, &cure)
        })
        .collect()
}

fn impurities(krate: &Crate, page: &Page) -> Vec<Finding> {
    krate
        .dependencies
        .iter()
        .filter(|dependency| IMPURE.iter().any(|pattern| fits(pattern, &dependency.name)))
        .map(|dependency| {
            let problem = format!("{} is pure and may not list {}", krate.dir, dependency.name);
            page.finding(&dependency.name, &problem, "take the fact as an argument instead")
        })
        .collect()
}

/// Whether a pure crate uses the bans on clocks, files and sockets. A crate's own `clippy.toml` replaces the root's, it
/// is not merged, hence the shared file.
fn bans(root: &Path, dir: &str) -> Option<Finding> {
    let own = fs::read(root.join(dir).join("clippy.toml")).ok();
    let shared = fs::read(root.join("clippy.pure.toml")).ok();
    (own.is_none() || own != shared).then(|| Finding {
        file: format!("{dir}/clippy.toml"),
        line: 1,
        problem: format!("{dir} is pure but does not use clippy.pure.toml"),
        cure: "make clippy.toml a symbolic link to it".into(),
    })
}

fn inherits_lints(manifest: &str) -> anyhow::Result<bool> {
    let manifest: toml::Table = manifest.parse()?;
    let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
    Ok(inherits.and_then(toml::Value::as_bool).unwrap_or(false))
}

/// Whether a crate name is meant by a pattern; `*` at the end stands for any ending.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::sample as map;
    use crate::tree::sample;

    const ROOMS: &str = "| redis | state/ |";

    #[test]
    fn an_arrow_sideways_fails_and_one_down_passes() {
        let (_home, tree) = sample::tree(
            &[
                ("domain", ""),
                ("state", "domain = { path = \"../domain\" }"),
                ("telemetry", "state = { path = \"../state\" }"),
            ],
            &[],
        );
        let rows = "| domain | pure | nothing |\n| state | adapter | domain |\n\
                    | telemetry | adapter | domain |";
        let found = check(&tree, &map(rows, ROOMS)).unwrap();
        assert_eq!(found.len(), 1);
        let shown = found[0].to_string();
        assert!(
            shown.starts_with("telemetry/Cargo.toml:5: telemetry may not import state"),
            "{shown}"
        );
    }

    #[test]
    fn a_pure_crate_with_a_runtime_fails_unless_it_is_for_tests() {
        let (_home, tree) =
            sample::tree(&[("dlp", "tokio = \"1\"\n[dev-dependencies]\nrand = \"0.9\"")], &[]);
        let found = check(&tree, &map("| dlp | pure | nothing |", ROOMS)).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].problem.contains("may not list tokio"), "{}", found[0]);
    }

    #[test]
    fn a_pure_crate_without_the_shared_bans_fails() {
        let (_home, tree) = sample::tree(&[("dlp", "")], &[("dlp/clippy.toml", "x = 2\n")]);
        let found = check(&tree, &map("| dlp | pure | nothing |", ROOMS)).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "dlp/clippy.toml");
    }

    #[test]
    fn a_crate_missing_from_the_map_fails() {
        let (_home, tree) = sample::tree(&[("surprise", "")], &[]);
        let found = check(&tree, &map("| dlp | pure | nothing |", ROOMS)).unwrap();
        assert!(found[0].problem.contains("not on the map"), "{}", found[0]);
    }

    #[test]
    fn a_crate_that_does_not_inherit_the_lints_fails() {
        let manifest = "[package]\nname = \"a\"\nedition = \"2024\"\n";
        let (_home, tree) = sample::tree(&[("a", "")], &[("a/Cargo.toml", manifest)]);
        let found = check(&tree, &map("| a | top | nothing |", ROOMS)).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].problem.contains("lints"), "{}", found[0]);
    }
}
