//! Figures of a policy decision on three engines; `make policyfigures` builds and runs it.
//!
//! Not here: whether the engines agree (`tests/agreement.rs`). Invariant: all three read one bundle and one input in the
//! same run, in turns, so that a busy machine is unfair to none; no test depends on what is measured here.

use std::path::PathBuf;
use std::time::Instant;

use aegis_document::Document;
use aegis_policy::cases::Scene;
use aegis_policy::{CompileContext, Interpreter, Snapshot};
use aegis_policy_agreement::{Opa, Pack, scaled};
use aegis_policy_language::PolicySet;
use anyhow::Context as _;
use clap::Parser;

/// Measures a decision on the RVM, on the interpreter and on real OPA, and prints a table in Markdown.
#[derive(Parser)]
struct Arguments {
    /// The library that `make opa` fetches.
    opa: PathBuf,
}

/// How many rules the policies have; 20 a tool.
const RULES: [usize; 3] = [20, 200, 2_000];
const TURNS: usize = 20;
const BY_RVM: usize = 500;
const BY_INTERPRETER: usize = 25;
const BY_OPA: usize = 50;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut opa = Opa::start(&arguments.opa)?;
    say("| rules | engine | P50 µs | P99 µs | least µs |");
    say("|---|---|---|---|---|");
    for rules in RULES {
        let pack = Pack::compile(&format!("{rules} rules"), &scaled(rules))?;
        for (engine, mut nanos) in decisions(&pack, &mut opa)? {
            nanos.sort_unstable();
            let [p50, p99, least] = [500, 990, 0].map(|permille| quantile(&nanos, permille));
            say(&format!("| {rules} | {engine} | {p50:.1} | {p99:.1} | {least:.1} |"));
        }
    }
    say(
        "\nThe interpreter has one engine a tool, as the activation gate has. OPA is a Go library called through cgo; its \
         figures hold JSON in and out of about 700 bytes, the others' do not.\n",
    );
    compilation(1_000)
}

/// Nanoseconds of every decision, by engine.
fn decisions(pack: &Pack, opa: &mut Opa) -> anyhow::Result<Vec<(&'static str, Vec<u64>)>> {
    let interpreter = Interpreter::new(&pack.snapshot)?;
    opa.load(pack.snapshot.bundle_files())?;
    let example = pack.set.examples.last().context("a policy without a test")?;
    let scene = Scene::of(&pack.set, example)?;
    let document = pack.documents.last().context("a policy without a test")?;
    let [mut rvm, mut interpreted, mut by_opa] = [const { Vec::new() }; 3];
    for _ in 0..TURNS {
        rvm.extend(timed(BY_RVM, || pack.snapshot.evaluate(&scene.input()).map(|_| ()))?);
        interpreted.extend(timed(BY_INTERPRETER, || interpreter.decide(document).map(|_| ()))?);
        by_opa.extend(opa.time("aegis.egress.decision", document, BY_OPA)?);
    }
    Ok(vec![("RVM", rvm), ("interpreter", interpreted), ("OPA 1.20.2", by_opa)])
}

fn timed<E>(rounds: usize, mut decide: impl FnMut() -> Result<(), E>) -> Result<Vec<u64>, E> {
    let mut nanos = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let before = Instant::now();
        decide()?;
        nanos.push(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(nanos)
}

fn quantile(sorted: &[u64], permille: usize) -> f64 {
    let at = sorted.len().saturating_mul(permille).checked_div(1_000).unwrap_or(0);
    micros(sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0))
}

fn compilation(rules: usize) -> anyhow::Result<()> {
    let text = scaled(rules);
    let mut millis = Vec::new();
    let mut snapshot = None;
    for _ in 0..5 {
        let before = Instant::now();
        let set = PolicySet::parse(&[Document::parse("scaled.yaml", &text)?])?;
        snapshot = Some(Snapshot::of(&set, CompileContext { version: 1 })?);
        millis.push(before.elapsed().as_millis());
    }
    millis.sort_unstable();
    let snapshot = snapshot.context("nothing was compiled")?;
    let unpacked: usize = snapshot.bundle_files().iter().map(|file| file.bytes.len()).sum();
    say("| rules | YAML bytes | text to snapshot, least ms | bundle bytes | tar.gz bytes |");
    say("|---|---|---|---|---|");
    say(&format!(
        "| {rules} | {} | {} | {unpacked} | {} |",
        text.len(),
        millis.first().copied().unwrap_or(0),
        snapshot.bundle().archive()?.bytes.len()
    ));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a time of a decision is far below 2^53 ns")]
fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1_000.0
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn say(line: &str) {
    println!("{line}");
}
