//! Policy files: read, compiled, and what is wrong with them told as compilers do.
//!
//! Not here: what is done with them. Invariant: a mistake keeps its file, line and column up to whoever reads it.

use std::path::{Path, PathBuf};

use aegis_document::{Diagnostic, Document};
use aegis_policy::{CompileContext, Snapshot};
use aegis_policy_language::PolicySet;
use serde_json::{Value, json};

use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::{Screen, counted};

/// The version that a policy has before it is published.
const UNPUBLISHED: CompileContext = CompileContext { version: 1 };

/// One file that compiles.
pub(super) struct Policy {
    pub(super) file: PathBuf,
    pub(super) text: String,
    pub(super) set: PolicySet,
    pub(super) snapshot: Snapshot,
}

impl Policy {
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let text = home::read("the policy", path)?;
        let name = path.display().to_string();
        let compiled = Document::parse(&name, &text).and_then(|document| {
            let set = PolicySet::parse(&[document])?;
            let snapshot = Snapshot::of(&set, UNPUBLISHED)?;
            Ok((set, snapshot))
        });
        let file = path.to_owned();
        match compiled {
            Ok((set, snapshot)) => Ok(Self { file, text, set, snapshot }),
            Err(source) => Err(Failure::Uncompiled { path: file, source }),
        }
    }

    /// The named file, or else the only policy that aegis.yaml enforces.
    pub(super) fn one(path: Option<&Path>, home: &Home) -> Result<Self, Failure> {
        if let Some(path) = path {
            return Self::load(path);
        }
        let config = Config::load(&home.config())?;
        let enforced = config.tenants.values().filter_map(|tenant| tenant.policies.first());
        let enforced: Vec<&PathBuf> = enforced.collect();
        match enforced.as_slice() {
            [only] => Self::load(only),
            _ => {
                let message = "aegis.yaml names several policies; name one with --policy";
                Err(Failure::Usage { message: message.to_owned() })
            }
        }
    }

    /// One line of the file, counted from 1, without its indentation.
    pub(super) fn line(&self, number: u32) -> &str {
        let before = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        self.text.lines().nth(before).unwrap_or_default().trim()
    }
}

/// Compiles one file.
pub(crate) fn compile(path: &Path) -> Result<(PolicySet, Snapshot), Failure> {
    Policy::load(path).map(|policy| (policy.set, policy.snapshot))
}

/// The files that compile, and every mistake in those that do not.
pub(super) struct Loaded {
    pub(super) policies: Vec<Policy>,
    pub(super) mistakes: Vec<Diagnostic>,
}

/// Loads the named files, or else those that aegis.yaml names.
pub(super) fn all(files: &[PathBuf], home: &Home) -> Result<Loaded, Failure> {
    let mut files = files.to_vec();
    if files.is_empty() {
        let config = Config::load(&home.config())?;
        files = config.tenants.into_values().flat_map(|tenant| tenant.policies).collect();
    }
    let mut loaded = Loaded { policies: Vec::new(), mistakes: Vec::new() };
    for file in files {
        match Policy::load(&file) {
            Ok(policy) => loaded.policies.push(policy),
            Err(Failure::Uncompiled { source, .. }) => {
                loaded.mistakes.extend(source.iter().cloned());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(loaded)
}

impl Loaded {
    /// Says how many mistakes there are; `otherwise` is how the command ends without any.
    pub(super) fn ended(&self, otherwise: Exit, screen: &Screen) -> Exit {
        if self.mistakes.is_empty() {
            return otherwise;
        }
        screen.say(&counted(self.mistakes.len(), "mistake"));
        Exit::Missing
    }
}

pub(super) fn to_json<'d>(found: impl IntoIterator<Item = &'d Diagnostic>) -> Value {
    let found = found.into_iter().map(|it| {
        json!({
            "file": &*it.file,
            "line": it.line,
            "column": it.column,
            "message": it.message,
            "help": it.help,
        })
    });
    found.collect()
}

/// As compilers do, so that editors find the place.
pub(super) fn tell<'d>(
    found: impl IntoIterator<Item = &'d Diagnostic>,
    screen: &Screen,
) -> Result<(), Failure> {
    found.into_iter().try_for_each(|mistake| screen.raw(format!("{mistake}\n")))
}
