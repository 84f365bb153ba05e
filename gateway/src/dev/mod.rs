//! `aegis-gateway dev`: everything on one laptop, from an empty folder to a verified audit chain.
//!
//! Not here: anything production needs; the gateway itself runs the same code as everywhere.
//! Invariant: nothing listens outside 127.0.0.1, and an existing data directory is continued, never overwritten.

mod chat;
mod client;
mod patients;
mod payments;
mod report;
mod scenario;
mod setup;
mod upstream;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::Config;
use crate::serve::{self, Stop};
use crate::wire;

pub use setup::prepare;

/// What `dev` was asked for.
#[derive(Clone, Debug)]
pub struct DevOptions {
    pub data_dir: PathBuf,
    pub ports: Ports,
    pub after: AfterScenario,
}

/// Where the demo listens on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub plain: u16,
    pub tls: u16,
    pub metrics: u16,
    pub upstream: u16,
}

/// Whether the gateway stays once the scenario has been played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterScenario {
    Stay,
    Stop,
}

/// Prepares the data directory, starts upstream and gateway, and plays the scenario.
pub fn run(options: &DevOptions) -> anyhow::Result<()> {
    let config_path = prepare(&options.data_dir, options.ports)?;
    let config = Config::load(&config_path)?;
    let upstream = upstream::start(&options.data_dir, options.ports.upstream)?;
    let built = wire::build(config)?;
    let player = play_beside(options.clone(), upstream, built.stop.clone());
    serve::run(built)?;
    match player.join() {
        Ok(played) => played,
        Err(_) => anyhow::bail!("the demo scenario ended in a panic"),
    }
}

/// Plays the scenario on a thread of its own, because the gateway keeps this one.
fn play_beside(
    options: DevOptions,
    upstream: upstream::DemoUpstream,
    stop: Stop,
) -> std::thread::JoinHandle<anyhow::Result<()>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for the demo scenario")?;
        let played = runtime.block_on(scenario::play(&options, &upstream));
        if played.is_err() || options.after == AfterScenario::Stop {
            stop.request();
        }
        played
    })
}

/// Where one of the demo's files lies.
fn demo_file(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("demo").join(name)
}
