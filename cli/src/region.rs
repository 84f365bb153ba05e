//! Shows what the commands over the control API have to say.
//!
//! Not here: those commands (`cli/region`). Invariant: they are shown as every other command is.

use aegis_cli_region::{RegionError, Told};

use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use aegis_cli_sheet::Sheet;

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
