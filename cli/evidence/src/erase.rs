//! `aegisctl audit erase`: makes what digests stand for unreadable for ever, and leaves the log as it is.
//!
//! Not here: keys and files (`audit/ship`). Invariant: nothing is erased that was not confirmed.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use aegis_audit_disclosures::{Erased, erase_subject, erase_tenant};
use aegis_domain::{TenantId, Timestamp};
use clap::Args;
use serde_json::json;

use crate::EvidenceError;
use crate::answer::{Answer, Table};

/// Fewer letters would be found in too much.
const SUBJECT_CHARS_MIN: usize = 3;

/// Destroy the keys that open a tenant's digests. This cannot be undone.
#[derive(Debug, Args)]
#[command(after_help = "\
The log is not touched and verifies as before; its digests tell nothing any more. Of a subject, each decision that discloses
a text with the subject in it is erased, whatever the case of its letters, and the tenant's others are sealed under a new key.

What was done is written to disclosures/.erased.jsonl, without the subject's name. That file is not part of the audit log.
A backup of disclosures/.keys made before can still open what a backup of disclosures/ holds: destroy it too.

Examples:
  aegisctl audit erase --tenant acme --subject ada@example.com
  aegisctl audit erase --tenant acme --yes")]
pub struct EraseArgs {
    /// Whose disclosures.
    #[arg(long, value_name = "TENANT", value_parser = TenantId::parse)]
    tenant: TenantId,
    /// Only what mentions this person or thing; `-` reads it from stdin, so that no shell remembers it.
    #[arg(long, value_name = "TEXT")]
    subject: Option<String>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

impl EraseArgs {
    pub fn run(&self, root: &Path, now: Timestamp) -> Result<Answer, EvidenceError> {
        let subject = self.subject()?;
        self.confirm()?;
        let dir = root.join("disclosures");
        if !dir.is_dir() {
            let message = format!("no disclosures are kept in {}", root.display());
            return Err(EvidenceError::Unknown { message });
        }
        let erased = match &subject {
            Some(subject) => erase_subject(&dir, &self.tenant, (subject, now)),
            None => erase_tenant(&dir, &self.tenant, now),
        };
        Ok(told(&self.tenant, erased.map_err(EvidenceError::file("the disclosures", &dir))?))
    }

    fn subject(&self) -> Result<Option<String>, EvidenceError> {
        let subject = match self.subject.as_deref() {
            Some("-") => {
                let mut line = String::new();
                let read = io::stdin().lock().read_line(&mut line);
                read.map_err(EvidenceError::file("the subject", Path::new("stdin")))?;
                Some(line.trim().to_owned())
            }
            subject => subject.map(str::to_owned),
        };
        if subject.as_ref().is_some_and(|text| text.chars().count() < SUBJECT_CHARS_MIN) {
            let message = format!("a subject has at least {SUBJECT_CHARS_MIN} characters");
            return Err(EvidenceError::Usage { message });
        }
        Ok(subject)
    }

    /// Somebody at a terminal types the tenant's name; a script says `--yes`.
    fn confirm(&self) -> Result<(), EvidenceError> {
        if self.yes {
            return Ok(());
        }
        let refused = |message: &str| EvidenceError::Usage { message: message.to_owned() };
        if !io::stdin().is_terminal() || self.subject.as_deref() == Some("-") {
            return Err(refused("this cannot be undone: say --yes"));
        }
        let mut err = io::stderr().lock();
        // A terminal that cannot be written to cannot be asked, and then nothing is typed.
        write!(err, "This cannot be undone. Type `{}` to go on: ", self.tenant)
            .and_then(|()| err.flush())
            .ok();
        let mut typed = String::new();
        let read = io::stdin().lock().read_line(&mut typed);
        read.map_err(EvidenceError::file("the answer", Path::new("stdin")))?;
        if typed.trim() == self.tenant.as_str() {
            Ok(())
        } else {
            Err(refused("nothing was erased"))
        }
    }
}

fn told(tenant: &TenantId, erased: Erased) -> Answer {
    let Erased { keys, decisions, kept } = erased;
    let value = json!({
        "tenant": tenant.as_str(), "keys_destroyed": keys,
        "decisions_erased": decisions, "decisions_kept": kept,
    });
    let words = match keys {
        0 => "nothing was there to erase".to_owned(),
        _ => "a backup of disclosures/.keys made before today can still open copies of what was erased; \
              a device that keeps old blocks may too"
            .to_owned(),
    };
    let tables = vec![Table::of_members(&value)];
    Answer { value, tables, words: vec![words], ..Answer::default() }
}
