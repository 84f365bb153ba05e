//! `aegisctl ca`: the authority that agents trust so that the forward proxy can look inside their TLS.
//!
//! Not here: making leaves (`authority`). Invariant: the authority's key is never printed; a rotation keeps the old
//! certificate in the bundle until it ends, so agents can be given the new one at leisure.

use aegis_authority::{Store, StoreError};
use aegis_domain::Timestamp;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::clock;
use crate::config::Config;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;

/// Give agents the forward proxy's authority, or replace it.
#[derive(Debug, Args)]
pub(crate) struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum CaCommand {
    /// Print the certificates agents should trust, in PEM.
    #[command(after_help = "\
After a rotation these are two, until the old one ends.

Example:
  aegisctl ca export > aegis-ca.pem
  HTTPS_PROXY=http://agent:$TOKEN@gateway:8080 SSL_CERT_FILE=aegis-ca.pem my-agent")]
    Export,
    /// Make a new authority in the place of the old one.
    #[command(after_help = "\
A running gateway goes on with the old one until it is started again: give agents the new bundle first.

Example:
  aegisctl ca rotate && aegisctl ca export > aegis-ca.pem")]
    Rotate,
}

pub(crate) fn run(args: &CaArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let config = Config::load(&home.config())?;
    let store = Store::at(&config.data_dir.join("ca"));
    let now = clock::now();
    match args.command {
        CaCommand::Export => {
            // Agents may be set up before the gateway has run once.
            store.open(&config.region, now).map_err(failed)?;
            let bundle = store.bundle(now).map_err(failed)?.unwrap_or_default();
            screen.text(&json!({ "bundle": bundle }), bundle.trim_end())?;
        }
        CaCommand::Rotate => {
            let authority = store.rotate(&config.region, now).map_err(failed)?;
            let ends = date(authority.ends());
            let shown =
                format!("a new authority, good until {ends}; start gateways again to use it");
            screen.text(&json!({ "ends": ends }), &shown)?;
        }
    }
    Ok(Exit::Ok)
}

fn date(time: Timestamp) -> String {
    let seconds = i64::try_from(time.unix_s()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%F").to_string());
    date.unwrap_or_default()
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::File { path, source } => Failure::file("the authority", &path, source),
        StoreError::TooOpen { .. } | StoreError::Content { .. } | StoreError::Authority(_) => {
            Failure::Invalid { what: "the authority".to_owned(), source: Box::new(error) }
        }
    }
}
