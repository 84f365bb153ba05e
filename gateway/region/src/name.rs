//! What the fleet calls this gateway: in its region's releases, and as the writer of its audit log.
//!
//! Not here: which names there can be (`config` refuses one that cannot stand in an audit origin). Invariant: a gateway without
//! a configured name draws one once, and keeps it with its data directory.

use aegis_config::Config;
use aegis_corridor::clock;
use anyhow::Context as _;

use crate::files;

/// Where a name is kept that was drawn.
const FILE: &str = "gateway.name";

/// The configured name, or the one that the data directory keeps.
pub(crate) fn of(config: &Config) -> anyhow::Result<String> {
    if let Some(name) = &config.name {
        return Ok(name.clone());
    }
    let path = config.data_dir.join(FILE);
    if let Ok(name) = std::fs::read_to_string(&path) {
        return Ok(name.trim().to_owned());
    }
    let random: [u8; 4] = clock::random()?;
    let name = format!("gw-{:08x}", u32::from_be_bytes(random));
    files::replace(&path, name.as_bytes())
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(name)
}
