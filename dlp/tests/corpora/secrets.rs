//! The examples of noseyparker's and gitleaks' rules.

use std::collections::{BTreeMap, BTreeSet};

use aegis_dlp::{ContentKind, scan};
use aegis_domain::Detector;
use serde_json::Value;

use crate::{corpus, percent};

/// Recall on lines labelled `secret`, false alarms on those labelled `benign`.
fn run(name: &str, file: &str, group: &str) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(corpus(name)?.join(file)).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // A text that is no secret to one rule and a secret to another is a secret.
    let is_secret = |line: &&Value| line["label"] == "secret";
    let known: BTreeSet<&str> = lines
        .iter()
        .filter(is_secret)
        .filter_map(|line| line["text"].as_str())
        .map(str::trim)
        .collect();
    let (mut secrets, mut found, mut benign, mut alarms) = (0, 0, 0, 0);
    let mut missed: BTreeMap<String, u32> = BTreeMap::new();
    for line in &lines {
        let text = line["text"].as_str().unwrap();
        let is_found =
            scan(text.as_bytes(), &ContentKind::Text).counts.contains_key(&Detector::Secret);
        match line["label"].as_str().unwrap() {
            "secret" => {
                secrets += 1;
                found += usize::from(is_found);
                if !is_found {
                    *missed.entry(line[group].as_str().unwrap().to_owned()).or_default() += 1;
                }
            }
            _ if known.contains(text.trim()) => {}
            _ => {
                benign += 1;
                alarms += usize::from(is_found);
                if is_found {
                    println!("{name} false alarm: {}", line[group]);
                }
            }
        }
    }
    let (recall, alarm) = (percent(found, secrets), percent(alarms, benign));
    println!("{name} missed: {missed:?}");
    println!(
        "{name}: recall {found}/{secrets} {recall:.1} %, false alarms {alarms}/{benign} {alarm:.1} %"
    );
    Some((recall, alarm))
}

#[test]
fn secrets_of_noseyparker_are_found_at_the_level_reached() {
    let Some((recall, alarms)) = run("noseyparker", "examples.jsonl", "rule") else { return };
    assert!(recall >= 75.5 && alarms <= 23.0);
}

#[test]
fn secrets_of_gitleaks_are_found_at_the_level_reached() {
    let Some((recall, alarms)) = run("gitleaks", "rule_tests.jsonl", "file") else { return };
    assert!(recall >= 69.4 && alarms <= 32.9);
}
