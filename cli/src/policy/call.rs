//! A call to ask a policy about: from options, from a file, or from one of the policy's own tests.
//!
//! Not here: calls of the audit log (`recorded`). Invariant: all ways go through the language's own reader, so a call means
//! the same as in a test.

use std::path::Path;

use aegis_document::Document;
use aegis_policy::cases::Scene;
use aegis_policy_language::{DescribedCall, Example};
use clap::Args;
use serde_json::{Map, Value};

use super::load::Policy;
use crate::failure::Failure;
use crate::home;

/// A call in options; what is left out is chosen so that the call matches its tool.
#[derive(Debug, Args)]
#[command(next_help_heading = "The call, by options")]
pub(super) struct CallArgs {
    /// The tool that is called.
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// A parameter, as JSON or as text: amount=200000, currency=USD.
    #[arg(long = "param", value_name = "NAME=VALUE", requires = "tool", value_parser = pair)]
    params: Vec<(String, Value)>,
    /// A group of the agent.
    #[arg(long = "group", value_name = "GROUP", requires = "tool")]
    groups: Vec<String>,
    /// A scope of the agent's token.
    #[arg(long = "scope", value_name = "SCOPE", requires = "tool")]
    scopes: Vec<String>,
    /// An attribute of the agent.
    #[arg(long = "attribute", value_name = "NAME=VALUE", requires = "tool", value_parser = pair)]
    attributes: Vec<(String, Value)>,
    /// How often a detector found something, such as secret=1.
    #[arg(long = "dlp", value_name = "DETECTOR=COUNT", requires = "tool", value_parser = pair)]
    dlp: Vec<(String, Value)>,
    /// A rule that has been approved for this call.
    #[arg(long = "approved", value_name = "RULE", requires = "tool")]
    approved: Vec<String>,
    /// Anything else a test may say: at=2026-11-20T22:00:00Z, host=.., method=.., path=.., region=..
    #[arg(long = "with", value_name = "KEY=VALUE", requires = "tool", value_parser = pair)]
    with: Vec<(String, Value)>,
}

/// `name=value`; a value that is no JSON is a text.
fn pair(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

impl CallArgs {
    pub(super) fn is_given(&self) -> bool {
        self.tool.is_some()
    }

    /// The same as a test would be written.
    fn to_json(&self) -> Value {
        let object = |pairs: &[(String, Value)]| -> Value {
            pairs.iter().cloned().collect::<Map<_, _>>().into()
        };
        let mut call: Map<String, Value> = self.with.iter().cloned().collect();
        call.insert("tool".to_owned(), self.tool.clone().into());
        call.insert("params".to_owned(), object(&self.params));
        let mut agent = Map::new();
        agent.insert("groups".to_owned(), self.groups.clone().into());
        agent.insert("scopes".to_owned(), self.scopes.clone().into());
        agent.insert("attributes".to_owned(), object(&self.attributes));
        call.insert("agent".to_owned(), agent.into());
        if !self.dlp.is_empty() {
            call.insert("dlp".to_owned(), object(&self.dlp));
        }
        if !self.approved.is_empty() {
            call.insert("approved".to_owned(), self.approved.clone().into());
        }
        call.into()
    }

    pub(super) fn scene(&self, policy: &Policy) -> Result<Scene, Failure> {
        described("the command line", &self.to_json().to_string(), policy)
    }
}

/// A call with a name to show it under.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) scene: Scene,
}

/// The call of one file.
pub(super) fn from_file(path: &Path, policy: &Policy) -> Result<Scene, Failure> {
    described(&path.display().to_string(), &read(path)?, policy)
}

/// The calls of a file: one mapping, or one JSON object a line.
pub(super) fn from_lines(path: &Path, policy: &Policy) -> Result<Vec<Named>, Failure> {
    let (file, text) = (path.display().to_string(), read(path)?);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let is_object = |line: &str| line.starts_with('{') && line.ends_with('}');
    if !lines.clone().all(|(_, line)| is_object(line.trim())) {
        let scene = described(&file, &text, policy)?;
        return Ok(vec![Named { name: file, scene }]);
    }
    lines
        .map(|(index, line)| {
            let name = format!("{file}:{}", index.saturating_add(1));
            let scene = described(&name, line, policy)?;
            Ok(Named { name, scene })
        })
        .collect()
}

/// The calls of the policy's own tests.
pub(super) fn from_tests(policy: &Policy) -> Result<Vec<Named>, Failure> {
    let examples = policy.set.examples.iter();
    examples.map(|it| Ok(Named { name: it.name.clone(), scene: from_test(it, policy)? })).collect()
}

/// The test of that name, or the only one whose name holds the text.
pub(super) fn test_named<'p>(name: &str, policy: &'p Policy) -> Result<&'p Example, Failure> {
    let examples = &policy.set.examples;
    if let Some(exact) = examples.iter().find(|example| example.name == name) {
        return Ok(exact);
    }
    let holding: Vec<&Example> = examples.iter().filter(|it| it.name.contains(name)).collect();
    match holding.as_slice() {
        [only] => Ok(only),
        [] => Err(Failure::Unknown { message: format!("no test is named `{name}`") }),
        several => {
            let names: Vec<&str> = several.iter().map(|it| it.name.as_str()).collect();
            let message =
                format!("`{name}` is in the names of several tests: {}", names.join(", "));
            Err(Failure::Usage { message })
        }
    }
}

pub(super) fn from_test(example: &Example, policy: &Policy) -> Result<Scene, Failure> {
    Scene::of(&policy.set, example).map_err(|error| Failure::invalid(example.name.clone(), error))
}

fn described(name: &str, text: &str, policy: &Policy) -> Result<Scene, Failure> {
    let call = Document::parse(name, text).and_then(|document| DescribedCall::parse(&document));
    let call = call.map_err(|found| Failure::invalid("the call", found))?;
    Scene::described(&policy.set, &call).map_err(|error| Failure::invalid(name, error))
}

/// More than any file of calls.
const STDIN_BYTES_MAX: u64 = 64 * 1_024 * 1_024;

/// The file's text; `-` is stdin.
fn read(path: &Path) -> Result<String, Failure> {
    if path != Path::new("-") {
        return home::read("the call", path);
    }
    aegis_audit_plain::read_open(std::io::stdin().lock(), STDIN_BYTES_MAX).map_err(Failure::Stdin)
}
