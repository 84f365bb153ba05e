//! The published suites, read into tasks: what an agent was asked to do, and the calls that do it.
//!
//! Not here: what a call becomes at a gateway (`tenant`). Invariant: the suites stay outside the repository; nothing in this
//! file depends on what any of them holds, only on its form.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Which suite, and which part of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "set", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Suite {
    Agentdojo { part: String },
    TauBench { part: String },
    AgentEgressBench { part: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Work,
    Attack,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// None where the suite fixes no calls for the goal.
    pub(crate) calls: Vec<Call>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) args: Map<String, Value>,
}

impl Suite {
    pub(crate) fn title(&self) -> String {
        match self {
            Suite::Agentdojo { part } => format!("AgentDojo {part}"),
            Suite::TauBench { part } => format!("tau-bench {part}"),
            Suite::AgentEgressBench { part } => format!("agent-egress-bench {part}"),
        }
    }

    /// Whether its attacks are the data in a call, rather than the call.
    pub(crate) fn is_about_data(&self) -> bool {
        matches!(self, Suite::AgentEgressBench { .. })
    }

    pub(crate) fn read(&self, corpora: &Path) -> anyhow::Result<Vec<Task>> {
        let tasks = match self {
            Suite::Agentdojo { part } => agentdojo(corpora, part)?,
            Suite::TauBench { part } => tau_bench(corpora, part)?,
            Suite::AgentEgressBench { part } => egress_bench(corpora, part)?,
        };
        if tasks.is_empty() {
            bail!("{} has no tasks", self.title());
        }
        Ok(tasks)
    }
}

fn agentdojo(corpora: &Path, part: &str) -> anyhow::Result<Vec<Task>> {
    #[derive(Deserialize)]
    struct Line {
        suite: String,
        task: String,
        kind: String,
        calls: Vec<Call>,
    }
    let lines: Vec<Line> = json_lines(&corpora.join("agentdojo/toolcalls_v1.2.2.jsonl"))?;
    let of_part = lines.into_iter().filter(|line| line.suite == part);
    of_part
        .map(|line| Ok(Task { kind: kind(&line.kind)?, id: line.task, calls: line.calls }))
        .collect()
}

fn tau_bench(corpora: &Path, part: &str) -> anyhow::Result<Vec<Task>> {
    #[derive(Deserialize)]
    struct Line {
        env: String,
        split: String,
        kind: String,
        calls: Vec<Call>,
    }
    let lines: Vec<Line> = json_lines(&corpora.join("tau-bench/toolcalls.jsonl"))?;
    let of_part = lines.into_iter().enumerate().filter(|(_, line)| line.env == part);
    of_part
        .map(|(number, line)| {
            let id = format!("{}/{}", line.split, number.saturating_add(1));
            Ok(Task { id, kind: kind(&line.kind)?, calls: line.calls })
        })
        .collect()
}

/// One file a case; a request body becomes one call whose argument is the body's text.
fn egress_bench(corpora: &Path, part: &str) -> anyhow::Result<Vec<Task>> {
    #[derive(Deserialize)]
    struct Case {
        id: String,
        expected_verdict: String,
        payload: Value,
    }
    let folder = corpora.join("agent-egress-bench/cases").join(part);
    let mut tasks = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let text = fs::read_to_string(entry?.path())?;
        let case: Case = serde_json::from_str(&text)?;
        let body = case.payload.get("body").and_then(Value::as_str).context("no body")?;
        let mut args = Map::new();
        args.insert("body".to_owned(), json!(body));
        let calls = vec![Call { function: part.to_owned(), args }];
        tasks.push(Task { id: case.id, kind: kind(&case.expected_verdict)?, calls });
    }
    tasks.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(tasks)
}

fn kind(text: &str) -> anyhow::Result<Kind> {
    match text {
        "benign" | "allow" => Ok(Kind::Work),
        "attack" | "block" => Ok(Kind::Attack),
        other => bail!("`{other}` is neither work nor attack"),
    }
}

fn json_lines<T: for<'t> Deserialize<'t>>(file: &Path) -> anyhow::Result<Vec<T>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line).with_context(|| format!("a line of {}", file.display()))
        })
        .collect()
}
