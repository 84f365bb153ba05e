//! The policy language as people write it, typed.

use crate::document::{Diagnostics, Document};

/// A tenant's policy for one environment.
#[derive(Clone, Debug)]
pub struct PolicySet {}

impl PolicySet {
    pub fn parse(_documents: &[Document]) -> Result<Self, Diagnostics> {
        Ok(Self {})
    }
}
