//! From a tenant's policy files to versions that may decide.
//!
//! Not here: what is done with them (`store`). Blocks on the disk and computes for long, so it never runs on the way of
//! a call. Invariant: a version number stands for one source for ever; the numbers given out are kept beside the data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aegis_config::{CandidateFiles, Config, PolicyFiles, Tenant};
use aegis_document::{Diagnostics, Document, Position, Problems};
use aegis_domain::{TenantId, Timestamp};
use aegis_policy::activation::{Cleared, Gate, Refusal, clear};
use aegis_policy_language::{PolicySet, canonical};
use sha2::{Digest as _, Sha256};

use crate::{Candidate, Store, TenantPolicy};

/// Why a tenant's policy is not what its files say.
#[derive(Debug)]
pub struct Refused {
    /// A word for the metric.
    pub code: &'static str,
    pub found: Diagnostics,
}

/// Clears what the files say; what the store holds already is not cleared again.
pub(super) fn tenant(
    config: &Config,
    (tenant, files): (&Tenant, &PolicyFiles),
    store: Option<&Store>,
    now: Timestamp,
) -> Result<TenantPolicy, Refused> {
    let mut loader = Loader::new(config, (tenant, files), known(store))?;
    let policy = loader.policy(now)?;
    loader.versions.save()?;
    Ok(policy)
}

/// Clears what the files say and keeps nothing of it.
pub(super) fn check(config: &Config, of: (&Tenant, &PolicyFiles)) -> Result<(), Refused> {
    let mut loader = Loader::new(config, of, Vec::new())?;
    loader.policy(Timestamp::from_unix_ns(0)).map(drop)
}

/// Every version that is in memory.
pub(super) fn known(store: Option<&Store>) -> Vec<Cleared> {
    let Some(store) = store else { return Vec::new() };
    let current = store.current();
    let candidate = current.candidate.iter().map(|candidate| candidate.version.clone());
    let mut known: Vec<Cleared> = candidate.chain([current.live.clone()]).collect();
    known.extend(store.shelf().versions().cloned());
    known
}

struct Loader<'a> {
    tenant: &'a Tenant,
    files: &'a PolicyFiles,
    /// On how many generated documents both engines must agree.
    inputs: usize,
    known: Vec<Cleared>,
    versions: Versions,
}

impl<'a> Loader<'a> {
    fn new(
        config: &Config,
        (tenant, files): (&'a Tenant, &'a PolicyFiles),
        known: Vec<Cleared>,
    ) -> Result<Self, Refused> {
        let versions = Versions::open(&config.data_dir)?;
        Ok(Self { tenant, files, inputs: config.limits.policies_compared, known, versions })
    }

    /// Both versions or none: a policy changes whole.
    fn policy(&mut self, now: Timestamp) -> Result<TenantPolicy, Refused> {
        let files = self.files;
        let live = self.version(&files.enforce);
        let next = files.candidate.as_ref().map(|next| Ok((next, self.version(&next.files)?)));
        match (live, next.transpose()) {
            (Ok(live), Ok(next)) => {
                let candidate = next.map(|(files, version)| candidate(files, version, now));
                Ok(TenantPolicy::new(live, candidate.transpose()?))
            }
            (Err(mut one), Err(other)) => {
                one.found.merge(other.found);
                Err(one)
            }
            (Err(refused), Ok(_)) | (Ok(_), Err(refused)) => Err(refused),
        }
    }

    fn version(&mut self, files: &[PathBuf]) -> Result<Cleared, Refused> {
        let set = read(files)?;
        let version = self.versions.number(&self.tenant.id, &set);
        let mut known = self.known.iter();
        if let Some(cleared) = known.find(|one| one.snapshot().policy_ref().version == version) {
            return Ok(cleared.clone());
        }
        let gate =
            Gate { tenant: &self.tenant.id, version, inputs: self.inputs, bundle_sha256: None };
        let name = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        clear(&set, &gate).map_err(|refusal| Refused::of(refusal, &name))
    }
}

fn candidate(
    files: &CandidateFiles,
    version: Cleared,
    now: Timestamp,
) -> Result<Candidate, Refused> {
    Candidate::new(version, files.agents, files.sample, now)
        .map_err(|error| Refused::unreadable("candidate", error.to_string()))
}

fn read(files: &[PathBuf]) -> Result<PolicySet, Refused> {
    let mut documents = Vec::new();
    let mut found = Diagnostics::default();
    for path in files {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Err(error) => found.merge(about(&name, format!("cannot be read: {error}"))),
            Ok(text) => match Document::parse(&name, &text) {
                Ok(document) => documents.push(document),
                Err(mistakes) => found.merge(mistakes),
            },
        }
    }
    found.or(()).and_then(|()| PolicySet::parse(&documents)).map_err(Refused::invalid)
}

impl Refused {
    fn invalid(found: Diagnostics) -> Self {
        Self { code: "invalid", found }
    }

    pub(super) fn unreadable(file: &str, message: String) -> Self {
        Self { code: "unreadable", found: about(file, message) }
    }

    /// A refusal of the gate, with the place of each failed test.
    pub(super) fn of(refusal: Refusal, file: &str) -> Self {
        let code = refusal.code();
        Self { code, found: refusal.into_diagnostics(file) }
    }
}

fn about(file: &str, message: String) -> Diagnostics {
    let mut problems = Problems::new(file);
    problems.report(Position::START, message);
    problems.into_diagnostics()
}

/// Tenant -> SHA-256 of its files -> number.
struct Versions {
    path: PathBuf,
    given: BTreeMap<TenantId, BTreeMap<String, u64>>,
    is_changed: bool,
}

impl Versions {
    fn open(data_dir: &Path) -> Result<Self, Refused> {
        let path = data_dir.join("policy-versions.json");
        let failed = |error: String| Refused::unreadable(&path.display().to_string(), error);
        let given = match std::fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { path, given, is_changed: false })
    }

    /// Names and comments count: they are in the bundle, and a number stands for one bundle.
    fn number(&mut self, tenant: &TenantId, set: &PolicySet) -> u64 {
        let mut hash = Sha256::new();
        for part in set.sources.iter().flat_map(|source| [&source.file, &source.text]) {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part);
        }
        let digest = canonical::hex(&hash.finalize());
        let given = self.given.entry(tenant.clone()).or_default();
        let next = given.values().max().copied().unwrap_or(0).saturating_add(1);
        let number = *given.entry(digest).or_insert(next);
        self.is_changed |= number == next;
        number
    }

    fn save(&self) -> Result<(), Refused> {
        if !self.is_changed {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(&self.given).map_err(std::io::Error::other);
        bytes.and_then(|bytes| replace(&self.path, &bytes)).map_err(|error| {
            Refused::unreadable(&self.path.display().to_string(), error.to_string())
        })
    }
}

/// Whole or not at all, whatever happens meanwhile.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let beside = path.with_extension("json.new");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
