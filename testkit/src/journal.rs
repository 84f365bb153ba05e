//! The audit journal as a test reads it: from the files, while a gateway may be writing them.
//!
//! Not here: believing it; `Building::verify` does that. Invariant: only whole records are seen.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegis_audit_chain::frame::Frames;
use aegis_audit_chain::layout;
use aegis_audit_chain::record::{DecisionEntry, Entry, OutcomeEntry, Record};
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_domain::DecisionId;

/// How long an outcome may take to follow its call.
const PATIENCE: Duration = Duration::from_secs(20);

/// The journal of one data directory.
#[derive(Clone, Debug)]
pub struct Journal {
    folder: PathBuf,
}

/// Outcomes by the decisions they belong to.
pub type Outcomes = BTreeMap<DecisionId, Vec<OutcomeEntry>>;

impl Journal {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Every record of every stream, the streams in the order of their births.
    pub fn records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        for writer in names(&self.folder.join(layout::STREAMS_DIR)) {
            for stream in names(&writer) {
                for file in names(&stream.join("wal")) {
                    read(&file, &mut records);
                }
            }
        }
        records
    }

    /// Every decision, in order.
    pub fn decisions(&self) -> Vec<DecisionEntry> {
        let entries = self.records().into_iter().map(|record| record.entry);
        entries
            .filter_map(|entry| if let Entry::Decision(one) = entry { Some(*one) } else { None })
            .collect()
    }

    pub fn decision(&self, id: DecisionId) -> Option<DecisionEntry> {
        self.decisions().into_iter().find(|decision| decision.id == id)
    }

    /// Every outcome; a decision should have one at most.
    pub fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::new();
        for record in self.records() {
            if let Entry::Outcome(outcome) = record.entry {
                outcomes.entry(outcome.of.id).or_default().push(*outcome);
            }
        }
        outcomes
    }

    /// The outcome of a call, which is written after its answer was sent.
    pub async fn outcome(&self, id: DecisionId) -> OutcomeEntry {
        let begun = tokio::time::Instant::now();
        loop {
            if let Some([outcome]) = self.outcomes().get(&id).map(Vec::as_slice) {
                return outcome.clone();
            }
            assert!(begun.elapsed() < PATIENCE, "decision {id} has no outcome");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

/// Takes a file's records piece by piece: most of it is room that was only reserved.
fn read(path: &Path, records: &mut Vec<Record>) {
    const PIECE: u64 = 64 * 1_024;
    let mut file = File::open(path).unwrap();
    let (mut bytes, mut offset) = (Vec::new(), 0);
    loop {
        let more = file.by_ref().take(PIECE).read_to_end(&mut bytes).unwrap();
        let mut frames = match offset {
            0 => match Frames::open(&bytes) {
                Ok((_, frames)) => frames,
                Err(_) => return,
            },
            offset => Frames::resume(&bytes, offset),
        };
        let before = records.len();
        while let Some(Ok(frame)) = frames.next() {
            records.push(Record::parse(frame.record).unwrap());
        }
        offset = frames.offset();
        if more == 0 || records.len() == before {
            return;
        }
    }
}

/// The files of a log, for the verifier.
pub(crate) struct LogFiles(pub(crate) PathBuf);

impl LogSource for LogFiles {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        let paths = names(&self.0.join(dir));
        Ok(paths
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect())
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(why) => {
                Err(SourceError::Unreadable { path: path.to_owned(), why: why.to_string() })
            }
        }
    }
}
