//! The file that says which audit registries are believed, and by which keys.
//!
//! Not here: checking anything with it. Invariant: a file that holds nothing but one verifier key counts as a policy that
//! trusts this one registry; whatever else is not understood is refused.

use std::path::Path;

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::trust::Trust;

use crate::failure::Failure;
use crate::home;

pub(crate) fn load(path: &Path) -> Result<Trust, Failure> {
    let text = home::read("the trust file", path)?;
    if let Some(trust) = Verifier::parse(text.trim()).ok().and_then(Trust::of) {
        return Ok(trust);
    }
    Trust::parse(&text).map_err(|error| Failure::invalid(path.display().to_string(), error))
}
