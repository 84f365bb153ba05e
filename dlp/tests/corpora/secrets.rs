//! The examples of noseyparker's and gitleaks' rules.

use std::collections::BTreeMap;

use aegis_dlp::{ContentKind, scan};
use aegis_domain::Detector;
use serde_json::Value;

use crate::{corpus, percent};

/// Recall on lines labelled `secret`, false alarms on those labelled `benign`.
fn run(name: &str, file: &str, group: &str) -> Option<(f64, f64)> {
    let text = std::fs::read_to_string(corpus(name)?.join(file)).unwrap();
    let (mut secrets, mut found, mut benign, mut alarms) = (0, 0, 0, 0);
    let mut missed: BTreeMap<String, u32> = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
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
    assert!(recall >= 50.0 && alarms <= 40.0);
}

#[test]
fn secrets_of_gitleaks_are_found_at_the_level_reached() {
    let Some((recall, alarms)) = run("gitleaks", "rule_tests.jsonl", "file") else { return };
    assert!(recall >= 50.0 && alarms <= 50.0);
}
