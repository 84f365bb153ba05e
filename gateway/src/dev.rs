//! `aegis-gateway dev`: everything on one laptop, from an empty folder to a verified audit chain.
//!
//! Not here: the demo itself (`demo`). Invariant: the gateway that runs is the same as everywhere, configured by a file
//! that can be read and changed.

use std::thread::JoinHandle;

use aegis_demo::{AfterScenario, DemoOptions, DemoUpstream};
use anyhow::Context as _;

use crate::serve::{self, Stop, StoppedBy};
use crate::wire;
use aegis_config::Config;
use aegis_gateway_region::keys;

/// Prepares the data directory, starts upstream and gateway, and plays the scenario.
pub fn run(options: &DemoOptions) -> anyhow::Result<()> {
    std::fs::create_dir_all(&options.data_dir).with_context(|| {
        format!("the data directory {} cannot be made", options.data_dir.display())
    })?;
    keys::ensure(&options.data_dir)?;
    let config_path = aegis_demo::lay_out(options)?;
    let config = Config::load(&config_path)?;
    let upstream = aegis_demo::start(&options.data_dir, options.ports.upstream)?;
    let built = wire::build(config)?;
    let player = play_beside(options.clone(), upstream, built.stop.clone());
    let by = serve::run(built)?;
    if by == StoppedBy::Signal {
        // Whoever pressed Ctrl-C in the middle of the story does not want to hear that it was cut.
        return Ok(());
    }
    match player.join() {
        Ok(played) => played,
        Err(_) => anyhow::bail!("the demo scenario ended in a panic"),
    }
}

/// Plays the scenario on a thread of its own, because the gateway keeps this one.
fn play_beside(
    options: DemoOptions,
    upstream: DemoUpstream,
    stop: Stop,
) -> JoinHandle<anyhow::Result<()>> {
    std::thread::spawn(move || {
        let played = aegis_demo::play(&options, &upstream);
        if played.is_err() || options.after == AfterScenario::Stop {
            stop.request();
        }
        played
    })
}
