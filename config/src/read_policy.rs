//! Where a tenant's policy comes from, as people write it: files, or what its region releases.
//!
//! Not here: reading policies (`policies/store`). Invariant: a tenant has one of the two, never both.

use std::path::PathBuf;

use aegis_document::{Node, Problems};
use aegis_ledger::Environment;
use aegis_policy_rollout::Share;

use crate::read_tool::Folder;
use crate::{CandidateFiles, PolicyFiles, PolicySource};

pub(super) fn policy(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<PolicySource> {
    let mut map = node.mapping(problems)?;
    if map.get("release").is_some() {
        let environment = map.required("release", problems, environment);
        map.finish(problems);
        return environment.map(PolicySource::Release);
    }
    let enforce = map.required("enforce", problems, |n, p| files(n, p, folder));
    let candidate = map.optional("candidate", problems, |node, problems| {
        let mut map = node.mapping(problems)?;
        let files = map.required("files", problems, |n, p| files(n, p, folder));
        let agents = map.optional("agents", problems, Node::parsed::<Share>);
        let sample = map.optional("sample", problems, Node::parsed::<Share>);
        map.finish(problems);
        Some(CandidateFiles {
            files: files?,
            agents: agents.unwrap_or(Share::NONE),
            sample: sample.unwrap_or(Share::ALL),
        })
    });
    map.finish(problems);
    Some(PolicySource::Files(PolicyFiles { enforce: enforce?, candidate }))
}

fn environment(node: &Node, problems: &mut Problems) -> Option<Environment> {
    let read = Environment::try_from(node.text(problems)?);
    read.map_err(|error| problems.report(node.position(), error)).ok()
}

/// One file, or a list of files that make one set.
fn files(node: &Node, problems: &mut Problems, folder: &Folder) -> Option<Vec<PathBuf>> {
    if node.as_text().is_some() {
        return folder.path(node, problems).map(|path| vec![path]);
    }
    let files = node.list(problems, |node, problems| folder.path(node, problems))?;
    if files.is_empty() {
        problems.report(node.position(), "at least one file must be named");
    }
    Some(files)
}
