//! `aegisctl keys`: the keys a region signs its tokens with.
//!
//! Not here: making them (`control`). Invariant: private halves are never seen here.

use std::path::Path;

use aegis_control_client::{Conditions, encoded};
use aegis_domain::KeyId;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::region::{Access, RegionError};
use crate::{Told, pages};

const COLUMNS: [&str; 5] = ["kid", "standing", "signs_from", "signs_until", "counts_until"];

/// Rotate, list and retire the keys tokens are signed with.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Rotate(RotateArgs),
    List(ListArgs),
    Retire(RetireArgs),
}

/// Make a key that takes over; the old one's tokens live out.
#[derive(Debug, Args)]
#[command(after_help = "\
A new key is published for a minute before it signs, because key sets are cached that long.

Examples:
  aegisctl keys rotate
  aegisctl keys rotate --lead-s 0     # a key that leaked: then `keys retire` and `revoke key` the old one")]
struct RotateArgs {
    /// How long it is published before it signs, in seconds.
    #[arg(long, default_value_t = 60)]
    lead_s: u64,
    /// How long what the old key signed goes on counting, in seconds; never less than a token can live.
    #[arg(long, default_value_t = 900)]
    overlap_s: u64,
    #[command(flatten)]
    access: Access,
}

/// List keys, the newest first.
#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    access: Access,
}

/// End the overlap of a key that signs no more.
#[derive(Debug, Args)]
struct RetireArgs {
    // One thumbprint in 64 begins with a hyphen.
    #[arg(allow_hyphen_values = true)]
    kid: KeyId,
    #[command(flatten)]
    access: Access,
}

impl KeysArgs {
    pub(crate) fn run(&self, data: &Path) -> Result<Told, RegionError> {
        match &self.command {
            KeysCommand::Rotate(args) => {
                let wish = json!({ "lead_s": args.lead_s, "overlap_s": args.overlap_s });
                let key =
                    args.access.admin(data)?.post("/v1/keys", &wish, &Conditions::default())?;
                Ok(Told::list(&[key.body], &COLUMNS))
            }
            KeysCommand::List(args) => {
                let keys = pages::all(&args.access.admin(data)?, "/v1/keys", "keys")?;
                Ok(Told::list(&keys, &COLUMNS))
            }
            KeysCommand::Retire(args) => {
                let path = format!("/v1/keys/{}/retire", encoded(args.kid.as_str()));
                let key =
                    args.access.admin(data)?.post(&path, &json!({}), &Conditions::default())?;
                Ok(Told::list(&[key.body], &COLUMNS))
            }
        }
    }
}
