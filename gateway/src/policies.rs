//! The policy versions this gateway decides by: one enforced per tenant, perhaps one in shadow.
//!
//! Not here: the language (`policies/engine`). Invariant: a version number stands for one text for ever; the numbers
//! given out so far are kept beside the data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegis_document::{Diagnostics, Document, Position, Problems};
use aegis_domain::TenantId;
use aegis_policy::{CompileContext, Snapshot};
use sha2::{Digest as _, Sha256};

use aegis_config::{Config, Tenant};

/// What one tenant's calls are judged by.
#[derive(Debug)]
pub struct TenantPolicy {
    pub enforced: Snapshot,
    pub shadow: Option<Snapshot>,
}

/// All tenants' policies.
#[derive(Debug, Default)]
pub struct Policies(BTreeMap<TenantId, Arc<TenantPolicy>>);

impl Policies {
    /// Compiles every tenant's files; every mistake in every file is reported together.
    pub fn load(config: &Config) -> Result<Self, Diagnostics> {
        let mut versions = Versions::open(&config.data_dir)?;
        let policies = Self::compile(config, &mut versions)?;
        versions.save()?;
        Ok(policies)
    }

    /// Finds every mistake without giving out a version number.
    pub fn check(config: &Config) -> Result<(), Diagnostics> {
        Self::compile(config, &mut Versions::open(&config.data_dir)?).map(drop)
    }

    fn compile(config: &Config, versions: &mut Versions) -> Result<Self, Diagnostics> {
        let mut policies = BTreeMap::new();
        let mut mistakes = Diagnostics::default();
        for tenant in config.tenants.values() {
            match load_tenant(tenant, versions) {
                Ok(policy) => drop(policies.insert(tenant.id.clone(), Arc::new(policy))),
                Err(found) => mistakes.merge(found),
            }
        }
        mistakes.or(Self(policies))
    }

    pub fn of(&self, tenant: &TenantId) -> Option<Arc<TenantPolicy>> {
        self.0.get(tenant).cloned()
    }
}

fn load_tenant(tenant: &Tenant, versions: &mut Versions) -> Result<TenantPolicy, Diagnostics> {
    let enforced = load_file(tenant, &tenant.policy.enforce, versions);
    let shadow = tenant.policy.shadow.as_ref().map(|path| load_file(tenant, path, versions));
    match (enforced, shadow.transpose()) {
        (Ok(enforced), Ok(shadow)) => Ok(TenantPolicy { enforced, shadow }),
        (Err(mut one), Err(other)) => {
            one.merge(other);
            Err(one)
        }
        (Err(found), Ok(_)) | (Ok(_), Err(found)) => Err(found),
    }
}

fn load_file(
    tenant: &Tenant,
    path: &Path,
    versions: &mut Versions,
) -> Result<Snapshot, Diagnostics> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| about(&name, format!("cannot be read: {error}")))?;
    let document = Document::parse(&name, &text)?;
    let version = versions.number(&tenant.id, &text);
    let snapshot = Snapshot::compile(&[document], CompileContext { version })?;
    if *snapshot.tenant() != tenant.id {
        let message = format!("is for tenant `{}`, not `{}`", snapshot.tenant(), tenant.id);
        return Err(about(&name, message));
    }
    Ok(snapshot)
}

fn about(file: &str, message: String) -> Diagnostics {
    let mut problems = Problems::new(file);
    problems.report(Position::START, message);
    problems.into_diagnostics()
}

/// Tenant -> SHA-256 of the text -> number.
#[derive(Debug)]
struct Versions {
    path: PathBuf,
    given: BTreeMap<TenantId, BTreeMap<String, u64>>,
}

impl Versions {
    fn open(data_dir: &Path) -> Result<Self, Diagnostics> {
        let path = data_dir.join("policy-versions.json");
        let given = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| about(&path.display().to_string(), error.to_string()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(about(&path.display().to_string(), error.to_string())),
        };
        Ok(Self { path, given })
    }

    fn number(&mut self, tenant: &TenantId, text: &str) -> u64 {
        let digest: String =
            Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let given = self.given.entry(tenant.clone()).or_default();
        let next = given.values().max().copied().unwrap_or(0).saturating_add(1);
        *given.entry(digest).or_insert(next)
    }

    fn save(&self) -> Result<(), Diagnostics> {
        let failed =
            |error: std::io::Error| about(&self.path.display().to_string(), error.to_string());
        let bytes = serde_json::to_vec_pretty(&self.given)
            .map_err(std::io::Error::other)
            .map_err(failed)?;
        crate::files::replace(&self.path, &bytes).map_err(failed)
    }
}
