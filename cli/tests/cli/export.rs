//! `audit export` and `audit query`: what was recorded, for analysts, read back by their own tools.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use aegis_domain::Effect;
use serde_json::{Value, json as value};

use crate::ledger::Ledger;
use crate::support::{Home, json, stderr, stdout};

/// Five calls of two tenants, one of them in a second life: seven records.
fn calls() -> Home {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    ledger.call_of("acme", "one", (Effect::Allow, 150));
    ledger.call_of("acme", "two", (Effect::Deny, 0));
    ledger.call_of("globex", "three", (Effect::Deny, 0));
    ledger.close();
    let mut ledger = Ledger::open(&home);
    ledger.call_of("acme", "one", (Effect::Allow, 2_000_000));
    ledger.call_of("globex", "three", (Effect::ApprovalNeeded, 0));
    ledger.close();
    home
}

fn export(home: &Home, format: &str) -> PathBuf {
    let dir = home.path(format);
    let words = ["audit", "export", &format!("--{format}"), dir.to_str().unwrap(), "-o", "json"];
    let told = json(&home.run(&words).success());
    assert_eq!(told["rows"], 7, "{told}");
    dir
}

/// DuckDB's Python package beside the build; where `CI` is set, absence is a failure.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn duckdb(sql: &str) -> Option<Value> {
    let test = env::current_exe().unwrap();
    let packages = test.ancestors().map(|folder| folder.join("duckdb"));
    let Some(packages) = packages.into_iter().find(|it| it.join("duckdb/__init__.py").is_file())
    else {
        assert!(env::var_os("CI").is_none(), "duckdb is not installed");
        eprintln!("skipped: duckdb is not installed (`make analysts` does it)");
        return None;
    };
    let script = "import duckdb, json, sys; print(json.dumps(duckdb.sql(sys.argv[1]).fetchall(), default=str))";
    let mut python = Command::new("python3");
    let output = python.args(["-c", script, sql]).env("PYTHONPATH", packages).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn parts(dir: &Path) -> Vec<String> {
    let output = Command::new("find").arg(dir).args(["-type", "f"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let prefix = format!("{}/", dir.display());
    let mut parts: Vec<String> = text.lines().map(|line| line.replace(&prefix, "")).collect();
    parts.sort();
    parts
}

#[test]
fn duckdb_reads_the_same_from_every_format() {
    let home = calls();
    let parquet = export(&home, "parquet");
    let files = parts(&parquet);
    assert!(
        files.iter().all(|it| it.starts_with("region=local/tenant=") && it.contains("/day=20"))
    );
    let (parquet, csv, jsonl) = (parquet.display(), export(&home, "csv"), export(&home, "jsonl"));
    let sources = [
        format!("read_parquet('{parquet}/**/*.parquet', hive_partitioning = true)"),
        format!("read_csv('{}/**/*.csv', hive_partitioning = true)", csv.display()),
        format!("read_json('{}/**/*.jsonl', hive_partitioning = true)", jsonl.display()),
    ];
    for source in sources {
        let sql = format!(
            "SELECT region, tenant, kind, count(*), sum(cost_microusd)::BIGINT, min(status)::BIGINT FROM {source} \
             GROUP BY ALL ORDER BY ALL"
        );
        let Some(rows) = duckdb(&sql) else { return };
        let expected = value!([
            ["local", "acme", "decision", 3, null, null],
            ["local", "acme", "outcome", 2, 2_000_150, 200],
            ["local", "globex", "decision", 2, null, null],
        ]);
        assert_eq!(rows, expected, "{source}");
    }
    let sql = format!(
        "SELECT typeof(recorded_at), typeof(seq), typeof(tool), count(DISTINCT log), bool_and(recorded_at::DATE::VARCHAR = day::VARCHAR) \
         FROM read_parquet('{parquet}/**/*.parquet', hive_partitioning = true) GROUP BY ALL"
    );
    let Some(rows) = duckdb(&format!("SET TimeZone = 'UTC'; {sql}")) else { return };
    assert_eq!(rows, value!([["TIMESTAMP WITH TIME ZONE", "BIGINT", "VARCHAR", 2, true]]));
}

#[test]
fn nothing_is_exported_over_what_is_there_or_from_what_was_changed() {
    let home = calls();
    let dir = export(&home, "jsonl");
    home.run(&["audit", "export", "--jsonl", dir.to_str().unwrap()]).code(4);
    home.run(&["audit", "export"]).code(2);
    home.run(&["audit", "export", "--csv", "a", "--jsonl", "b"]).code(2);
    let wal = "audit/streams/gw-1/00000000000000000001/wal/00000000000000000000.wal";
    let file = home.path(wal);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.windows(5).position(|window| window == b"allow").unwrap();
    bytes[at..at + 5].copy_from_slice(b"denny");
    fs::write(&file, bytes).unwrap();
    let out = home.path("other");
    home.run(&["audit", "verify"]).code(1);
    let told = home.run(&["audit", "export", "--jsonl", out.to_str().unwrap()]).code(1);
    assert!(stderr(&told).contains("audit verify"), "{}", stderr(&told));
}

#[test]
fn a_question_is_answered_by_the_records_that_all_its_conditions_hold_for() {
    let home = calls();
    let count = |words: &[&str]| {
        let words = [&["audit", "query", "-o", "json"], words].concat();
        json(&home.run(&words).success()).as_array().unwrap().len()
    };
    assert_eq!(count(&[]), 7);
    assert_eq!(count(&["--tenant", "acme"]), 5);
    assert_eq!(count(&["--tenant", "acme", "--decision", "deny"]), 1);
    assert_eq!(count(&["--agent", "three"]), 2);
    assert_eq!(count(&["--tool", "llm.*"]), 7);
    assert_eq!(count(&["--tool", "llm"]), 0);
    assert_eq!(count(&["--reason", "DefaultDeny"]), 2);
    assert_eq!(count(&["--cost-min", "2"]), 2);
    assert_eq!(count(&["--since", "1h"]), 7);
    assert_eq!(count(&["--until", "2020-01-01T00:00:00Z"]), 0);
    let newest = home.run(&["audit", "query", "-n", "1"]).success();
    assert!(stdout(&newest).contains("approval_needed"), "{}", stdout(&newest));
    assert!(stderr(&newest).contains("the newest 1 of 7"), "{}", stderr(&newest));
    home.run(&["audit", "query", "--decision", "maybe"]).code(2);
    home.run(&["audit", "query", "--from", "nowhere"]).code(3);
}
