//! The workspace as the checks see it: its crates, what they depend on, and their Rust files.
//!
//! Not here: rules. Invariant: reading never writes, never builds and never asks the network.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use crate::source::Source;

pub(crate) struct Tree {
    pub(crate) root: std::path::PathBuf,
    pub(crate) crates: Vec<Crate>,
}

pub(crate) struct Crate {
    /// Folder relative to the root, with `/`: `policies/engine`.
    pub(crate) dir: String,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) sources: Vec<Source>,
}

/// A direct dependency that ends up in what users run; dev-dependencies are left out.
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// The folder of one of our own crates.
    pub(crate) ours: Option<String>,
}

impl Tree {
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let metadata = metadata(folder)?;
        let root = metadata.workspace_root.as_std_path();
        let mut crates = metadata
            .packages
            .iter()
            .map(|package| read_crate(root, package))
            .collect::<anyhow::Result<Vec<_>>>()?;
        crates.sort_by(|a, b| a.dir.cmp(&b.dir));
        Ok(Self { root: root.to_owned(), crates })
    }
}

/// The workspace's root folder.
pub(crate) fn root(folder: &Path) -> anyhow::Result<std::path::PathBuf> {
    Ok(metadata(folder)?.workspace_root.into_std_path_buf())
}

fn metadata(folder: &Path) -> anyhow::Result<cargo_metadata::Metadata> {
    let mut command = MetadataCommand::new();
    command.current_dir(folder).no_deps().other_options(["--offline".to_owned()]);
    command.exec().context("cargo metadata")
}

fn read_crate(root: &Path, package: &Package) -> anyhow::Result<Crate> {
    let folder = package.manifest_path.parent().context("a manifest without a folder")?;
    let dependencies = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| Dependency {
            name: dependency.name.clone(),
            ours: dependency.path.as_ref().map(|path| relative(root, path.as_std_path())),
        })
        .collect();
    let mut sources = Vec::new();
    collect(root, folder.as_std_path(), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Crate { dir: relative(root, folder.as_std_path()), dependencies, sources })
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // A crate below a crate is counted by itself.
        let is_crate = path.join("Cargo.toml").exists();
        if path.is_dir() && !is_crate && !name.starts_with('.') && name != "target" {
            collect(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push(Source::parse(relative(root, &path), text)?);
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

/// Small workspaces for the tests of the checks.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// Writes the files and reads them as a workspace; each crate is `(dir, [dependencies] lines)`.
    pub(crate) fn tree(
        crates: &[(&str, &str)],
        files: &[(&str, &str)],
    ) -> (tempfile::TempDir, Tree) {
        let home = tempfile::tempdir().unwrap();
        let members: Vec<_> = crates.iter().map(|(dir, _)| format!("\"{dir}\"")).collect();
        let root = format!("[workspace]\nresolver = \"3\"\nmembers = [{}]\n", members.join(","));
        fs::write(home.path().join("Cargo.toml"), root).unwrap();
        fs::write(home.path().join("clippy.pure.toml"), "x = 1\n").unwrap();
        for (dir, dependencies) in crates {
            let name = dir.replace('/', "-");
            let manifest = format!(
                "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n{dependencies}\n\
                 [lints]\nworkspace = true\n"
            );
            fs::create_dir_all(home.path().join(dir).join("src")).unwrap();
            fs::write(home.path().join(dir).join("Cargo.toml"), manifest).unwrap();
            fs::write(home.path().join(dir).join("src/lib.rs"), "//! A.\n//! B.\n//! C.\n")
                .unwrap();
            fs::write(home.path().join(dir).join("clippy.toml"), "x = 1\n").unwrap();
        }
        for (path, text) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let manifest = home.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap() + "[workspace.lints]\n";
        fs::write(&manifest, text).unwrap();
        let tree = Tree::read(home.path()).unwrap();
        (home, tree)
    }
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn the_files_of_a_crate_below_a_crate_are_its_own() {
        let (_home, tree) = sample::tree(&[("cli", ""), ("cli/region", "")], &[]);
        let files = |dir: &str| tree.crates.iter().find(|it| it.dir == dir).unwrap().sources.len();
        assert_eq!((files("cli"), files("cli/region")), (1, 1));
    }
}
