//! `aegisctl policy push|list|show|activate|rollout|pause|resume|abort|rollback|pin|unpin`: a policy in the region.
//!
//! Not here: what is asked of the region (`cli/region`). Invariant: a view that is watched is drawn anew where somebody looks
//! on, and is a line for each change where nobody does; it ends with the rollout.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use aegis_cli_region::{ReleaseCommand, rollout_line};
use serde_json::Value;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::region;
use crate::screen::Screen;

const EVERY: Duration = Duration::from_secs(2);
/// ECMA-48: the cursor to the top left, and everything after it gone.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub(super) fn run(command: &ReleaseCommand, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    if command.is_watching() {
        return watch(command, home, screen);
    }
    region::show(command.run(home.root()), screen)
}

fn watch(command: &ReleaseCommand, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut last = String::new();
    loop {
        let told = command.run(home.root())?;
        let line = rollout_line(&told.value);
        let ended = ended(&told.value);
        if screen.is_json() || !io::stdout().is_terminal() {
            if line != last {
                screen.text(&told.value, &line)?;
            }
        } else {
            screen.raw(CLEAR)?;
            region::show(Ok(told), screen)?;
        }
        if let Some(exit) = ended {
            return Ok(exit);
        }
        last = line;
        thread::sleep(EVERY);
    }
}

/// How it ended, if it has.
fn ended(pointer: &Value) -> Option<Exit> {
    let state = pointer.get("rollout").and_then(|rollout| rollout.get("state")?.as_str());
    match state {
        Some("running" | "held") => None,
        Some("rolled_back" | "aborted") => Some(Exit::CheckFailed),
        Some(_) | None => Some(Exit::Ok),
    }
}
