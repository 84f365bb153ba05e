//! The registry's leaves, read off its files for one consistency proof.
//!
//! Not here: what the proof is for (`ask`). Invariant: memory holds the leaves after the old head, not those before it.

use std::io;
use std::path::PathBuf;

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::tree::{Frontier, growth_proof};
use aegis_audit_chain::{Hash, Head, Origin};
use aegis_audit_ship::{StreamReader, Wants, resumed_tree};

/// Where the registry's files lie.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) dir: PathBuf,
    pub(crate) registry: Origin,
    /// The key of its heads, and of its resume points.
    pub(crate) key: Verifier,
}

impl Files {
    fn leaves(&self, (from, size): (u64, u64), each: &mut dyn FnMut(Hash)) -> io::Result<()> {
        let mut reader = StreamReader::new(&self.dir, self.registry.clone(), from);
        reader.read(size, &mut |_, record| {
            each(Hash::leaf(record));
            Wants::More
        })
    }
}

/// The right edge of the registry at some size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge(Frontier);

impl Edge {
    /// Reads the registry up to a size, from the resume point before it; `None` when its files do not reach that far.
    pub(crate) fn read(files: &Files, size: u64) -> io::Result<Option<Self>> {
        let mut edge = Self(resumed_tree(&files.dir, &files.key, size)?);
        files.leaves((edge.size(), size), &mut |leaf| edge.0.push(leaf))?;
        Ok((edge.0.size() == size).then_some(edge))
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.size()
    }

    /// Proves that `head` extends this edge, and moves on to it; `None` when the files do not say so.
    pub(crate) fn grow(&mut self, files: &Files, head: &Head) -> io::Result<Option<Vec<Hash>>> {
        if self.size() == 0 {
            // Whoever has seen nothing is shown no proof.
            let whole = Self::read(files, head.size)?.filter(|edge| edge.0.root() == head.root);
            return Ok(whole.map(|edge| {
                *self = edge;
                Vec::new()
            }));
        }
        let mut newer = Vec::new();
        files.leaves((self.size(), head.size), &mut |leaf| newer.push(leaf))?;
        let proof = growth_proof(&self.0, &newer);
        let mut grown = self.0.clone();
        newer.into_iter().for_each(|leaf| grown.push(leaf));
        if (grown.size(), grown.root()) != (head.size, head.root) {
            return Ok(None);
        }
        self.0 = grown;
        Ok(proof)
    }
}
