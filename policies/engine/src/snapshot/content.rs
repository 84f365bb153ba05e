//! What a bundle holds: the manifest, the modules and data that stock OPA loads, and the source it was compiled from.
//!
//! Not here: the archive and its signature (`bundle`). Invariant: the source is there whole, so a bundle alone is enough to
//! compile the version again, run its tests, and see that its modules are what its source compiles to.

use serde::{Deserialize, Serialize};

use aegis_document::{Diagnostics, Document};
use aegis_policy_language::{PolicySet, Source};

use crate::bundle::{Bundle, BundleError, BundleFile, Manifest, json};
use crate::lower::Lowered;

/// OPA loads no JSON but `data.json`, so this is listed and signed and otherwise left alone.
pub(super) const SOURCE: &str = "aegis/source.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    files: Vec<WrittenFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    name: String,
    text: String,
}

pub(super) fn bundle(
    set: &PolicySet,
    lowered: &Lowered,
    manifest: &Manifest,
) -> Result<Bundle, BundleError> {
    let json = |name: &str, value| BundleFile {
        name: name.to_owned(),
        bytes: json::compact(value).into_bytes(),
    };
    let modules = lowered.tools.values().chain([&lowered.dispatcher]);
    let mut files: Vec<BundleFile> = modules
        .map(|module| BundleFile {
            name: module.path.clone(),
            bytes: module.source.clone().into_bytes(),
        })
        .chain([
            manifest.write(),
            json(SOURCE, &source(set)),
            json("aegis_data/data.json", &lowered.data),
        ])
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Bundle::new(files)
}

fn source(set: &PolicySet) -> serde_json::Value {
    let written =
        |Source { file, text }: &Source| WrittenFile { name: file.clone(), text: text.clone() };
    serde_json::json!(Written { files: set.sources.iter().map(written).collect() })
}

/// The files a bundle was compiled from.
pub(super) fn documents(bundle: &Bundle) -> Result<Vec<Document>, SourceError> {
    let file = bundle.file(SOURCE)?;
    let written: Written =
        serde_json::from_slice(&file.bytes).map_err(|_| BundleError::Malformed { name: SOURCE })?;
    let documents = written.files.iter().map(|file| Document::parse(&file.name, &file.text));
    Ok(documents.collect::<Result<_, _>>()?)
}

/// Why a bundle is not run.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("the source in the bundle does not compile")]
    Compile(#[from] Diagnostics),
    #[error("the bundle is of compiler {theirs}, this is {ours}")]
    OtherCompiler { theirs: String, ours: &'static str },
    #[error("{name} is not what the source in the bundle compiles to")]
    NotItsSource { name: String },
}

/// Whether two bundles hold the same files; the signature does not count.
pub(super) fn same(theirs: &Bundle, ours: &Bundle) -> Result<(), SourceError> {
    let absent = |file: &&BundleFile, of: &Bundle| !of.files().contains(file);
    let found = theirs.files().iter().find(|file| absent(file, ours));
    let found = found.or_else(|| ours.files().iter().find(|file| absent(file, theirs)));
    match found {
        Some(file) => Err(SourceError::NotItsSource { name: file.name.clone() }),
        None => Ok(()),
    }
}
