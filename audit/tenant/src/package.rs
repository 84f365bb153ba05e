//! What is in a package.
//!
//! Not here: its form as a file (`text`). Invariant: nothing in it is believed before `check` has held it against keys that the
//! package does not bring.

use aegis_audit_chain::roster::{Line, Reach};
use aegis_audit_chain::{Hash, Origin};
use aegis_domain::TenantId;

/// Everything a region's logs hold of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    pub tenant: TenantId,
    pub registries: Vec<RegistryPart>,
}

/// One registry, and each of its streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryPart {
    pub origin: Origin,
    /// All its records up to its newest signed head: births, heads and ends of streams, and nothing of any call.
    pub records: Vec<Vec<u8>>,
    pub streams: Vec<StreamPart>,
}

/// The tenant's part of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPart {
    pub origin: Origin,
    /// The size of the signed head that everything here is proven under; zero where none was signed.
    pub size: u64,
    /// The tenant's records, in order.
    pub records: Vec<Vec<u8>>,
    /// The hashes that lead from these to the head's root.
    pub path: Vec<Hash>,
    pub standing: Standing,
    /// The hashes that lead from the lines of `standing` to the roster's root.
    pub roster: Vec<Hash>,
}

/// What the head's roster says of the tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has a line, at this place.
    Present { index: u64, reach: Reach },
    /// It has none: the lines on both sides of where it would be.
    Absent(Vec<(u64, Line)>),
}
