//! Shows what the commands over the control API have to say.
//!
//! Not here: those commands (`cli/region`). Invariant: they are shown as every other command is.

use std::ops::ControlFlow;
use std::path::Path;

use aegis_cli_region::{FleetArgs, RegionError, Told};

use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use crate::sheet::Sheet;

/// Shows the fleet, again and again where that is wanted.
pub(crate) fn watch(args: &FleetArgs, data: &Path, screen: &Screen) -> Result<Exit, Failure> {
    args.run(data, |told| show(Ok(told), screen).map(|_| ControlFlow::Continue(())))?;
    Ok(Exit::Ok)
}

pub(crate) fn show(told: Result<Told, RegionError>, screen: &Screen) -> Result<Exit, Failure> {
    let Told { value, columns, rows, text, words } = told?;
    match text {
        Some(text) => screen.text(&value, &text)?,
        None => {
            let mut sheet = Sheet::new(&columns);
            rows.into_iter().for_each(|row| sheet.row(row));
            screen.thing(&value, &sheet)?;
        }
    }
    words.iter().for_each(|words| screen.say(words));
    Ok(Exit::Ok)
}
