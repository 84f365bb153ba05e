//! `docs/runbooks` in step with the program: metrics, lines of the log and links that a tired person goes by.
//!
//! Not here: commands, which a test of `aegisctl` parses (`cli/src/tests.rs`). Invariant: what a runbook quotes as a metric, or
//! as `log`, stands in the code as it stands there.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::finding::Finding;
use crate::tree::Tree;

const FOLDER: &str = "docs/runbooks";
const INDEX: &str = "README.md";
/// Nobody reads more at night.
const LINES_MAX: usize = 60;
/// What OpenMetrics puts behind a registered name.
const SUFFIXES: [&str; 5] = ["_seconds_bucket", "_seconds_total", "_seconds", "_total", "_bytes"];

pub(crate) fn check(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let sources = tree.crates.iter().flat_map(|krate| &krate.sources);
    let code: Vec<&str> = sources
        .filter(|source| !source.is_auxiliary() && !source.path.starts_with("xtask/"))
        .map(|source| source.text.as_str())
        .collect();
    let folder = tree.root.join(FOLDER);
    let index = fs::read_to_string(folder.join(INDEX)).context(FOLDER)?;
    let mut findings = Vec::new();
    for entry in fs::read_dir(&folder).context(FOLDER)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let text = fs::read_to_string(folder.join(&name)).context(FOLDER)?;
        let page = Page { name: &name, text: &text, folder: &folder };
        findings.extend(page.check(&code));
        findings.extend((name != INDEX).then(|| page.place(&index)).flatten());
    }
    Ok(findings)
}

struct Page<'a> {
    name: &'a str,
    text: &'a str,
    folder: &'a Path,
}

impl Page<'_> {
    fn check(&self, code: &[&str]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (at, line) in self.text.lines().enumerate() {
            let unknown = metrics(line).filter(|metric| !is_registered(metric, code));
            findings.extend(unknown.map(|it| self.at(at, format!("no metric is called {it}"))));
            let unsaid = said(line).filter(|words| !code.iter().any(|text| text.contains(words)));
            findings.extend(unsaid.map(|it| self.at(at, format!("no code logs {it:?}"))));
            let dead = links(line).filter(|link| !self.leads(link));
            findings.extend(dead.map(|it| self.at(at, format!("{it} leads nowhere"))));
        }
        findings
    }

    /// Whether it is short, and found from the table.
    fn place(&self, index: &str) -> Option<Finding> {
        let lines = self.text.lines().count();
        if lines > LINES_MAX {
            return Some(self.at(LINES_MAX, format!("{lines} lines, and {LINES_MAX} are read")));
        }
        let is_listed = index.contains(&format!("]({})", self.name));
        (!is_listed).then(|| self.at(0, format!("{INDEX} does not lead here")))
    }

    fn leads(&self, link: &str) -> bool {
        if link.contains("://") {
            return true;
        }
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let path = if path.is_empty() { self.name } else { path };
        match fs::read_to_string(self.folder.join(path)) {
            Ok(text) => anchor.is_empty() || has_anchor(&text, anchor),
            Err(_) => anchor.is_empty() && self.folder.join(path).exists(),
        }
    }

    fn at(&self, index: usize, problem: String) -> Finding {
        let cure = "say what the program says".into();
        let file = format!("{FOLDER}/{}", self.name);
        Finding { file, line: index.saturating_add(1), problem, cure }
    }
}

fn metrics(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("aegis_"))
}

fn is_registered(metric: &str, code: &[&str]) -> bool {
    let stems = SUFFIXES.iter().filter_map(|suffix| metric.strip_suffix(suffix));
    std::iter::once(metric).chain(stems).any(|stem| {
        let quoted = format!("\"{stem}\"");
        code.iter().any(|text| text.contains(&quoted))
    })
}

/// What stands between back-ticks right behind the word `log`.
fn said(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split("log `").skip(1);
    quoted.filter_map(|rest| rest.split('`').next())
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn has_anchor(text: &str, anchor: &str) -> bool {
    text.contains(&format!("<a id=\"{anchor}\">"))
        || text.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor)
}

/// As GitHub names a heading.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: [&str; 1] = [
        r#"register("aegis_ready", "..") ; register("aegis_cost_microusd", ""); warn!("it is slow")"#,
    ];

    fn problems(text: &str) -> Vec<String> {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("a.md"), "## When Redis is away\n").unwrap();
        let page = Page { name: "b.md", text, folder: home.path() };
        page.check(&CODE).into_iter().map(|it| format!("{}: {}", it.line, it.problem)).collect()
    }

    #[test]
    fn what_the_program_does_not_say_is_found_with_its_line() {
        assert!(
            problems("`aegis_ready`, `aegis_cost_microusd_total{a=\"b\"}`, log `it is slow`")
                .is_empty()
        );
        assert_eq!(problems("x\n`aegis_raedy` is 0"), ["2: no metric is called aegis_raedy"]);
        assert_eq!(problems("the log `it is fast`"), ["1: no code logs \"it is fast\""]);
    }

    #[test]
    fn a_link_leads_to_a_page_and_its_heading() {
        assert!(problems("[a](a.md), [b](a.md#when-redis-is-away), [c](https://c)").is_empty());
        assert_eq!(problems("[a](c.md)"), ["1: c.md leads nowhere"]);
        assert_eq!(problems("[a](a.md#gone)"), ["1: a.md#gone leads nowhere"]);
    }

    #[test]
    fn a_runbook_is_short_and_in_the_table() {
        let place = |text: &str, index: &str| {
            let page = Page { name: "b.md", text, folder: Path::new(".") };
            page.place(index).map(|it| it.problem)
        };
        assert_eq!(place("x", "[b](b.md)"), None);
        assert_eq!(place("x", ""), Some("README.md does not lead here".into()));
        assert_eq!(place(&"x\n".repeat(61), "[b](b.md)"), Some("61 lines, and 60 are read".into()));
    }
}
