//! One stream as tiles of hashes and bundles of entries (<https://c2sp.org/tlog-tiles>), for other people's verifiers.
//!
//! Not here: HTTP (`serve`), reading a stream (`groups`). Invariant: every tile is part of the tree under the checkpoint that is
//! served beside it, because a group that is read again is held against the root that was kept of it.

use aegis_audit_chain::segment::push_entry;
use aegis_audit_chain::source::LogSource;
use aegis_audit_chain::{Hash, Head, tree};

use crate::EvidenceError;
use crate::groups::{Groups, WIDTH};

/// A tree of 64-bit size has no higher tiles.
const LEVEL_MAX: u32 = 7;

/// A stream up to a signed head.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) head: Head,
    /// The head as a signed note.
    pub(crate) checkpoint: String,
    pub(crate) groups: Groups,
}

/// What is asked for, below a log's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Checkpoint,
    Tile { level: u32, index: u64, width: u64 },
    Entries { index: u64, width: u64 },
}

impl Asked {
    /// `checkpoint`, `tile/<level>/<index>[.p/<width>]` or `tile/entries/<index>[.p/<width>]`.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        if path == "checkpoint" {
            return Some(Self::Checkpoint);
        }
        let (kind, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => {
                (index, number(width).filter(|width| (1..WIDTH).contains(width))?)
            }
            None => (rest, WIDTH),
        };
        let index = parse_index(index)?;
        match kind {
            "entries" => Some(Self::Entries { index, width }),
            level => {
                let level =
                    u32::try_from(number(level)?).ok().filter(|level| *level <= LEVEL_MAX)?;
                Some(Self::Tile { level, index, width })
            }
        }
    }
}

/// Three digits an element, all but the last after an `x`.
fn parse_index(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split('/').collect();
    let (last, before) = parts.split_last()?;
    let digits = before.iter().map(|part| part.strip_prefix('x')).chain([Some(*last)]);
    let mut index = 0_u64;
    for part in digits {
        let part =
            part.filter(|part| part.len() == 3 && part.bytes().all(|it| it.is_ascii_digit()))?;
        index = index.checked_mul(1_000)?.checked_add(part.parse().ok()?)?;
    }
    // One index has one path.
    (before.is_empty() || before.first() != Some(&"x000")).then_some(index)
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

impl View {
    /// The bytes asked for; `None` where the tree has no such tile, or not that many in it.
    pub(crate) fn answer(
        &self,
        source: &dyn LogSource,
        asked: Asked,
    ) -> Result<Option<Vec<u8>>, EvidenceError> {
        match asked {
            Asked::Checkpoint => Ok(Some(self.checkpoint.clone().into_bytes())),
            Asked::Tile { level: 0, index, width } => {
                let Some(records) = self.groups.read(source, &self.head, (index, width))? else {
                    return Ok(None);
                };
                Ok(Some(records.iter().flat_map(|it| *Hash::leaf(it).as_bytes()).collect()))
            }
            Asked::Tile { level, index, width } => Ok(self.tile(level, (index, width))),
            Asked::Entries { index, width } => {
                let Some(records) = self.groups.read(source, &self.head, (index, width))? else {
                    return Ok(None);
                };
                let mut bytes = Vec::new();
                records.iter().for_each(|it| push_entry(&mut bytes, it));
                Ok(Some(bytes))
            }
        }
    }

    /// A tile above the leaves, out of the groups' roots.
    fn tile(&self, level: u32, (index, width): (u64, u64)) -> Option<Vec<u8>> {
        // Only whole subtrees have a place in a tile.
        let whole = usize::try_from(self.head.size / WIDTH).ok()?;
        let roots = self.groups.roots().get(..whole)?;
        let span = usize::try_from(WIDTH.checked_pow(level.checked_sub(1)?)?).ok()?;
        let first = usize::try_from(index.checked_mul(WIDTH)?).ok()?;
        let mut bytes = Vec::new();
        for at in first..first.checked_add(usize::try_from(width).ok()?)? {
            let begin = at.checked_mul(span)?;
            let below = roots.get(begin..begin.checked_add(span)?)?;
            bytes.extend_from_slice(tree::root(below).as_bytes());
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let tile = |level, index, width| Some(Asked::Tile { level, index, width });
        assert_eq!(Asked::parse("tile/0/000"), tile(0, 0, 256));
        assert_eq!(Asked::parse("tile/1/x001/x234/067"), tile(1, 1_234_067, 256));
        assert_eq!(Asked::parse("tile/2/003.p/17"), tile(2, 3, 17));
        let entries = Some(Asked::Entries { index: 2, width: 255 });
        assert_eq!(Asked::parse("tile/entries/002.p/255"), entries);
        for bad in [
            "",
            "tile",
            "tile/0/0",
            "tile/0/x000/001",
            "tile/0/1000",
            "tile/00/000",
            "tile/8/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/-1/000",
            "../checkpoint",
        ] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }
}
