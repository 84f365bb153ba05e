//! What a region says of a tenant's tools and limits, as the text that people write.
//!
//! Not here: what the text means (`config`), and whether a gateway may do it. Invariant: a text is kept byte for byte as its
//! author wrote it, so that a message about a line names the line its author sees.

use aegis_domain::{TenantId, Timestamp, ToolName};
use serde::{Deserialize, Serialize};

use crate::listed::Listed;
use crate::{Actor, instant};

const TEXT_BYTES_MAX: usize = 16 * 1_024;

/// One definition of the region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    pub of: Defined,
    pub text: DefinitionText,
    /// Who defined it last, and when.
    pub by: Actor,
    #[serde(with = "instant")]
    pub at: Timestamp,
    /// The serial of the event that last changed it.
    pub changed: u64,
}

impl Listed for Definition {
    type Name = Defined;

    fn name(&self) -> Defined {
        self.of.clone()
    }
}

/// What is defined. In order, what one tenant has lies together, its limits before its tools.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defined {
    pub tenant: TenantId,
    pub part: Part,
}

/// Which part of a tenant it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    Limits,
    Tool(ToolName),
}

/// A mapping in YAML, as below a tool or the limits of a tenant in `aegis.yaml`: 1 byte to 16 KiB, and no control character
/// but the line's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DefinitionText(Box<str>);

/// The text is no definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a definition is 1 to {TEXT_BYTES_MAX} bytes without control characters but the line's end"
)]
pub struct DefinitionTextError;

impl DefinitionText {
    pub fn parse(text: &str) -> Result<Self, DefinitionTextError> {
        // A control character takes six bytes in a snapshot, and shows in no editor.
        let is_strange = |char: char| char.is_control() && char != '\n';
        if (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(is_strange) {
            Ok(Self(text.into()))
        } else {
            Err(DefinitionTextError)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DefinitionText {
    type Error = DefinitionTextError;
    fn try_from(text: String) -> Result<Self, DefinitionTextError> {
        Self::parse(&text)
    }
}

impl From<DefinitionText> for String {
    fn from(text: DefinitionText) -> String {
        text.0.into()
    }
}
