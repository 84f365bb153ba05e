//! `cargo xtask`: the house rules that neither the compiler nor clippy can hold.
//!
//! Not here: lints, formatting, tests; the `Makefile` runs those. `check` and `advisories` only read, `fix` writes
//! generated parts of documents and nothing else.
//! Invariant: a finding names the file, the line and what to do; any finding fails the run.

mod advisories;
mod document;
mod finding;
mod headers;
mod layers;
mod packs;
mod reasons;
mod rooms;
mod runbooks;
mod schema;
mod sizes;
mod source;
mod tree;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use finding::Finding;
use tree::Tree;

const USAGE: &str = "\
cargo xtask <command>

  check               layers, rooms, headers, sizes, documents, runbooks, policy packs and schema; reads only
  fix                 regenerates the table of docs/reasons.md and the schema of policies
  advisories [DB]     Cargo.lock against the RustSec advisory database (a folder or a .tar.gz)
";

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["check"] => check(),
        ["fix"] => fix(),
        ["advisories"] => advise(None),
        ["advisories", database] => advise(Some(Path::new(database))),
        _ => {
            std::io::stderr().write_all(USAGE.as_bytes())?;
            Ok(ExitCode::from(2))
        }
    }
}

fn check() -> anyhow::Result<ExitCode> {
    let tree = Tree::read(Path::new("."))?;
    let map = document::Map::read(&tree.root)?;
    let mut findings = layers::check(&tree, &map)?;
    findings.extend(document::dead_paths(&tree.root)?);
    findings.extend(document::dead_tests(&tree.root)?);
    findings.extend(runbooks::check(&tree)?);
    findings.extend(rooms::check(&tree, &map));
    findings.extend(headers::check(&tree));
    findings.extend(sizes::check(&tree));
    findings.extend(reasons::check(&tree.root)?);
    findings.extend(packs::check(&tree.root)?);
    findings.extend(schema::check(&tree.root)?);
    let files: usize = tree.crates.iter().map(|krate| krate.sources.len()).sum();
    report("check", &findings, &format!("{} crates, {files} files", tree.crates.len()))
}

fn fix() -> anyhow::Result<ExitCode> {
    let tree = Tree::read(Path::new("."))?;
    reasons::fix(&tree.root)?;
    schema::fix(&tree.root)?;
    report("fix", &[], &format!("{}, {}", reasons::FILE, schema::FILE))
}

fn advise(database: Option<&Path>) -> anyhow::Result<ExitCode> {
    let root = tree::root(Path::new("."))?;
    let Some(database) = advisories::locate(&root, database) else {
        writeln!(std::io::stderr(), "{}", advisories::HOW_TO_GET)?;
        return Ok(ExitCode::SUCCESS);
    };
    let verdict = advisories::check(&root, &database)?;
    report("advisories", &verdict.findings, &verdict.summary)
}

fn report(command: &str, findings: &[Finding], seen: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    if findings.is_empty() {
        writeln!(out, "xtask {command}: {seen}: in order")?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "xtask {command}: {seen}: {} to put right", findings.len())?;
    Ok(ExitCode::FAILURE)
}
