//! Real OPA, in a process of its own: the library is loaded from Python, since no crate of ours may hold unsafe code.
//!
//! Not here: how the library is called (`opa.py`). Invariant: one command, one line back; a process that says anything
//! else, or nothing, is an error and never a decision.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use aegis_policy::BundleFile;
use serde::Deserialize;
use serde_json::{Value, json};

/// A running OPA with at most one policy in it.
#[derive(Debug)]
pub struct Opa {
    process: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// What OPA says to one query.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Value(Value),
    Undefined,
    /// A parse, compile or evaluation error; built-ins are strict.
    Error(String),
}

#[derive(Debug, thiserror::Error)]
pub enum OpaError {
    #[error("python3 does not start")]
    Start(#[source] std::io::Error),
    #[error("the OPA process went away")]
    Gone(#[from] std::io::Error),
    #[error("the OPA process said something else than JSON")]
    Answer(#[from] serde_json::Error),
    #[error("OPA does not load the policy: {0}")]
    Load(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Error { error: Value },
    Result { result: Option<Vec<Row>> },
}

#[derive(Deserialize)]
struct Row {
    expressions: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    value: Value,
}

impl Opa {
    /// Starts `opa.py serve` on a library that `make opa` has fetched.
    pub fn start(library: &Path) -> Result<Self, OpaError> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/opa.py");
        let mut process = Command::new("python3")
            .args([script.as_ref(), "serve".as_ref(), library.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(OpaError::Start)?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (Some(commands), Some(stdout)) = (stdin, stdout) else {
            return Err(OpaError::Start(std::io::ErrorKind::BrokenPipe.into()));
        };
        Ok(Self { process, commands, answers: BufReader::new(stdout) })
    }

    /// Loads the files of a bundle, as OPA does when it has polled one, and modules that are not in it.
    pub fn load(&mut self, files: &[BundleFile]) -> Result<(), OpaError> {
        let rego = files.iter().filter(|file| file.name.ends_with(".rego"));
        let modules: serde_json::Map<String, Value> = rego
            .map(|file| (file.name.clone(), String::from_utf8_lossy(&file.bytes).into()))
            .collect();
        let data = files.iter().find(|file| file.name == "aegis_data/data.json");
        let data: Option<Value> =
            data.map(|file| serde_json::from_slice(&file.bytes)).transpose()?;
        let root = data.map_or(json!({}), |data| json!({ "aegis_data": data }));
        self.load_modules(&modules, &root)
    }

    pub fn load_modules(
        &mut self,
        modules: &serde_json::Map<String, Value>,
        data: &Value,
    ) -> Result<(), OpaError> {
        let answer = self.say(&format!("load {}", json!({ "modules": modules, "data": data })))?;
        let answer: Value = serde_json::from_str(&answer)?;
        match answer.get("error") {
            None => Ok(()),
            Some(error) => Err(OpaError::Load(error.to_string())),
        }
    }

    /// Asks for a document, named without `data.`.
    pub fn eval(&mut self, document: &str, input: &Value) -> Result<Answer, OpaError> {
        let answer = self.say(&format!("eval {document} {input}"))?;
        Ok(match serde_json::from_str(&answer)? {
            Raw::Error { error } => Answer::Error(error.to_string()),
            Raw::Result { result } => {
                let rows = result.unwrap_or_default().into_iter();
                let value = rows.flat_map(|row| row.expressions).map(|found| found.value).next();
                value.map_or(Answer::Undefined, Answer::Value)
            }
        })
    }

    /// Nanoseconds of each of some evaluations, with the cost of cgo and of JSON in and out.
    pub fn time(
        &mut self,
        document: &str,
        input: &Value,
        rounds: usize,
    ) -> Result<Vec<u64>, OpaError> {
        let answer = self.say(&format!("time {rounds} {document} {input}"))?;
        Ok(serde_json::from_str(&answer)?)
    }

    fn say(&mut self, command: &str) -> Result<String, OpaError> {
        self.commands.write_all(command.as_bytes())?;
        self.commands.write_all(b"\n")?;
        self.commands.flush()?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(OpaError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(answer)
    }
}

impl Drop for Opa {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing is left to do about it.
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}
