//! One immutable, hashed policy version.

use aegis_domain::{EgressCall, PolicyRef, TenantId, ToolName};

use crate::document::{Diagnostics, Document};
use crate::evaluation::{EngineError, PolicyInput, PolicyOutcome, ToolInfo};
use crate::source::PolicySet;

/// What a compilation needs beside the source.
#[derive(Clone, Copy, Debug)]
pub struct CompileContext {
    /// The number that Raft gave this version.
    pub version: u64,
}

/// One compiled policy version: share it in an `Arc`, evaluate it from any thread.
#[derive(Debug)]
pub struct Snapshot {
    policy_ref: PolicyRef,
    tenant: TenantId,
}

/// One file of a bundle; names are relative, without `./`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleFile {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Snapshot {
    pub fn compile(documents: &[Document], ctx: CompileContext) -> Result<Self, Diagnostics> {
        Self::of(&PolicySet::parse(documents)?, ctx)
    }
    /// Compiles a set that was parsed before, so that its tests can be run as well.
    pub fn of(_set: &PolicySet, _ctx: CompileContext) -> Result<Self, Diagnostics> {
        Err(Diagnostics::default())
    }
    pub fn policy_ref(&self) -> &PolicyRef {
        &self.policy_ref
    }
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    pub fn bundle_files(&self) -> &[BundleFile] {
        &[]
    }
    pub fn tools(&self) -> impl Iterator<Item = &ToolInfo> {
        [].into_iter()
    }
    pub fn tool(&self, _name: &ToolName) -> Option<&ToolInfo> {
        None
    }
    pub fn resolve(&self, _call: &EgressCall) -> Option<&ToolName> {
        None
    }
    pub fn path_params(&self, _tool: &ToolName, _path: &str) -> Vec<(String, String)> {
        Vec::new()
    }
    pub fn evaluate(&self, _input: &PolicyInput<'_>) -> Result<PolicyOutcome, EngineError> {
        Err(EngineError::Undefined)
    }
}
