//! Real OPA, regorus' interpreter and the RVM give one decision, on every shipped pack and on 20,000 hostile documents.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]
#![expect(clippy::print_stdout, reason = "the table is for whoever runs the tests")]

mod library;

use aegis_domain::Effect;
use aegis_policy::{BundleFile, opa_tests};
use aegis_policy_agreement::{Answer, Comparison, Pack, compare, shipped};
use library::opa;

const DOCUMENTS: usize = 20_000;
const SEED: u64 = 20_261_122;
/// The engines spend most of their time in separate processes and threads.
const WORKERS: usize = 2;

fn row(name: &str, found: &Comparison) -> String {
    let of = |effect| found.effects.get(&effect).copied().unwrap_or(0);
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} |",
        found.documents,
        of(Effect::Deny),
        of(Effect::Allow),
        of(Effect::Sanitize),
        of(Effect::ApprovalNeeded),
        found.mismatches.len()
    )
}

fn compared(packs: &[Pack], documents: usize, with_opa: bool) -> Vec<(String, Comparison)> {
    let share = packs.len().div_ceil(WORKERS);
    std::thread::scope(|scope| {
        let workers: Vec<_> = packs
            .chunks(share)
            .map(|packs| {
                scope.spawn(move || {
                    let mut opa = if with_opa { opa() } else { None };
                    let compared = packs.iter().map(|pack| {
                        let found = compare(pack, documents, SEED, opa.as_mut()).unwrap();
                        (pack.name.clone(), found)
                    });
                    compared.collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn three_engines_agree_on_every_shipped_pack() {
    let packs = shipped().unwrap();
    let compared = compared(&packs, DOCUMENTS.div_ceil(packs.len()), opa().is_some());
    println!("| pack | documents | deny | allow | sanitize | approval_needed | mismatches |");
    println!("|---|---|---|---|---|---|---|");
    for (name, found) in &compared {
        println!("{}", row(name, found));
    }
    for (name, found) in &compared {
        assert!(found.mismatches.is_empty(), "{name}: {:#?}", found.mismatches.first());
        let dull = found.effects.values().any(|seen| *seen < 20) || found.effects.len() < 2;
        assert!(!dull, "{name}: the documents no longer reach its rules: {:?}", found.effects);
    }
}

#[test]
fn stock_opa_passes_the_tests_of_every_shipped_pack() {
    let Some(mut opa) = opa() else { return };
    for pack in shipped().unwrap() {
        let tests = opa_tests::files(&pack.snapshot, &pack.set).unwrap();
        let files = [pack.snapshot.bundle_files(), &tests].concat();
        opa.load(&files).unwrap();
        for BundleFile { name, bytes } in &tests {
            let package = name.strip_suffix("_test.rego").unwrap();
            let answer = opa.eval(&format!("aegis_test.{package}"), &serde_json::json!({}));
            let Answer::Value(passed) = answer.unwrap() else { panic!("{name}: no answer") };
            let text = std::str::from_utf8(bytes).unwrap();
            for test in text.lines().filter_map(|line| line.strip_suffix(" if {")) {
                assert_eq!(passed[test], true, "{}: {name}: {test}", pack.name);
            }
        }
    }
}
