//! What the packs do to published agent suites: how much of the work they let through, how many of the attacks they stop.
//!
//! Not here: the packs (`policies/packs`) and what each suite's functions are to them (`policies/cases/rates`).
//! Invariant: the suites are read where they lie and judged as they are; what a policy knows is what a tenant's administrator
//! knows before the first call, never what an attack says.

mod corpus;
mod measure;
mod report;
mod tenant;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

pub use measure::{Judge, Measure, Tally};
pub use report::{exceptions, table};

use measure::Bench;
use tenant::Tenant;

/// One suite, judged by a pack and by the two controls.
#[derive(Clone, Debug)]
pub struct Rates {
    pub suite: String,
    pub pack: String,
    pub measures: Vec<Measure>,
    /// The attacks are not the suite's own.
    derived: bool,
    why: BTreeMap<String, String>,
}

impl Rates {
    pub fn of_pack(&self) -> Option<&Measure> {
        self.measures.iter().find(|measure| measure.judge == Judge::Pack)
    }
}

/// The suites' folder: `AEGIS_CORPORA`, or beside the repository; `None` where there is none.
pub fn corpora(root: &Path) -> Option<PathBuf> {
    let named = std::env::var_os("AEGIS_CORPORA").map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root.join("../shared/corpora"));
    folder.join("agentdojo").is_dir().then_some(folder)
}

/// Measures every tenant of `policies/cases/rates`.
pub fn measure(root: &Path, corpora: &Path) -> anyhow::Result<Vec<Rates>> {
    let folder = root.join("policies/cases/rates");
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<PathBuf>>>()?;
    files.sort();
    files.iter().map(|file| of_tenant(root, corpora, file)).collect()
}

fn of_tenant(root: &Path, corpora: &Path, file: &Path) -> anyhow::Result<Rates> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let tenant = Tenant::parse(&file.display().to_string(), &read(file)?)?;
    let pack = root.join("policies/packs").join(format!("{}.yaml", tenant.pack));
    let bench = Bench::new(&tenant, &read(&pack)?)?;
    let tasks = tenant.suite.read(corpora)?;
    let judges = [Judge::Pack, Judge::AllowAll, Judge::DenyAll];
    let measures = judges.into_iter().map(|judge| bench.measure(&tasks, judge));
    Ok(Rates {
        suite: tenant.suite.title(),
        measures: measures.collect::<anyhow::Result<_>>().with_context(|| tenant.pack.clone())?,
        derived: tenant.stranger.is_some(),
        pack: tenant.pack,
        why: tenant.why,
    })
}
