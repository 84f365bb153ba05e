//! The only user of regorus: compiles one tool's module to its own program, evaluates it, reads the decision.
//!
//! Not here: where the Rego comes from (`lower`). Invariant: anything but a well-formed decision object is an
//! `EngineError`. Every evaluation has a VM of its own and is bounded in instructions and time.

mod input;
mod interpreter;
mod package;

use std::fmt::Display;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aegis_domain::{Effect, RuleId};
use regorus::Value;
use regorus::languages::rego::compiler::Compiler;
use regorus::rvm::program::Program as RvmProgram;
use regorus::rvm::vm::{RegoVM, VmError};
use regorus::utils::limits::ExecutionTimerConfig;

use crate::evaluation::EngineError;
use crate::lower::Module;

pub(crate) use input::{Plan, TooLarge, UnknownPath};
pub use interpreter::{Interpreter, LoadError};
pub(crate) use package::{document, interpret};

/// Patterns kept compiled, for all tenants of a process together: regorus keeps 256 unless told otherwise, and one more
/// than it keeps is compiled at every call.
const PATTERNS_KEPT: usize = 1 << 16;

/// Makes room for every tenant's patterns; to be called once, before the first decision.
pub fn prepare() {
    regorus::cache::configure(regorus::cache::Config { regex: PATTERNS_KEPT, glob: 0 });
}

/// One tool's decision, ready to run; shared between threads.
#[derive(Clone, Debug)]
pub(crate) struct Program(Arc<RvmProgram>);

/// The constants of a policy version, under `data`.
#[derive(Clone, Debug)]
pub(crate) struct Data(Value);

/// One call, as the program sees it.
#[derive(Clone, Debug)]
pub(crate) struct Input(Value);

/// What a program answers, with names not yet looked up; each list is sorted, since engines give sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDecision {
    pub effect: Effect,
    pub rules: Vec<RuleId>,
    pub obligations: Vec<String>,
    pub approvals: Vec<String>,
    pub would: Vec<RuleId>,
    pub exceptions: Vec<RuleId>,
}

impl RawDecision {
    /// Reads the decision of another engine, as JSON.
    pub fn from_json(answer: &serde_json::Value) -> Result<Self, EngineError> {
        decode(&Value::from(answer.clone()))
    }

    /// What the dispatcher says to an unknown tool or tenant.
    pub(crate) fn default_deny() -> Result<Self, EngineError> {
        let rule = RuleId::parse("egress.default-deny").map_err(|_| EngineError::Malformed)?;
        Ok(Self {
            effect: Effect::Deny,
            rules: vec![rule],
            obligations: Vec::new(),
            approvals: Vec::new(),
            would: Vec::new(),
            exceptions: Vec::new(),
        })
    }
}

impl Input {
    pub(crate) fn from_json(document: &serde_json::Value) -> Self {
        Self(Value::from(document.clone()))
    }
}

/// Why regorus did not take a module that the linter accepted.
#[derive(Debug, thiserror::Error)]
#[error("the Rego engine refused the module: {0}")]
pub(crate) struct CompileError(String);

const INSTRUCTIONS_MAX: usize = 50_000;
/// The instruction limit is what bounds a program; this is the second line.
const TIMER: ExecutionTimerConfig =
    ExecutionTimerConfig { limit: Duration::from_millis(20), check_interval: CHECK_EVERY };
const CHECK_EVERY: NonZeroU32 = NonZeroU32::MIN.saturating_add(63);
/// The timer counts wall time, so it also trips on a thread that was not running: on a busy machine one call in
/// some thousands. The program is pure, so such a call is simply asked again.
const TRIES: usize = 3;

impl Data {
    pub(crate) fn new(aegis_data: &serde_json::Value) -> Self {
        let root = serde_json::json!({ "aegis_data": aegis_data });
        Self(Value::from(root))
    }
}

impl Program {
    /// Compiles `data.<package>.decision` from an engine that holds this module only, since every program embeds
    /// the sources of its whole engine.
    pub(crate) fn compile(module: &Module) -> Result<Self, CompileError> {
        let entry = format!("data.{}.decision", module.package);
        let mut engine = regorus::Engine::new();
        engine.add_policy(module.path.clone(), module.source.clone()).map_err(refusal)?;
        let policy = engine.compile_with_entrypoint(&entry.as_str().into()).map_err(refusal)?;
        let program = Compiler::compile_from_policy(&policy, &[&entry]).map_err(refusal)?;
        Ok(Self(program))
    }

    pub(crate) fn decide(&self, data: &Data, input: Input) -> Result<RawDecision, EngineError> {
        for _ in 1..TRIES {
            match self.run(data, input.clone(), INSTRUCTIONS_MAX) {
                Err(VmError::TimeLimitExceeded { .. }) => {}
                answer => return decode(&answer.map_err(|_| EngineError::Failed)?),
            }
        }
        decode(&self.run(data, input, INSTRUCTIONS_MAX).map_err(|_| EngineError::Failed)?)
    }

    fn run(&self, data: &Data, input: Input, instructions_max: usize) -> Result<Value, VmError> {
        let mut vm = RegoVM::new();
        vm.set_max_instructions(instructions_max);
        vm.set_execution_timer_config(Some(TIMER));
        vm.load_program(Arc::clone(&self.0));
        vm.set_data(data.0.clone())?;
        vm.set_input(input.0);
        vm.execute_entry_point_by_index(0)
    }
}

fn refusal(error: impl Display) -> CompileError {
    CompileError(error.to_string())
}

fn decode(answer: &Value) -> Result<RawDecision, EngineError> {
    // The undefined value would print as the text `<undefined>`; only the variant tells.
    if matches!(answer, Value::Undefined) {
        return Err(EngineError::Undefined);
    }
    well_formed(answer).ok_or(EngineError::Malformed)
}

fn well_formed(answer: &Value) -> Option<RawDecision> {
    let object = answer.as_object().ok()?;
    if object.len() != 6 {
        return None;
    }
    let member = |name: &str| object.get(&Value::from(name));
    let names = |name: &str| texts(member(name)?);
    let ids = |name: &str| -> Option<Vec<RuleId>> {
        names(name)?.iter().map(|id| RuleId::parse(id).ok()).collect()
    };
    let decision = RawDecision {
        effect: Effect::parse(member("effect")?.as_string().ok()?)?,
        rules: ids("rules")?,
        obligations: names("obligations")?,
        approvals: names("approvals")?,
        would: ids("would")?,
        exceptions: ids("exceptions")?,
    };
    let consistent = match decision.effect {
        Effect::Allow => decision.rules.is_empty() && decision.obligations.is_empty(),
        Effect::Sanitize => !decision.rules.is_empty() && !decision.obligations.is_empty(),
        Effect::ApprovalNeeded => !decision.rules.is_empty() && !decision.approvals.is_empty(),
        Effect::Deny => !decision.rules.is_empty(),
    };
    consistent.then_some(decision)
}

/// The texts of a set or an array, sorted.
fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_string().ok().map(|text| text.to_string());
    let mut texts: Vec<String> = match value {
        Value::Set(members) => members.iter().map(text).collect::<Option<_>>()?,
        Value::Array(items) => items.iter().map(text).collect::<Option<_>>()?,
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Object(_)
        | Value::Undefined => return None,
    };
    texts.sort();
    Some(texts)
}

#[cfg(test)]
mod tests;
