//! `Cargo.lock` against the RustSec advisory database, without a network and without a tool to install.
//!
//! Not here: licences, bans and sources (`deny.toml`, for those who have cargo-deny). Both read the one list of accepted
//! advisories in `deny.toml`.
//! Invariant: an advisory passes only with a written reason, and a reason that no longer excuses anything is a finding.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use semver::{Version, VersionReq};
use serde::Deserialize;

use crate::finding::Finding;

const LOCK: &str = "Cargo.lock";
const DENY: &str = "deny.toml";
const ARCHIVE: &str = "rustsec-advisory-db/advisory-db.tar.gz";

pub(crate) const HOW_TO_GET: &str = "\
xtask advisories: skipped: no advisory database here; get one with
  git clone --depth 1 https://github.com/rustsec/advisory-db
  cargo xtask advisories advisory-db";

pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    pub(crate) summary: String,
}

/// One advisory: front matter of a Markdown file, TOML in a fence.
#[derive(Deserialize)]
struct Advisory {
    advisory: About,
    versions: Versions,
}

#[derive(Deserialize)]
struct About {
    id: String,
    package: String,
    /// `unmaintained`, `unsound` or `notice`; a vulnerability has none.
    informational: Option<String>,
    withdrawn: Option<toml::Value>,
}

#[derive(Deserialize)]
struct Versions {
    #[serde(default)]
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: Version,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Deny {
    advisories: Accepted,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    ignore: Vec<Excuse>,
}

#[derive(Deserialize)]
struct Excuse {
    id: String,
    reason: String,
}

/// The database named, or the one beside the repository.
pub(crate) fn locate(root: &Path, named: Option<&Path>) -> Option<PathBuf> {
    if let Some(named) = named {
        return Some(named.to_owned());
    }
    let beside = std::env::var_os("AEGIS_CORPORA").map(PathBuf::from);
    [beside, Some(root.join("../shared/corpora"))]
        .into_iter()
        .flatten()
        .map(|corpora| corpora.join(ARCHIVE))
        .find(|archive| archive.is_file())
}

pub(crate) fn check(root: &Path, database: &Path) -> anyhow::Result<Verdict> {
    let advisories =
        if database.is_dir() { read_folder(database)? } else { read_archive(database)? };
    let lock = fs::read_to_string(root.join(LOCK)).context(LOCK)?;
    let deny = fs::read_to_string(root.join(DENY)).context(DENY)?;
    let count = advisories.len();
    anyhow::ensure!(count > 0, "{} holds no advisory", database.display());
    let findings = judge(&advisories, &lock, &deny)?;
    Ok(Verdict { findings, summary: format!("{count} advisories") })
}

fn judge(advisories: &[Advisory], lock: &str, deny: &str) -> anyhow::Result<Vec<Finding>> {
    let locked: Lock = toml::from_str(lock).context(LOCK)?;
    let accepted = toml::from_str::<Deny>(deny).context(DENY)?.advisories.ignore;
    let mut unused: BTreeMap<&str, &Excuse> =
        accepted.iter().map(|excuse| (excuse.id.as_str(), excuse)).collect();
    let mut findings = Vec::new();
    for package in locked.package.iter().filter(|package| package.source.is_some()) {
        for advisory in advisories.iter().filter(|advisory| advisory.concerns(package)) {
            let id = advisory.advisory.id.as_str();
            if accepted.iter().any(|excuse| excuse.id == id) {
                unused.remove(id);
            } else {
                findings.push(advisory.finding(package, lock));
            }
        }
    }
    findings.extend(unused.into_keys().map(|id| Finding {
        file: DENY.into(),
        line: line_of(deny, id),
        problem: format!("{id} is excused but concerns nothing in {LOCK}"),
        cure: "remove it".into(),
    }));
    let silent = accepted.iter().filter(|excuse| excuse.reason.trim().is_empty());
    findings.extend(silent.map(|excuse| Finding {
        file: DENY.into(),
        line: line_of(deny, &excuse.id),
        problem: format!("{} is excused without a reason", excuse.id),
        cure: "write why it cannot hurt here".into(),
    }));
    Ok(findings)
}

impl Advisory {
    fn parse(markdown: &str) -> anyhow::Result<Self> {
        let (_, rest) = markdown.split_once("```toml\n").context("no TOML block")?;
        let (front, _) = rest.split_once("```").context("TOML block is not closed")?;
        Ok(toml::from_str(front)?)
    }

    fn concerns(&self, package: &Locked) -> bool {
        let fine = |reqs: &[VersionReq]| reqs.iter().any(|req| req.matches(&package.version));
        self.advisory.withdrawn.is_none()
            && self.advisory.package == package.name
            && !fine(&self.versions.patched)
            && !fine(&self.versions.unaffected)
    }

    fn finding(&self, package: &Locked, lock: &str) -> Finding {
        let kind = self.advisory.informational.as_deref().unwrap_or("vulnerable");
        let patched: Vec<_> = self.versions.patched.iter().map(VersionReq::to_string).collect();
        let cure = match patched.as_slice() {
            [] => "replace it".to_owned(),
            some => format!("update to {}", some.join(" or ")),
        };
        let id = &self.advisory.id;
        Finding {
            file: LOCK.into(),
            line: line_of(
                lock,
                &format!("name = \"{}\"\nversion = \"{}\"", package.name, package.version),
            ),
            problem: format!("{} {} is {kind} ({id})", package.name, package.version),
            cure: format!(
                "{cure}, or excuse it with a reason in {DENY}: https://rustsec.org/advisories/{id}"
            ),
        }
    }
}

fn line_of(text: &str, needle: &str) -> usize {
    let before = text.find(needle).and_then(|at| text.get(..at)).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}

fn read_archive(archive: &Path) -> anyhow::Result<Vec<Advisory>> {
    let file = fs::File::open(archive).with_context(|| archive.display().to_string())?;
    let mut unpacked = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let mut found = Vec::new();
    for entry in unpacked.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if is_advisory(&path) {
            let mut markdown = String::new();
            entry.read_to_string(&mut markdown)?;
            found.push(Advisory::parse(&markdown).with_context(|| path.display().to_string())?);
        }
    }
    Ok(found)
}

fn read_folder(database: &Path) -> anyhow::Result<Vec<Advisory>> {
    let mut found = Vec::new();
    let crates = database.join("crates");
    for krate in fs::read_dir(&crates).with_context(|| crates.display().to_string())? {
        for entry in fs::read_dir(krate?.path())? {
            let path = entry?.path();
            if is_advisory(&path) {
                let markdown = fs::read_to_string(&path)?;
                found.push(Advisory::parse(&markdown).with_context(|| path.display().to_string())?);
            }
        }
    }
    Ok(found)
}

/// `crates/<name>/<id>.md`; the `rust` folder beside it is about the toolchain.
fn is_advisory(path: &Path) -> bool {
    let of_a_crate = path.iter().any(|part| part == "crates");
    of_a_crate && path.extension().is_some_and(|extension| extension == "md")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED: &str = "version = 4\n\n[[package]]\nname = \"bad\"\nversion = \"1.2.0\"\nsource = \
                          \"registry+https://github.com/rust-lang/crates.io-index\"\n";

    fn advisory(extra: &str, versions: &str) -> Vec<Advisory> {
        let text = format!(
            "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"bad\"\n{extra}\n\
             [versions]\n{versions}\n```\n# Bad\n"
        );
        vec![Advisory::parse(&text).unwrap()]
    }

    fn problems(advisories: &[Advisory], excuses: &str) -> Vec<String> {
        let deny = format!("[advisories]\nignore = [{excuses}]\n");
        judge(advisories, LOCKED, &deny).unwrap().iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_vulnerable_version_fails_with_its_line_and_cure() {
        let found = problems(&advisory("", "patched = [\">= 1.2.1\"]"), "");
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("Cargo.lock:4: bad 1.2.0 is vulnerable"), "{}", found[0]);
        assert!(found[0].contains("update to >=1.2.1"), "{}", found[0]);
    }

    #[test]
    fn an_unmaintained_crate_fails_until_someone_says_why_it_stays() {
        let advisories = advisory("informational = \"unmaintained\"", "patched = []");
        assert!(problems(&advisories, "")[0].contains("is unmaintained"));
        let excuse = "{ id = \"RUSTSEC-2026-9999\", reason = \"only at build time\" }";
        assert!(problems(&advisories, excuse).is_empty());
        let silent = "{ id = \"RUSTSEC-2026-9999\", reason = \" \" }";
        assert!(problems(&advisories, silent)[0].contains("without a reason"));
    }

    #[test]
    fn patched_unaffected_and_withdrawn_advisories_pass() {
        for (extra, versions) in [
            ("", "patched = [\"^1.2.0\"]"),
            ("", "patched = [\">= 2\"]\nunaffected = [\"< 1.3\"]"),
            ("withdrawn = \"2026-01-01\"", "patched = []"),
        ] {
            assert!(problems(&advisory(extra, versions), "").is_empty(), "{versions}");
        }
    }

    #[test]
    fn an_excuse_that_excuses_nothing_fails() {
        let excuse = "{ id = \"RUSTSEC-2020-0001\", reason = \"gone\" }";
        let found = problems(&[], excuse);
        assert!(found[0].starts_with("deny.toml:2: RUSTSEC-2020-0001"), "{}", found[0]);
    }

    #[test]
    fn an_archive_and_a_folder_read_the_same() {
        let home = tempfile::tempdir().unwrap();
        let text = "```toml\n[advisory]\nid = \"RUSTSEC-2026-9999\"\npackage = \"bad\"\n[versions]\npatched = []\n```\n";
        let folder = home.path().join("db/crates/bad");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("RUSTSEC-2026-9999.md"), text).unwrap();
        let archive = home.path().join("db.tar.gz");
        let gzip = flate2::write::GzEncoder::new(
            fs::File::create(&archive).unwrap(),
            flate2::Compression::fast(),
        );
        let mut tar = tar::Builder::new(gzip);
        tar.append_dir_all("db", home.path().join("db")).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        let ids = |found: Vec<Advisory>| {
            found.into_iter().map(|advisory| advisory.advisory.id).collect::<Vec<_>>()
        };
        let from_folder = ids(read_folder(&home.path().join("db")).unwrap());
        assert_eq!(from_folder, ["RUSTSEC-2026-9999"]);
        assert_eq!(ids(read_archive(&archive).unwrap()), from_folder);
    }
}
