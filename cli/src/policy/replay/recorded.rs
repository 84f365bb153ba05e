//! What the policy saw of recorded calls: the disclosures named `input`, found by decision and checked by digest.
//!
//! Not here: writing them (`gateway`). Invariant: an input is handed out only when its digest is in the record; of a day's
//! disclosures only the places are held in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aegis_audit_chain::disclosure::{Disclosure, INPUT};
use aegis_audit_chain::record::{DecisionEntry, Entry};
use aegis_domain::{DecisionId, TenantId, Timestamp, ToolName};
use serde::Deserialize as _;
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
    /// There is no line for the decision.
    Erased,
    /// The line holds another input than the record was written for.
    Mismatched,
}

/// The disclosures below one directory.
pub(super) struct Inputs {
    dir: PathBuf,
    days: Mutex<BTreeMap<(TenantId, u64), Arc<Day>>>,
}

/// Records are read in the order of time, from several streams at once at worst.
const DAYS_MAX: usize = 4;
const SECONDS_PER_DAY: u64 = 86_400;
/// No line is longer: a record has at most 20 disclosures, and a policy's input 64 KiB of text.
const LINE_BYTES_MAX: u32 = 1 << 20;

/// Where the lines of one tenant and day stand.
struct Day {
    file: Option<File>,
    /// By decision.
    places: Vec<(DecisionId, u64, u32)>,
}

impl Inputs {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, days: Mutex::new(BTreeMap::new()) }
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
            if let Some(line) = self.day(tenant, day)?.line(entry.id)? {
                return Ok(opened(&line, entry));
            }
        }
        Ok(Err(Closed::Erased))
    }

    fn day(&self, tenant: &TenantId, day: u64) -> Result<Arc<Day>, Failure> {
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (tenant.clone(), day);
        if let Some(known) = days.get(&key) {
            return Ok(Arc::clone(known));
        }
        let path = self.dir.join(tenant.as_str()).join(format!("{day}.jsonl"));
        let read = Arc::new(Day::read(&path)?);
        if days.len() >= DAYS_MAX {
            // Older days come first for a tenant, and are done with first.
            days.pop_first();
        }
        days.insert(key, Arc::clone(&read));
        Ok(read)
    }
}

impl Day {
    /// A day whose file is not there was erased, or nobody called.
    fn read(path: &Path) -> Result<Self, Failure> {
        let failure = |error| Failure::file("the disclosures", path, error);
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { file: None, places: Vec::new() });
            }
            opened => opened.map_err(failure)?,
        };
        let mut lines = BufReader::with_capacity(1 << 18, &file);
        let (mut places, mut line, mut offset) = (Vec::new(), Vec::new(), 0_u64);
        loop {
            line.clear();
            let length = lines.read_until(b'\n', &mut line).map_err(failure)?;
            if length == 0 {
                break;
            }
            let bytes = u32::try_from(length).ok().filter(|bytes| *bytes <= LINE_BYTES_MAX);
            // What is no whole line was being written when its writer died.
            places.extend(id_of(&line).zip(bytes).map(|(id, bytes)| (id, offset, bytes)));
            offset = offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        }
        drop(lines);
        places.sort_unstable_by_key(|(id, _, _)| *id);
        Ok(Self { file: Some(file), places })
    }

    fn line(&self, id: DecisionId) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.places.binary_search_by_key(&id, |(id, _, _)| *id).ok();
        let place = found.and_then(|index| self.places.get(index));
        let (Some((_, offset, bytes)), Some(file)) = (place, &self.file) else { return Ok(None) };
        let mut line = vec![0; usize::try_from(*bytes).unwrap_or_default()];
        file.read_exact_at(&mut line, *offset)
            .map_err(|error| Failure::file("the disclosures", Path::new("disclosures"), error))?;
        Ok(Some(line))
    }
}

/// The decision a line is about, without reading the rest of it.
fn id_of(line: &[u8]) -> Option<DecisionId> {
    let id = line.strip_prefix(b"{\"id\":\"")?.get(..26)?;
    DecisionId::parse(std::str::from_utf8(id).ok()?).ok()
}

#[derive(serde::Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    sd: Vec<std::borrow::Cow<'l, str>>,
}

/// The value of the line's `input`, if the record has its digest.
fn opened(line: &[u8], entry: &DecisionEntry) -> Result<Value, Closed> {
    let mut reader = serde_json::Deserializer::from_slice(line);
    let Ok(line) = Line::deserialize(&mut reader) else { return Err(Closed::Erased) };
    // The input is kept last.
    let inputs = line.sd.iter().rev().filter_map(|text| Disclosure::parse(text));
    let mut inputs = inputs.filter(|(_, name, _)| name == INPUT);
    match inputs.next() {
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
