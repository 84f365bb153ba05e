//! `aegisctl policy schema`: the language as a JSON Schema, for editors.
//!
//! Not here: the schema (`policies/language`). Invariant: what is printed is what this build's compiler reads.

use aegis_policy_language::schema_text;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// Print the JSON Schema of policy files, for editors to complete and check by.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "\
Editors that know the YAML language server take it from a first line in the policy:
  # yaml-language-server: $schema=./aegis-policy.schema.json

Example:
  aegisctl policy schema > policies/aegis-policy.schema.json")]
pub(super) struct SchemaArgs {}

pub(super) fn run(screen: &Screen) -> Result<Exit, Failure> {
    screen.raw(schema_text())?;
    Ok(Exit::Ok)
}
