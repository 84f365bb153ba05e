//! Where output goes: data to stdout as a table or as JSON, words to stderr.
//!
//! Not here: what is said. Invariant: nothing but data reaches stdout, so `aegisctl .. | jq` always works; a reader that
//! goes away (`| head`) is not an error.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use serde_json::Value;

use crate::args::{Format, Global};
use crate::failure::Failure;
use aegis_cli_sheet::Progress;
use aegis_cli_sheet::{Mood, Sheet};

#[derive(Debug)]
pub(crate) struct Screen {
    format: Format,
    colour: bool,
    quiet: bool,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        // https://no-color.org: present and not empty.
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = io::stdout().is_terminal() && !global.no_color && !no_colour;
        Self { format: global.output, colour, quiet: global.quiet }
    }

    pub(crate) fn sheet(&self, sheet: &Sheet) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&sheet.to_json()),
            Format::Table => self.raw(format!("{}\n", sheet.to_table(self.colour).trim_fmt())),
        }
    }

    /// One thing rather than many: JSON as it is, or the sheet that shows it.
    pub(crate) fn thing(&self, value: &Value, shown: &Sheet) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.sheet(shown),
        }
    }

    /// One text that another program takes: JSON as it is, or the bare text.
    pub(crate) fn text(&self, value: &Value, bare: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(value),
            Format::Table => self.raw(format!("{bare}\n")),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// A word in the colour of its mood, where there is colour.
    pub(crate) fn paint(&self, mood: Mood, word: &str) -> String {
        // SGR codes of ECMA-48.
        let code = match mood {
            Mood::Plain => "1",
            Mood::Good => "32",
            Mood::Doubtful => "33",
            Mood::Bad => "31",
        };
        if self.colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
    }

    /// A bar for work that takes its time.
    pub(crate) fn progress(&self, bytes: u64) -> Progress {
        if self.quiet { Progress::hidden() } else { Progress::new(bytes) }
    }

    pub(crate) fn json(&self, value: &Value) -> Result<(), Failure> {
        self.raw(format!("{value:#}\n"))
    }

    pub(crate) fn raw(&self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes.as_ref()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(Failure::Stdout),
        }
    }

    /// Words for whoever looks on.
    pub(crate) fn say(&self, words: &str) {
        if !self.quiet {
            tell(words);
        }
    }

    pub(crate) fn complain(&self, failure: &Failure) {
        tell(&failure.text());
    }
}

/// A number with its noun: `1 test`, `2 tests`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Nobody can be told that stderr is closed, so that is let go.
fn tell(words: &str) {
    writeln!(io::stderr(), "{words}").ok();
}
