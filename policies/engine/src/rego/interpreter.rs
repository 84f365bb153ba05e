//! The reference evaluator: regorus' interpreter over the files of a bundle, entered where stock OPA enters them.
//!
//! Not here: the data plane, whose programs run on the RVM (`rego`). Invariant: it reads the bundle's bytes and nothing
//! that compiling left in memory, so a decision it shares with the RVM is one that the bundle gives.

use std::collections::BTreeMap;
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use super::{CHECK_EVERY, RawDecision, decode};
use crate::bundle::BundleFile;
use crate::evaluation::EngineError;
use crate::snapshot::Snapshot;

/// One policy version on the interpreter: slow, and right about undefined values.
#[derive(Clone)]
pub struct Interpreter {
    /// One engine a tool, since the interpreter evaluates every package behind a dynamic reference.
    tools: BTreeMap<String, Engine>,
    /// The dispatcher alone, for tools that are in no module.
    unknown: Engine,
}

/// Why a bundle's files do not load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the bundle has no file {name}")]
    Missing { name: &'static str },
    #[error("{name} is not UTF-8")]
    NotText { name: String },
    #[error("the interpreter refused {name}: {reason}")]
    Refused { name: String, reason: String },
}

const DISPATCHER: &str = "aegis/egress.rego";
const DATA: &str = "aegis_data/data.json";
const ENTRY: &str = "data.aegis.egress.decision";
/// What the interpreter evaluates ends by itself; this is the second line.
const TIMER: ExecutionTimerConfig =
    ExecutionTimerConfig { limit: Duration::from_secs(5), check_interval: CHECK_EVERY };

impl Interpreter {
    pub fn new(snapshot: &Snapshot) -> Result<Self, LoadError> {
        let mut unknown = Engine::new();
        unknown.set_strict_builtin_errors(true);
        unknown.set_execution_timer_config(TIMER);
        add_module(&mut unknown, named(snapshot, DISPATCHER)?)?;
        add_data(&mut unknown, named(snapshot, DATA)?)?;
        let tools = snapshot.modules().map(|(tool, module)| {
            let mut engine = unknown.clone();
            add_module(&mut engine, module)?;
            Ok((tool.to_string(), engine))
        });
        Ok(Self { tools: tools.collect::<Result<_, LoadError>>()?, unknown })
    }

    /// What stock OPA's entry point says to an input document.
    pub fn decide(&self, document: &serde_json::Value) -> Result<RawDecision, EngineError> {
        let tool = document.get("tool").and_then(serde_json::Value::as_str);
        let engine = tool.and_then(|tool| self.tools.get(tool)).unwrap_or(&self.unknown);
        let mut engine = engine.clone();
        engine.set_input(Value::from(document.clone()));
        decode(&engine.eval_rule(ENTRY.to_owned()).map_err(|_| EngineError::Failed)?)
    }
}

fn named<'s>(snapshot: &'s Snapshot, name: &'static str) -> Result<&'s BundleFile, LoadError> {
    let mut files = snapshot.bundle_files().iter();
    files.find(|file| file.name == name).ok_or(LoadError::Missing { name })
}

fn text(file: &BundleFile) -> Result<&str, LoadError> {
    std::str::from_utf8(&file.bytes).map_err(|_| LoadError::NotText { name: file.name.clone() })
}

fn add_module(engine: &mut Engine, file: &BundleFile) -> Result<(), LoadError> {
    let added = engine.add_policy(file.name.clone(), text(file)?.to_owned());
    added.map(|_package| ()).map_err(|error| refused(file, &error))
}

fn add_data(engine: &mut Engine, file: &BundleFile) -> Result<(), LoadError> {
    let document = Value::from_json_str(text(file)?).map_err(|error| refused(file, &error))?;
    let root = Value::from(BTreeMap::from([(Value::from("aegis_data"), document)]));
    engine.add_data(root).map_err(|error| refused(file, &error))
}

fn refused(file: &BundleFile, reason: &impl ToString) -> LoadError {
    LoadError::Refused { name: file.name.clone(), reason: reason.to_string() }
}
