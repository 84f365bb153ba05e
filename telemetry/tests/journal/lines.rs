//! What a line says, and what it never says.
//!
//! Not here: which records are told (`following`). Invariant: lines are compared byte by byte.

use std::fs;

use aegis_audit_chain::Hash;
use aegis_audit_chain::record::{
    BodyDigest, BudgetHold, DecisionEntry, Dest, Of, OutcomeEntry, Redaction, Usage,
};
use aegis_domain::*;
use aegis_telemetry::{Follower, FollowerConfig, JsonLines};

use crate::fixtures::{Journal, decision, id};

const SECRET: Hash = Hash::from_bytes([0xA5; 32]);

fn full() -> DecisionEntry {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let digest = Some(BodyDigest { sha256: SECRET, size: 9 });
    DecisionEntry {
        tenant: TenantId::parse("acme").ok(),
        trace: TraceContext::parse(traceparent),
        org: OrgId::parse("acme-corp").ok(),
        agent: AgentId::parse("finance-1").ok(),
        parent_agent: AgentId::parse("planner").ok(),
        jti: Some(SECRET),
        token_use: Some(TokenUse::Bound),
        tool: ToolName::parse("payments.create").ok(),
        route: ToolName::parse("stripe").ok(),
        dest: Some(Dest {
            host: Host::parse("api.secret-host.example").unwrap(),
            port: 443,
            method: Method::parse("POST").unwrap(),
            path: SECRET,
        }),
        kind: Some(CallKind::Write),
        policy: Some(PolicyRef {
            revision: "acme/prod@7+abc".into(),
            version: 7,
            bundle_sha256: "00".repeat(32),
        }),
        rules: vec![RuleId::parse("cap-amount").unwrap()],
        decision: Effect::Deny,
        reason: Reason::PolicyDenied,
        params: Some(ParamsHash::from_bytes(*SECRET.as_bytes())),
        body_in: digest,
        body_out: digest,
        redactions: vec![Redaction { rule: RuleId::parse("ssn").unwrap(), count: 2 }],
        budget: Some(BudgetHold {
            keys: vec!["tenant/day".into()],
            held: MicroUsd::new(150),
            estimate: EstimateKind::Ceiling,
            warned: Vec::new(),
        }),
        est_cost: MicroUsd::new(150),
        eval_us: 87,
        sd: vec![SECRET],
        ..decision(1)
    }
}

fn lines_of(journal: &std::path::Path) -> String {
    let out = journal.join("lines.jsonl");
    let sink = JsonLines::to_file(&out).unwrap();
    let config = FollowerConfig::new(journal.into(), journal.join("cursor.json"));
    drop(Follower::start(config, vec![Box::new(sink)]).unwrap());
    fs::read_to_string(out).unwrap()
}

#[test]
fn a_decision_is_one_line_with_nothing_that_could_be_guessed_back() {
    let dir = tempfile::tempdir().unwrap();
    Journal::begin(dir.path(), 1).append(full().draft().unwrap());
    let line = lines_of(dir.path());
    let expected = concat!(
        r#"{"ts":"2026-11-10T12:00:00.000000000Z","event":"decision","#,
        r#""decision_id":"00000000010000000000000000","org":"acme-corp","tenant":"acme","#,
        r#""agent_id":"finance-1","parent_agent_id":"planner","tool":"payments.create","#,
        r#""kind":"write","region":"eu-west-1","decision":"deny","reason":"PolicyDenied","#,
        r#""rules":["cap-amount"],"policy_version":7,"mode":"enforce","degraded":"no","#,
        r#""latency_us":87,"estimated_cost_usd":"0.000150","est_cost_microusd":150,"#,
        r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","#,
        r#""stream":"aegis.example/eu-west-1/gw-1/1","seq":0}"#,
        "\n"
    );
    assert_eq!(line, expected);
    for kept_back in ["secret-host", &SECRET.to_string(), "stripe", "tenant/day", "a5a5"] {
        assert!(!line.contains(kept_back), "{kept_back}");
    }
}

#[test]
fn a_budget_that_a_call_brings_past_its_warning_is_a_line_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let budget = BudgetHold {
        keys: vec!["agent:finance-1/day".into(), "tenant/24h".into()],
        held: MicroUsd::new(150),
        estimate: EstimateKind::Soft,
        warned: vec!["tenant/24h".into()],
    };
    let entry = DecisionEntry { budget: Some(budget), ..full() };
    Journal::begin(dir.path(), 1).append(entry.draft().unwrap());
    let text = lines_of(dir.path());
    let (decision, warning) = text.split_once('\n').unwrap();
    assert!(decision.contains(r#""est_cost_microusd":150,"estimate":"soft","#), "{decision}");
    let expected = concat!(
        r#"{"ts":"2026-11-10T12:00:00.000000000Z","event":"budget_warning","#,
        r#""decision_id":"00000000010000000000000000","tenant":"acme","agent_id":"finance-1","#,
        r#""budget":"tenant/24h","stream":"aegis.example/eu-west-1/gw-1/1","seq":0}"#,
        "\n"
    );
    assert_eq!(warning, expected);
}

#[test]
fn an_outcome_is_one_line_and_the_journals_own_records_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = Journal::begin(dir.path(), 1);
    let outcome = OutcomeEntry {
        tenant: TenantId::parse("acme").ok(),
        of: Of { origin: None, seq: 0, id: id(1) },
        agent: AgentId::parse("finance-1").ok(),
        tool: ToolName::parse("llm").ok(),
        status: Some(200),
        bytes: 512,
        sent: None,
        cost: MicroUsd::new(1_000_003),
        est_cost: MicroUsd::new(2_000_000),
        dur_us: 1_234,
        reason: Reason::Allowed,
        usage: Some(Usage { tokens_in: 10, tokens_out: 20 }),
        redactions: Vec::new(),
        sd: vec![SECRET],
    };
    journal.append(outcome.draft().unwrap());
    journal.append(aegis_audit_chain::record::Draft::close().unwrap());
    let expected = concat!(
        r#"{"ts":"2026-11-10T12:00:00.000000000Z","event":"outcome","#,
        r#""decision_id":"00000000010000000000000000","tenant":"acme","agent_id":"finance-1","#,
        r#""tool":"llm","status":200,"reason":"Allowed","response_bytes":512,"duration_us":1234,"#,
        r#""cost_usd":"1.000003","cost_microusd":1000003,"est_cost_microusd":2000000,"#,
        r#""tokens_in":10,"tokens_out":20,"stream":"aegis.example/eu-west-1/gw-1/1","seq":0}"#,
        "\n"
    );
    assert_eq!(lines_of(dir.path()), expected);
}

#[test]
fn a_line_torn_by_a_crash_does_not_spoil_the_next() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("lines.jsonl"), "{\"ts\":\"20").unwrap();
    Journal::begin(dir.path(), 1).append_many(1);
    let text = lines_of(dir.path());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "{\"ts\":\"20"));
    assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
}
