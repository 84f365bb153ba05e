//! Shows what the commands over evidence have to say.
//!
//! Not here: those commands (`cli/evidence`). Invariant: they are shown as every other command is.

use aegis_cli_evidence::{Answer, EvidenceError, Outcome};

use crate::failure::{Exit, Failure};
use crate::screen::Screen;
use aegis_cli_sheet::Sheet;

pub(crate) fn show(told: Result<Answer, EvidenceError>, screen: &Screen) -> Result<Exit, Failure> {
    let Answer { mut value, tables, verdict, words, outcome } = told?;
    let exit = match outcome {
        Outcome::Ok => Exit::Ok,
        Outcome::Failed => Exit::CheckFailed,
        Outcome::Incomplete => Exit::Missing,
    };
    if screen.is_json() {
        if let (Some(_), Some(members)) = (verdict, value.as_object_mut()) {
            members.insert("exit_code".to_owned(), exit.code().into());
        }
        screen.json(&value)?;
    } else {
        for table in tables.into_iter().filter(|table| !table.rows.is_empty()) {
            let mut sheet = Sheet::new(&table.columns);
            sheet = table.right_from.into_iter().fold(sheet, Sheet::right_from);
            table.rows.into_iter().for_each(|row| sheet.row(row));
            screen.sheet(&sheet)?;
        }
        if let Some(verdict) = verdict {
            screen.raw(format!("{verdict}\n"))?;
        }
    }
    words.iter().for_each(|words| screen.say(words));
    Ok(exit)
}
