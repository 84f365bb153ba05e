//! The embedded home against the suite that every home must pass, relaxed and strict.
//!
//! Not here: crashes (`embedded_crash`). Invariant: each test has a directory of its own.

use crate::conformance::{each_alone, hot_state_cases};
use aegis_state_embedded::{Durability, EmbeddedConfig, EmbeddedState};

struct Embedded {
    state: EmbeddedState,
    _directory: tempfile::TempDir,
}

impl std::ops::Deref for Embedded {
    type Target = EmbeddedState;
    fn deref(&self) -> &EmbeddedState {
        &self.state
    }
}

fn fresh(durability: Durability) -> Option<Embedded> {
    let directory = tempfile::tempdir().unwrap();
    // Small enough that the longer cases go through several compactions.
    let config = EmbeddedConfig {
        durability,
        compact_bytes: 16 << 10,
        ..EmbeddedConfig::new(directory.path().into())
    };
    Some(Embedded { state: EmbeddedState::open(config).unwrap(), _directory: directory })
}

mod relaxed {
    use super::*;
    hot_state_cases!(each_alone, fresh(Durability::Relaxed));
}

mod strict {
    use super::*;
    hot_state_cases!(each_alone, fresh(Durability::Strict));
}
