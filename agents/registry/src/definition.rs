//! What a region says of a tenant's tools and limits, as the text that people write.
//!
//! Not here: what the text means (`config`), and whether a gateway may do it. Invariant: a text is kept byte for byte as its
//! author wrote it, so that a message about a line names the line its author sees.

use std::collections::BTreeMap;

use aegis_domain::{TenantId, Timestamp, ToolName};
use serde::{Deserialize, Serialize};

use crate::listed::{self, Listed, file};
use crate::{Actor, Change, Event, RegistryError, instant};

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

/// All that a region defines, as gateways follow it beside the registry's view.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definitions {
    /// The number of the registry's last event.
    pub(crate) serial: u64,
    #[serde(with = "listed")]
    pub(crate) definitions: BTreeMap<Defined, Definition>,
}

impl Definitions {
    pub fn serial(&self) -> u64 {
        self.serial
    }

    pub fn get(&self, of: &Defined) -> Option<&Definition> {
        self.definitions.get(of)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.definitions.values()
    }

    /// Moves on by the next event of the registry.
    pub fn apply(&mut self, event: &Event) -> Result<(), RegistryError> {
        let wanted = self.serial.saturating_add(1);
        if event.serial != wanted {
            return Err(RegistryError::OutOfOrder { wanted, found: event.serial });
        }
        self.serial = event.serial;
        for change in &event.changes {
            match change {
                Change::Definition(it) => file(&mut self.definitions, it.as_ref().clone()),
                Change::DefinitionGone(of) => {
                    self.definitions.remove(of);
                }
                Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::Code(_) => {}
                Change::CodeGone(_) | Change::Budget(_) | Change::BudgetGone(_) => {}
                Change::Adjustment(_) => {}
            }
        }
        Ok(())
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
