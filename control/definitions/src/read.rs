//! Whether a text defines what it is sent for, by the reader of `aegis.yaml`.
//!
//! Not here: what gateways allow of it. Invariant: mistakes are told by line and column of the author's own text.

use aegis_config::{ToolDefinition, limits_definition};
use aegis_control_messages::problem::Problem;
use aegis_registry::{Defined, DefinitionText, Part};

/// Whether the tool has a price, a budget, a credential or a client certificate.
pub(crate) fn tool(of: &Defined, text: &DefinitionText) -> Result<bool, Problem> {
    let Part::Tool(name) = &of.part else { return Err(Problem::NotFound) };
    let file = format!("tools/{name}");
    let read = ToolDefinition::read(name, &file, text.as_str()).map_err(Problem::Definition)?;
    Ok(read.is_entrusted())
}

pub(crate) fn limits(text: &DefinitionText) -> Result<(), Problem> {
    limits_definition("limits", text.as_str()).map(drop).map_err(Problem::Definition)
}
