//! The text Prometheus reads: right names, right units, bounded series.
//!
//! Not here: serving it. Invariant: what is counted comes from records.

use std::collections::BTreeMap;

use aegis_audit_chain::record::{BudgetHold, DecisionEntry, Mode, OutcomeEntry};
use aegis_domain::{Effect, EstimateKind, MicroUsd, Reason, TenantId, ToolName};
use aegis_telemetry::{Follower, FollowerConfig, Metrics, Readiness};

use crate::fixtures::{Journal, decision};

fn of_tenant(n: u64, tenant: &str) -> DecisionEntry {
    let tool = ToolName::parse("llm").ok();
    DecisionEntry { tenant: TenantId::parse(tenant).ok(), tool, ..decision(n) }
}

fn outcome(entry: &DecisionEntry, origin: &aegis_audit_chain::Origin) -> OutcomeEntry {
    let unknown = OutcomeEntry::unknown(origin, 0, entry);
    OutcomeEntry { cost: MicroUsd::new(5), dur_us: 30_000, ..unknown }
}

#[test]
fn warnings_are_counted_by_scope_and_window_and_never_by_name() {
    let (_, text) = measured(|journal| {
        let budget = BudgetHold {
            keys: Vec::new(),
            held: MicroUsd::ZERO,
            estimate: EstimateKind::Ceiling,
            warned: ["agent:bot/day", "agent:other/day", "tenant/24h"].map(str::to_owned).to_vec(),
        };
        let entry = DecisionEntry { budget: Some(budget), ..of_tenant(1, "acme") };
        journal.append(entry.draft().unwrap());
    });
    for line in [
        r#"aegis_budget_warnings_total{tenant="acme",scope="agent",window="day"} 2"#,
        r#"aegis_budget_warnings_total{tenant="acme",scope="tenant",window="rolling"} 1"#,
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

fn measured(write: impl FnOnce(&mut Journal)) -> (Metrics, String) {
    let dir = tempfile::tempdir().unwrap();
    write(&mut Journal::begin(dir.path(), 1));
    let metrics = Metrics::new();
    let config = FollowerConfig::new(dir.path().into(), dir.path().join("cursor.json"));
    drop(Follower::start(config, vec![Box::new(metrics.clone())]).unwrap());
    let text = metrics.render();
    (metrics, text)
}

#[test]
fn decisions_outcomes_and_costs_are_counted() {
    let (metrics, text) = measured(|journal| {
        let allowed = DecisionEntry { eval_us: 120, ..of_tenant(1, "acme") };
        let denied = DecisionEntry {
            decision: Effect::Deny,
            reason: Reason::OutOfBudget,
            ..of_tenant(2, "acme")
        };
        let nobody = DecisionEntry { reason: Reason::TokenMissing, ..decision(3) };
        let dry = DecisionEntry { mode: Mode::DryRun, ..of_tenant(4, "acme") };
        for entry in [&allowed, &denied, &nobody, &dry] {
            journal.append(entry.draft().unwrap());
        }
        let outcome = outcome(&allowed, &journal.origin());
        journal.append(outcome.draft().unwrap());
        journal.append(outcome.draft().unwrap());
    });
    for line in [
        r#"aegis_decisions_total{decision="allow",reason="Allowed",tenant="acme"} 1"#,
        r#"aegis_decisions_total{decision="deny",reason="OutOfBudget",tenant="acme"} 1"#,
        r#"aegis_decisions_total{decision="allow",reason="TokenMissing",tenant=""} 1"#,
        r#"aegis_decision_duration_seconds_bucket{le="0.0001"} 2"#,
        r#"aegis_decision_duration_seconds_bucket{le="0.00015"} 3"#,
        r#"aegis_upstream_duration_seconds_bucket{le="0.05"} 2"#,
        r#"aegis_cost_microusd_total{tenant="acme",tool="llm"} 10"#,
        r#"aegis_audit_records_total{kind="decision"} 4"#,
        r#"aegis_audit_records_total{kind="outcome"} 2"#,
        "aegis_calls_in_flight 0",
        "aegis_ready 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    metrics.call_began();
    metrics.call_began();
    metrics.call_ended();
    metrics.set_readiness(Readiness::Ready);
    let text = metrics.render();
    assert!(text.contains("\naegis_calls_in_flight 1\n") && text.contains("\naegis_ready 1\n"));
}

/// What `promtool check metrics` looks for: help, type, base units, suffixes.
#[test]
fn names_and_units_are_what_promtool_wants() {
    let (_, text) = measured(|journal| {
        let entry = of_tenant(1, "acme");
        journal.append(entry.draft().unwrap());
        journal.append(outcome(&entry, &journal.origin()).draft().unwrap());
    });
    let (mut types, mut helps, mut units) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for line in text.lines().filter_map(|line| line.strip_prefix("# ")) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match words[..] {
            ["TYPE", name, what] => types.insert(name, what),
            ["HELP", name, what] => helps.insert(name, what),
            ["UNIT", name, what] => units.insert(name, what),
            ["EOF"] => None,
            _ => panic!("{line}"),
        };
    }
    assert_eq!(types.len(), 16);
    for (name, kind) in &types {
        assert!(name.starts_with("aegis_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(helps.get(name).is_some_and(|help| help.len() > 10), "{name} has no help");
        let timed = name.ends_with("_seconds");
        let unit = timed.then_some("seconds").or(name.ends_with("_bytes").then_some("bytes"));
        assert_eq!(units.get(name).copied(), unit, "{name}");
        assert!(*kind != "histogram" || timed, "{name} is a histogram of no base unit");
        for bad in ["_ms", "_us", "_total", "_milliseconds", "_count", "_sum", "_bucket"] {
            assert!(!name.ends_with(bad), "{name}: {bad} is not a name's own suffix");
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = line.split(['{', ' ']).next().unwrap();
        let suffixes = ["_total", "_bucket", "_sum", "_count"];
        let name = suffixes.iter().find_map(|s| sample.strip_suffix(s)).unwrap_or(sample);
        assert!(types.contains_key(name), "{sample} has no type");
        assert_eq!(sample.ends_with("_total"), types[name] == "counter", "{sample}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn tenants_and_tools_beyond_the_limit_share_a_series() {
    let (_, text) = measured(|journal| {
        for n in 0..300 {
            let entry = of_tenant(n, &format!("t{n}"));
            journal.append(entry.draft().unwrap());
        }
        for n in 0..2_100 {
            let tool = ToolName::parse(&format!("tool-{n}")).ok();
            let entry = DecisionEntry { tool, ..of_tenant(n, "t0") };
            journal.append(outcome(&entry, &journal.origin()).draft().unwrap());
        }
    });
    let series = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("aegis_decisions_total{"), 257);
    assert!(text.contains(r#"reason="Allowed",tenant="other"} 44"#));
    assert_eq!(series("aegis_cost_microusd_total{"), 2_049);
    assert!(text.contains(r#"{tenant="t0",tool="other"} 260"#));
}
