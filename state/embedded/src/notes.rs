//! The holds that this gateway has open in a shared home, on its own disk: what a later life must settle.
//!
//! Not here: the money, which the shared home counts. Invariant: a hold is noted before it is asked for, so that a killed
//! gateway leaves none it does not know; a note that is lost costs nothing but exactness, for a hold nobody ends is
//! charged its estimate.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aegis_domain::{DecisionId, Grant, MicroUsd, Timestamp, Ttl};
use parking_lot::Mutex;
use tracing::error;

use super::files;
use super::journal::{self, Files, Journal};
use super::record::{MAGIC, Next, Record, next};
use aegis_state::{Hold, LATE_SETTLE, Notes, StateError};

/// More open holds than any gateway has; those beyond are not noted.
const OPEN_MAX: usize = 1 << 20;
/// How long a settlement that a server acknowledged is not trusted to last: a primary that is lost takes the last seconds
/// with it, and a gateway that dies then cannot send them again.
const SETTLING: Ttl = Ttl::from_s(5);
/// The file is written anew once it has grown this long, and twice as long as what is open.
const REWRITE_BYTES: u64 = 4 << 20;

/// The notes of one gateway; the directory is its own until they are dropped.
pub struct HoldNotes {
    path: PathBuf,
    book: Mutex<Book>,
    _lock: File,
}

struct Book {
    open: HashMap<DecisionId, Hold>,
    /// Settled ones by when, oldest first.
    settled: VecDeque<(Timestamp, DecisionId)>,
    journal: Journal,
    /// The file's length when it was last written anew.
    rewritten: u64,
}

impl HoldNotes {
    /// Takes the directory; returns the holds that earlier lives left open as well.
    pub fn open(directory: &Path) -> Result<(Self, Vec<Hold>), StateError> {
        let lock = files::lock(directory)?;
        let path = directory.join("open-holds");
        let open = read(&path)?;
        let journal = write_anew(&path, &open)?;
        let left = open.values().cloned().collect();
        let settled = VecDeque::new();
        let book = Mutex::new(Book { open, settled, rewritten: journal.len(), journal });
        Ok((Self { path, book, _lock: lock }, left))
    }
}

impl Notes for HoldNotes {
    /// The journal says so itself when it cannot be written.
    fn begin(&self, hold: &Hold) {
        let mut book = self.book.lock();
        if book.open.len() < OPEN_MAX && !book.open.contains_key(&hold.id) {
            drop(book.journal.append([&begun(hold)]));
            book.open.insert(hold.id, hold.clone());
        }
    }

    fn end(&self, id: &DecisionId, now: Timestamp) {
        self.book.lock().end(id, now);
    }

    fn settled(&self, id: &DecisionId, now: Timestamp) {
        self.book.lock().settled.push_back((now, *id));
    }

    /// Also keeps the file short.
    fn tidy(&self, now: Timestamp) {
        let mut book = self.book.lock();
        while let Some((_, id)) = book.settled.pop_front_if(|(at, _)| at.plus(SETTLING) <= now) {
            book.end(&id, now);
        }
        book.open.retain(|_, hold| now < hold.expires_at.plus(LATE_SETTLE));
        let limit = REWRITE_BYTES.max(book.rewritten.saturating_mul(2));
        if book.journal.len() < limit {
            return;
        }
        match write_anew(&self.path, &book.open) {
            Ok(journal) => (book.rewritten, book.journal) = (journal.len(), journal),
            Err(cause) => error!(%cause, "the notes of open holds could not be shortened"),
        }
    }
}

impl Book {
    fn end(&mut self, id: &DecisionId, now: Timestamp) {
        if self.open.remove(id).is_some() {
            drop(self.journal.append([&Record::Expire { id: *id, now }]));
        }
    }
}

fn begun(hold: &Hold) -> Record {
    let grant = Grant {
        held: hold.estimate,
        budget_left: MicroUsd::MAX,
        tightest: None,
        warned: 0,
        rate: None,
    };
    Record::Grant { hold: hold.clone(), grant, first_use: None }
}

/// What the whole frames of the file tell; a torn end was written by a gateway that was killed meanwhile.
fn read(path: &Path) -> Result<HashMap<DecisionId, Hold>, StateError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.map_err(|source| StateError::Io { what: "read the open holds", source })?,
    };
    let mut open = HashMap::new();
    let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
    loop {
        let record = match next(&mut rest) {
            Next::Record(record) => *record,
            Next::Unknown => continue,
            Next::Nothing => return Ok(open),
        };
        if let Record::Grant { hold, .. } = record {
            open.insert(hold.id, hold);
        } else if let Record::Expire { id, .. } = record {
            open.remove(&id);
        }
    }
}

/// Puts a file with nothing but what is open in the place of the old one.
fn write_anew(path: &Path, open: &HashMap<DecisionId, Hold>) -> Result<Journal, StateError> {
    let io = |source| StateError::Io { what: "write the open holds", source };
    let new = path.with_extension("new");
    fs::remove_file(&new).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(io(error)),
    })?;
    let (sink, len) = journal::open_at(&Files, &new, 0).map_err(io)?;
    let mut journal = Journal::new(sink, len);
    let records: Vec<Record> = open.values().map(begun).collect();
    journal.append(&records)?;
    fs::rename(&new, path).map_err(io)?;
    Ok(journal)
}

#[cfg(test)]
mod tests {
    use aegis_domain::{AgentId, BudgetKey, BudgetScope, BudgetWindow, TenantId, ToolName};

    use super::*;
    use aegis_state::{Budget, Budgets, InFlight};

    fn hold(n: u64) -> Hold {
        let tenant = TenantId::parse("acme").unwrap();
        let window = BudgetWindow::Day;
        let key = BudgetKey { tenant: tenant.clone(), scope: BudgetScope::Tenant, window };
        Hold {
            id: DecisionId::new(n, [0; 10]),
            agent: AgentId::parse("bot").unwrap(),
            tool: ToolName::parse("pay").unwrap(),
            in_flight: InFlight::default(),
            budgets: Budgets::new(vec![Budget::hard(key, MicroUsd::new(5))]).unwrap(),
            tenant,
            estimate: MicroUsd::new(n),
            decided_at: Timestamp::from_unix_s(1),
            expires_at: Timestamp::from_unix_s(31),
        }
    }

    fn reopened(directory: &Path) -> Vec<Hold> {
        let (notes, mut left) = HoldNotes::open(directory).unwrap();
        drop(notes);
        left.sort_by_key(|hold| hold.estimate.micro_usd());
        left
    }

    #[test]
    fn what_was_not_ended_is_left_to_the_next_life_also_after_a_torn_write() {
        let directory = tempfile::tempdir().unwrap();
        let (notes, left) = HoldNotes::open(directory.path()).unwrap();
        assert_eq!(left, []);
        for n in 1..=3 {
            notes.begin(&hold(n));
        }
        notes.end(&hold(2).id, Timestamp::from_unix_s(2));
        drop(notes);
        assert_eq!(reopened(directory.path()), [hold(1), hold(3)]);
        let file = directory.path().join("open-holds");
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        assert_eq!(reopened(directory.path()).len(), 1);
    }

    #[test]
    fn a_settled_hold_is_kept_for_as_long_as_its_settlement_may_be_lost() {
        let directory = tempfile::tempdir().unwrap();
        let (notes, _) = HoldNotes::open(directory.path()).unwrap();
        let at = Timestamp::from_unix_s;
        for n in 1..=2 {
            notes.begin(&hold(n));
        }
        notes.settled(&hold(1).id, at(2));
        notes.settled(&hold(2).id, at(4));
        notes.tidy(at(7));
        drop(notes);
        assert_eq!(reopened(directory.path()), [hold(2)]);
    }

    #[test]
    fn the_file_stays_as_short_as_what_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let (notes, _) = HoldNotes::open(directory.path()).unwrap();
        let now = Timestamp::from_unix_s(2);
        for n in 1..=60_000 {
            notes.begin(&hold(n));
            notes.end(&hold(n).id, now);
            if n % 1_000 == 0 {
                notes.tidy(now);
            }
        }
        notes.begin(&hold(7));
        notes.begin(&hold(8));
        assert!(notes.book.lock().journal.len() < REWRITE_BYTES + (1 << 18));
        // And what can no longer be settled is not kept.
        notes.tidy(hold(7).expires_at.plus(LATE_SETTLE));
        assert!(notes.book.lock().open.is_empty());
    }
}
