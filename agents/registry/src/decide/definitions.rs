//! Whether a command may define a tool or the limits of a tenant.
//!
//! Not here: the other commands (`decide`). Invariant: what a tenant and a region hold stays within bounds, and withdrawing is
//! never refused for want of room.

use super::{DEFINITION_BYTES_MAX, Desk, Limited, Refusal, TOOLS_MAX, at_most, count};
use crate::{Change, Defined, Definition, DefinitionText, Part};

impl Desk<'_> {
    pub(super) fn define(
        &self,
        of: &Defined,
        seen: Option<u64>,
        text: Option<&DefinitionText>,
    ) -> Result<Vec<Change>, Refusal> {
        let registry = self.registry;
        let before = registry.definition(of);
        match (seen, before) {
            (Some(seen), Some(before)) if seen != before.changed => return Err(Refusal::Changed),
            // No event has this number: it stands for what is not there.
            (Some(0), None) | (Some(_), Some(_)) | (None, _) => {}
            (Some(_), None) => return Err(Refusal::Changed),
        }
        let Some(text) = text else {
            before.ok_or(Refusal::DefinitionUnknown)?;
            return Ok(vec![Change::DefinitionGone(of.clone())]);
        };
        if before.is_none() && matches!(of.part, Part::Tool(_)) {
            let tools = registry.definitions_of(&of.tenant, None);
            let tools = tools.filter(|it| matches!(it.of.part, Part::Tool(_))).count();
            at_most(Limited::Tools, count(tools).saturating_add(1), TOOLS_MAX)?;
        }
        let others = registry.definitions().filter(|it| it.of != *of);
        let bytes = others
            .map(|it| it.text.as_str().len())
            .fold(text.as_str().len(), usize::saturating_add);
        if bytes > DEFINITION_BYTES_MAX {
            return Err(Refusal::Full);
        }
        let (by, at, changed) = (self.command.by.clone(), self.at, self.serial);
        let definition = Definition { of: of.clone(), text: text.clone(), by, at, changed };
        Ok(vec![Change::Definition(Box::new(definition))])
    }
}
