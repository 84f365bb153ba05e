//! The store held against openraft's rules, crashes and failing disks, and nodes over real sockets.
//!
//! Not here: the ledger's rules (`ledger`). Invariant: every directory is real and lives for one test.

mod cluster;
mod crashes;
mod dice;
mod histories;
mod lead;
mod ram;
mod rescue;
pub(crate) mod sim;
mod suite;
mod transfer;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use crate::disk::{Identity, OnFatal};

pub(crate) fn identity() -> Identity {
    Identity { cluster: "eu-west-1".into(), node: 1 }
}

pub(crate) fn closed_dir() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    home
}

/// For where nothing may fail.
pub(crate) fn never() -> OnFatal {
    Arc::new(|fatal| panic!("{fatal}"))
}
