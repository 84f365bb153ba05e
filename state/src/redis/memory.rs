//! What a gateway remembers of each tenant's data, so that it can tell them from others, older ones or none.
//!
//! Not here: the comparison, which is one step with the rest (`scripts/attach.lua`). Invariant: a file that cannot be
//! read is an error, not an empty memory: forgetting would make a flushed server look new.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aegis_domain::TenantId;

use crate::StateError;

/// The data of one tenant as last seen: which they are, and how far they had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) beat_ms: u64,
}

#[derive(Debug)]
pub(super) struct Memory {
    path: Option<PathBuf>,
}

impl Memory {
    /// Reads what an earlier life left behind.
    pub(super) fn open(
        path: Option<PathBuf>,
    ) -> Result<(Self, BTreeMap<TenantId, Known>), StateError> {
        let io = |source| StateError::Io { what: "read the memory of the shared state", source };
        let text = match &path {
            None => String::new(),
            Some(path) => match fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(io(error)),
            },
        };
        let known = text.lines().map(parse).collect::<Option<_>>();
        let damaged = StateError::Damaged { what: "the memory of the shared state" };
        Ok((Self { path }, known.ok_or(damaged)?))
    }

    pub(super) fn keep<'a>(
        &self,
        all: impl IntoIterator<Item = (&'a TenantId, Known)>,
    ) -> Result<(), StateError> {
        let Some(path) = &self.path else { return Ok(()) };
        let mut text = String::new();
        for (tenant, Known { id, beat_ms }) in all {
            if !id.is_empty() {
                text.push_str(&format!("{tenant} {id} {beat_ms}\n"));
            }
        }
        replace(path, &text).map_err(|source| StateError::Io {
            what: "write the memory of the shared state",
            source,
        })
    }
}

fn parse(line: &str) -> Option<(TenantId, Known)> {
    let mut words = line.split(' ');
    let tenant = TenantId::parse(words.next()?).ok()?;
    let id = words.next()?.to_owned();
    let beat_ms = words.next()?.parse().ok()?;
    words.next().is_none().then_some((tenant, Known { id, beat_ms }))
}

/// Old or new, never half; after a power cut the old one is as good, for it only accepts a little more.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_back_and_damage_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("known");
        let tenant = TenantId::parse("acme").unwrap();
        let known = Known { id: "a1".to_owned(), beat_ms: 7 };
        let (memory, empty) = Memory::open(Some(path.clone())).unwrap();
        assert!(empty.is_empty());
        memory.keep([(&tenant, known.clone())]).unwrap();
        let (_, read) = Memory::open(Some(path.clone())).unwrap();
        assert_eq!(read, BTreeMap::from([(tenant, known)]));
        fs::write(&path, "acme a1\n").unwrap();
        assert!(matches!(Memory::open(Some(path)), Err(StateError::Damaged { .. })));
    }
}
