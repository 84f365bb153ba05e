//! The slow road through regorus: a whole package document from the interpreter, for `explain`.
//!
//! Not here: deciding calls, which is `Program`'s. Invariant: it reads the same modules, data and input as the programs do,
//! and an answer that is no object is an error.

use std::time::Duration;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::{Map, Value as Json};

use super::{CHECK_EVERY, Data, Input, RawDecision, well_formed};
use crate::evaluation::EngineError;
use crate::lower::Module;

/// A person waits for this, not a call.
const TIMER: ExecutionTimerConfig =
    ExecutionTimerConfig { limit: Duration::from_secs(5), check_interval: CHECK_EVERY };

/// What the module's own ladder decides, on the interpreter.
pub(crate) fn interpret(
    module: &Module,
    data: &Data,
    input: &Input,
) -> Result<RawDecision, EngineError> {
    let decision = evaluate(module, data, input, ".decision")?;
    well_formed(&decision).ok_or(EngineError::Malformed)
}

/// Every rule of the module's package: what is false or undefined is absent.
pub(crate) fn document(
    module: &Module,
    data: &Data,
    input: &Input,
) -> Result<Map<String, Json>, EngineError> {
    let value = evaluate(module, data, input, "")?;
    match serde_json::to_value(&value) {
        Ok(Json::Object(rules)) => Ok(rules),
        Ok(_) | Err(_) => Err(EngineError::Malformed),
    }
}

fn evaluate(
    module: &Module,
    data: &Data,
    input: &Input,
    below: &str,
) -> Result<Value, EngineError> {
    let failed = |_| EngineError::Failed;
    let mut engine = regorus::Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.set_execution_timer_config(TIMER);
    engine.add_policy(module.path.clone(), module.source.clone()).map_err(failed)?;
    engine.add_data(data.0.clone()).map_err(failed)?;
    engine.set_input(input.0.clone());
    let query = format!("data.{}{below}", module.package);
    let mut results = engine.eval_query(query, false).map_err(failed)?;
    let mut row = results.result.pop().ok_or(EngineError::Undefined)?;
    let value = row.expressions.pop().ok_or(EngineError::Undefined)?.value;
    if matches!(value, Value::Undefined) { Err(EngineError::Undefined) } else { Ok(value) }
}
