//! The files of the OPA bundle and the digest over them.
//!
//! Not here: the tar, its signature, its delivery. Invariant: file names are sorted and relative, JSON is
//! canonical, so equal policies have equal bytes.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::lower::Lowered;
use aegis_policy_language::PolicySet;
use aegis_policy_language::canonical;

/// One file of a bundle; names are relative, without `./`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

pub(super) fn files(
    set: &PolicySet,
    lowered: &Lowered,
    revision: &str,
    version: u64,
) -> Vec<BundleFile> {
    let manifest = json!({
        "revision": revision,
        "roots": ["aegis", "aegis_data"],
        "rego_version": 1,
        "metadata": { "aegis": {
            "tenant": set.tenant.as_str(),
            "env": set.env.as_str(),
            "version": version,
            "source_digest": set.digest,
        }},
    });
    let json = |name: &str, value| BundleFile {
        name: name.to_owned(),
        bytes: canonical::json(value).into_bytes(),
    };
    let modules = lowered.tools.values().chain([&lowered.dispatcher]);
    let mut files: Vec<BundleFile> = modules
        .map(|module| BundleFile {
            name: module.path.clone(),
            bytes: module.source.clone().into_bytes(),
        })
        .chain([json(".manifest", &manifest), json("aegis_data/data.json", &lowered.data)])
        .collect();
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// SHA-256 over name, length and bytes of every file, lower-case hex. Lengths are 8 bytes, big-endian, and stand
/// before names too, so no two lists of files have the same input.
pub(super) fn digest(files: &[BundleFile]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        for part in [file.name.as_bytes(), &file.bytes] {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            hash.update(length.to_be_bytes());
            hash.update(part);
        }
    }
    canonical::hex(&hash.finalize())
}
