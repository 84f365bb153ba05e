//! What the policy saw of recorded calls: the disclosures named `input`, found by decision and checked by digest.
//!
//! Not here: writing them (`gateway`). Invariant: an input is handed out only when its digest is in the record; of a day's
//! disclosures only the places are held in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use aegis_audit_chain::disclosure::{Disclosure, INPUT};
use aegis_audit_chain::record::{DecisionEntry, Entry};
use aegis_audit_disclosures::{Kept, KeptDay};
use aegis_domain::{DecisionId, TenantId, Timestamp, ToolName};
use serde_json::Value;

use crate::cost;
use crate::failure::Failure;
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_journal as journal;

/// Why what the policy saw is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// The gateway kept none.
    NotKept,
    /// There is no line for the decision, or its key was destroyed.
    Erased,
    /// The line holds another input than the record was written for.
    Mismatched,
}

/// The disclosures below one directory.
pub(super) struct Inputs {
    dir: PathBuf,
    kept: Kept,
    days: Mutex<BTreeMap<(TenantId, u64), Arc<KeptDay>>>,
}

/// Records are read in the order of time, from several streams at once at worst.
const DAYS_MAX: usize = 4;
const SECONDS_PER_DAY: u64 = 86_400;

impl Inputs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { kept: Kept::new(dir.clone()), dir, days: Mutex::new(BTreeMap::new()) }
    }

    fn failure(&self, error: std::io::Error) -> Failure {
        Failure::file("the disclosures", &self.dir, error)
    }

    /// What the policy saw of this call.
    pub(super) fn of(
        &self,
        entry: &DecisionEntry,
        at: Timestamp,
    ) -> Result<Result<Value, Closed>, Failure> {
        let Some(tenant) = &entry.tenant else { return Ok(Err(Closed::NotKept)) };
        if entry.sd.is_empty() {
            return Ok(Err(Closed::NotKept));
        }
        // A call is kept under the day it came and recorded a little later, after midnight at worst.
        let today = at.unix_s() / SECONDS_PER_DAY;
        for day in [today, today.saturating_sub(1)] {
            let line = self.day(tenant, day)?.line(entry.id);
            if let Some(disclosures) = line.map_err(|error| self.failure(error))? {
                return Ok(opened(&disclosures, entry));
            }
        }
        Ok(Err(Closed::Erased))
    }

    fn day(&self, tenant: &TenantId, day: u64) -> Result<Arc<KeptDay>, Failure> {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), day);
        if let Some(known) = days.get(&key) {
            return Ok(Arc::clone(known));
        }
        let read = self.kept.day(tenant, day).map_err(|error| self.failure(error))?;
        let read = Arc::new(read);
        if days.len() >= DAYS_MAX {
            // Older days come first for a tenant, and are done with first.
            days.pop_first();
        }
        days.insert(key, Arc::clone(&read));
        Ok(read)
    }
}

/// The value disclosed as `input`, if the record has its digest.
fn opened(disclosures: &[Disclosure], entry: &DecisionEntry) -> Result<Value, Closed> {
    let parsed = disclosures.iter().filter_map(|it| Disclosure::parse(it.as_str()));
    match parsed.into_iter().find(|(_, name, _)| name == INPUT) {
        Some((disclosure, _, value)) if entry.sd.contains(&disclosure.digest()) => Ok(value),
        Some(_) => Err(Closed::Mismatched),
        None => Err(Closed::NotKept),
    }
}

/// The tool and the input of one decision in the data directory.
pub(crate) fn find(
    id: DecisionId,
    home: &Home,
    screen: &Screen,
) -> Result<(ToolName, Value), Failure> {
    let mut found = None;
    let mut streams = journal::open(&home.audit())?;
    let progress = screen.progress(streams.iter().map(journal::Cursor::bytes).sum());
    for stream in &mut streams {
        stream.read(&mut |origin, bytes| {
            progress.advance(bytes.len());
            let record = cost::read(origin, bytes)?;
            if let Entry::Decision(entry) = record.entry
                && entry.id == id
            {
                found = Some((entry, Timestamp::from_unix_ns(record.head.ts)));
            }
            Ok::<(), Failure>(())
        })?;
    }
    progress.done();
    let unknown = |message: String| Failure::Unknown { message };
    let (entry, at) =
        found.ok_or_else(|| unknown(format!("no record of decision {id} in this journal")))?;
    let input = Inputs::new(home.all_disclosures()).of(&entry, at)?;
    let input = input.map_err(|closed| {
        unknown(match closed {
            Closed::NotKept => format!("of decision {id} no input was kept"),
            Closed::Erased => format!("the input of decision {id} was erased or lost"),
            Closed::Mismatched => format!("the input kept for decision {id} does not match it"),
        })
    })?;
    let tool = entry.tool.ok_or_else(|| unknown(format!("decision {id} is of no tool")))?;
    Ok((tool, input))
}
