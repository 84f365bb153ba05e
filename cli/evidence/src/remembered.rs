//! The registry heads that an auditor keeps from one run to the next, and those that witnesses vouch for.
//!
//! Not here: comparing a log with them (`audit/verify`). Invariant: what is kept is replaced whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aegis_audit_chain::note::split;
use aegis_audit_chain::{Head, Origin};
use aegis_audit_trust::Trust;

use crate::EvidenceError;
use crate::named::{self, SMALL_BYTES_MAX};

/// The heads an earlier run kept: checkpoints of three lines each. The first run has nothing to remember.
pub fn recall(path: &Path) -> Result<Vec<Head>, EvidenceError> {
    let text = match named::read("the remembered head", path, SMALL_BYTES_MAX) {
        Err(EvidenceError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        text => text?,
    };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let heads: Option<Vec<Head>> =
        lines.chunks(3).map(|head| Head::parse(&head.concat())).collect();
    match heads {
        Some(heads) if !heads.is_empty() => Ok(heads),
        _ => Err(EvidenceError::invalid(path.display().to_string(), "it holds no checkpoint")),
    }
}

/// Keeps the heads that a run read, and those of before for registries that it could not read. Written beside and renamed, so
/// that an interrupted run forgets nothing.
pub fn memorise(path: &Path, (before, read): (&[Head], &[Head])) -> Result<(), EvidenceError> {
    let mut heads = BTreeMap::<&Origin, &Head>::new();
    for head in before.iter().chain(read) {
        let kept = heads.entry(&head.origin).or_insert(head);
        if kept.size < head.size {
            *kept = head;
        }
    }
    if heads.is_empty() {
        return Ok(());
    }
    let heads: String = heads.into_values().map(Head::checkpoint).collect();
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let written = fs::write(&beside, heads).and_then(|()| fs::rename(&beside, path));
    written.map_err(EvidenceError::file("the folder of the remembered head", path))
}

/// The heads that `audit heads` printed: each by a log that is trusted, and cosigned by as many as the trust file asks for.
pub fn cosigned_heads(path: &Path, trust: &Trust) -> Result<Vec<Head>, EvidenceError> {
    let text = named::read("the heads", path, SMALL_BYTES_MAX)?;
    let name = path.display().to_string();
    let wrong = |why: String| EvidenceError::invalid(name.clone(), why);
    let mut heads = Vec::new();
    for note in notes(&text) {
        let origin = note.lines().next().unwrap_or_default();
        let log = trust.registries().find(|(known, _)| known.as_str() == origin);
        let (_, key) =
            log.ok_or_else(|| wrong(format!("the trust file does not name {origin}")))?;
        let opened = Head::open(&note, key).and_then(|head| Ok((head, split(&note)?)));
        let (head, (text, lines)) = opened.map_err(|why| wrong(format!("{origin}: {why}")))?;
        let seen = trust.witnessed(text, lines).map_err(|why| wrong(format!("{origin}: {why}")))?;
        if trust.asks_for_witnesses() && seen.is_none() {
            return Err(wrong(format!(
                "too few of the trust file's witnesses saw this head of {origin}"
            )));
        }
        heads.push(head);
    }
    if heads.is_empty() { Err(wrong("it holds no head".to_owned())) } else { Ok(heads) }
}

/// Notes that stand one behind the other, whatever is empty between them: only signature lines begin with a dash.
fn notes(text: &str) -> Vec<String> {
    let mut notes: Vec<String> = Vec::new();
    let mut is_signed = true;
    for line in text.split_inclusive('\n') {
        let is_signature = line.starts_with('\u{2014}');
        match notes.last_mut() {
            Some(note) if is_signature || !is_signed => note.push_str(line),
            Some(_) | None if line.trim().is_empty() => continue,
            Some(_) | None => notes.push(line.to_owned()),
        }
        is_signed = is_signature;
    }
    notes
}

#[cfg(test)]
mod tests {
    use aegis_audit_chain::Hash;

    use super::*;

    #[test]
    fn notes_one_behind_the_other_are_told_apart() {
        let one = "a/b/c/1\n1\nroot\n\n\u{2014} a x\n\u{2014} w y\n";
        let other = "a/b/d/1\n2\nroot\n\n\u{2014} a z\n";
        assert_eq!(notes(&format!("{one}{other}")), [one, other]);
        assert_eq!(notes(&format!("{one}\n{other}\n")), [one, other]);
        assert!(notes("").is_empty());
    }

    fn head(registry: &str, size: u64) -> Head {
        let origin = Origin::parse(&format!("a.example/eu-west-1/registry.{registry}/1")).unwrap();
        Head { origin, size, root: Hash::of(b"root") }
    }

    #[test]
    fn what_a_run_could_not_read_is_not_forgotten_and_nothing_kept_becomes_smaller() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("heads");
        let keep = |read: &[Head]| {
            let before = recall(&path).unwrap();
            memorise(&path, (&before, read)).unwrap();
            recall(&path).unwrap()
        };
        assert_eq!(keep(&[head("gw-1", 5), head("gw-2", 7)]), [head("gw-1", 5), head("gw-2", 7)]);
        assert_eq!(keep(&[head("gw-1", 6)]), [head("gw-1", 6), head("gw-2", 7)]);
        assert_eq!(keep(&[head("gw-2", 3)]), [head("gw-1", 6), head("gw-2", 7)]);
        assert_eq!(keep(&[]), [head("gw-1", 6), head("gw-2", 7)]);
    }
}
