//! A one-time enrolment code: whoever brings it may set the key of one agent, once.
//!
//! Not here: drawing it (`control`). Invariant: the code itself is never held, only its SHA-256; it is drawn with 160 bits,
//! so its hash tells nothing and needs no salt.

use std::fmt;

use aegis_domain::{AgentId, TenantId, Timestamp, Ttl};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::listed::Listed;
use crate::{AgentName, instant};

/// SHA-256 over the code's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeHash([u8; 32]);

impl CodeHash {
    pub fn of(code: &str) -> Self {
        Self(Sha256::digest(code).into())
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl TryFrom<String> for CodeHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "a code's hash is base64url")?;
        bytes.try_into().map(Self).map_err(|_| "a code's hash has 32 bytes")
    }
}

impl From<CodeHash> for String {
    fn from(hash: CodeHash) -> String {
        hash.to_string()
    }
}

/// A code that was handed out and not spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    pub hash: CodeHash,
    pub tenant: TenantId,
    pub agent: AgentId,
    #[serde(with = "instant")]
    pub expires_at: Timestamp,
    /// For how long the key it replaces goes on counting.
    #[serde(with = "instant::length")]
    pub overlap: Ttl,
}

impl Code {
    pub fn agent_name(&self) -> AgentName {
        AgentName { tenant: self.tenant.clone(), id: self.agent.clone() }
    }
}

impl Listed for Code {
    type Name = CodeHash;

    fn name(&self) -> CodeHash {
        self.hash
    }
}
