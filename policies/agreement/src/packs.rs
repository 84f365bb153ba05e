//! The policies that are shipped: every file under `policies/packs` and `policies/cases`.
//!
//! Not here: whether their own tests pass (`policies/engine/tests/packs.rs`). Invariant: a pack that is added is read, so
//! none can be forgotten.

use std::path::{Path, PathBuf};

use aegis_document::{Diagnostics, Document};
use aegis_policy::{CompileContext, Snapshot, cases};
use aegis_policy_language::PolicySet;
use serde_json::Value;

/// One policy file, compiled.
#[derive(Debug)]
pub struct Pack {
    pub name: String,
    pub set: PolicySet,
    pub snapshot: Snapshot,
    /// The input documents of its tests: they reach its rules.
    pub documents: Vec<Value>,
}

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("{path} cannot be read")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{name} does not compile")]
    Compile {
        name: String,
        #[source]
        source: Diagnostics,
    },
    #[error("{name}: a test is no call: {reason}")]
    Example { name: String, reason: String },
}

/// All of them, sorted by name.
pub fn shipped() -> Result<Vec<Pack>, PackError> {
    let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = Vec::new();
    for folder in ["packs", "cases"] {
        let folder = policies.join(folder);
        let unread = |source| PackError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn read(path: &Path) -> Result<Pack, PackError> {
    let unread = |source| PackError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unread)?;
    Pack::compile(&path.file_stem().unwrap_or_default().to_string_lossy(), &text)
}

impl Pack {
    pub fn compile(name: &str, text: &str) -> Result<Self, PackError> {
        let compiled = Document::parse(name, text).and_then(|document| {
            let set = PolicySet::parse(&[document])?;
            let snapshot = Snapshot::of(&set, CompileContext { version: 1 })?;
            Ok((set, snapshot))
        });
        let name = name.to_owned();
        let (set, snapshot) =
            compiled.map_err(|source| PackError::Compile { name: name.clone(), source })?;
        let examples = set.examples.iter();
        let documents = examples.map(|example| cases::document(&snapshot, &set, example));
        let documents = documents
            .collect::<Result<_, _>>()
            .map_err(|reason| PackError::Example { name: name.clone(), reason })?;
        Ok(Self { name, set, snapshot, documents })
    }
}
