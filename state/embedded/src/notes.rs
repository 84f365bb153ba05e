//! The holds that this gateway has open in a shared home, on its own disk: what a later life must settle.
//!
//! Not here: the money, which the shared home counts. Invariant: a hold is noted before it is asked for, so that a killed
//! gateway leaves none it does not know; a note that is lost costs nothing but exactness, for a hold nobody ends is
//! charged its estimate, and a lease is told of only where no note of its draws can be missing.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use aegis_domain::{DecisionId, Grant, MicroUsd, Timestamp, Ttl};
use parking_lot::Mutex;
use tracing::error;

use super::files;
use super::journal::{self, Files, Journal};
use super::record::{MAGIC, Next, Record, next};
use aegis_state::{Hold, LATE_SETTLE, LeftHold, Notes, StateError};

/// More open holds than any gateway has; those beyond are not noted.
const OPEN_MAX: usize = 1 << 20;
/// How long a settlement that a server acknowledged is not trusted to last: a primary that is lost takes the last seconds
/// with it, and a gateway that dies then cannot send them again.
const SETTLING: Ttl = Ttl::from_s(5);
/// The file is written anew once it has grown this long, and twice as long as what is open.
const REWRITE_BYTES: u64 = 4 << 20;
/// A new value with each start of the machine (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The notes of one gateway; the directory is its own until they are dropped.
pub struct HoldNotes {
    path: PathBuf,
    boot: Option<Box<str>>,
    book: Mutex<Book>,
    _lock: File,
}

/// What is noted of one hold.
struct Note {
    hold: Hold,
    /// Of a lease: the calls paid out of it.
    draws: Option<Vec<DecisionId>>,
}

struct Book {
    open: HashMap<DecisionId, Note>,
    /// Settled ones by when, oldest first.
    settled: VecDeque<(Timestamp, DecisionId)>,
    journal: Journal,
    /// The file's length when it was last written anew.
    rewritten: u64,
}

impl HoldNotes {
    /// Takes the directory; returns the holds that earlier lives left open as well.
    ///
    /// Notes are not synced, so a machine that went down may have lost some of them. A lease whose draws are not all known
    /// is left to expire, and to be charged whole; so are all leases where nothing tells one start from another.
    pub fn open(directory: &Path) -> Result<(Self, Vec<LeftHold>), StateError> {
        let lock = files::lock(directory)?;
        let path = directory.join("open-holds");
        let boot = fs::read_to_string(BOOT_ID).ok().map(|id| id.trim().into());
        Self::of_boot(path, boot, lock)
    }

    fn of_boot(
        path: PathBuf,
        boot: Option<Box<str>>,
        lock: File,
    ) -> Result<(Self, Vec<LeftHold>), StateError> {
        let open = read(&path, boot.as_deref())?;
        let journal = write_anew(&path, boot.as_deref(), &open)?;
        let left = |Note { hold, draws }: &Note| LeftHold {
            hold: hold.clone(),
            draws: draws.clone().unwrap_or_default(),
        };
        let left = open.values().map(left).collect();
        let settled = VecDeque::new();
        let book = Mutex::new(Book { open, settled, rewritten: journal.len(), journal });
        Ok((Self { path, boot, book, _lock: lock }, left))
    }
}

impl Notes for HoldNotes {
    /// The journal says so itself when it cannot be written.
    fn begin(&self, hold: &Hold) {
        let mut book = self.book.lock();
        if book.has_room_for(&hold.id) {
            drop(book.journal.append([&begun(hold)]));
            book.open.insert(hold.id, Note { hold: hold.clone(), draws: None });
        }
    }

    fn lease(&self, hold: &Hold) -> Result<(), StateError> {
        let mut book = self.book.lock();
        if !book.has_room_for(&hold.id) {
            return Err(StateError::Full);
        }
        book.journal.append([&Record::Lease(hold.clone())])?;
        book.open.insert(hold.id, Note { hold: hold.clone(), draws: Some(Vec::new()) });
        Ok(())
    }

    fn draw(&self, lease: &DecisionId, id: &DecisionId) -> Result<(), StateError> {
        let Book { open, journal, .. } = &mut *self.book.lock();
        let draws = open.get_mut(lease).and_then(|note| note.draws.as_mut());
        let draws = draws.ok_or(StateError::NotHeld)?;
        journal.append([&Record::Draw { lease: *lease, id: *id }])?;
        draws.push(*id);
        Ok(())
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
        book.open.retain(|_, note| now < note.hold.expires_at.plus(LATE_SETTLE));
        let limit = REWRITE_BYTES.max(book.rewritten.saturating_mul(2));
        if book.journal.len() < limit {
            return;
        }
        match write_anew(&self.path, self.boot.as_deref(), &book.open) {
            Ok(journal) => (book.rewritten, book.journal) = (journal.len(), journal),
            Err(cause) => error!(%cause, "the notes of open holds could not be shortened"),
        }
    }
}

impl Book {
    fn has_room_for(&self, id: &DecisionId) -> bool {
        self.open.len() < OPEN_MAX && !self.open.contains_key(id)
    }

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
fn read(path: &Path, boot: Option<&str>) -> Result<HashMap<DecisionId, Note>, StateError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        bytes => bytes.map_err(|source| StateError::Io { what: "read the open holds", source })?,
    };
    let (mut open, mut is_whole) = (HashMap::<DecisionId, Note>::new(), false);
    let mut rest = bytes.strip_prefix(MAGIC).unwrap_or_default();
    loop {
        let record = match next(&mut rest) {
            Next::Record(record) => *record,
            Next::Unknown => continue,
            Next::Nothing => break,
        };
        if let Record::Grant { hold, .. } = record {
            open.insert(hold.id, Note { hold, draws: None });
        } else if let Record::Expire { id, .. } = record {
            open.remove(&id);
        } else if let Record::Lease(hold) = record {
            open.insert(hold.id, Note { hold, draws: Some(Vec::new()) });
        } else if let Record::Draw { lease, id } = record {
            open.get_mut(&lease)
                .and_then(|note| note.draws.as_mut())
                .into_iter()
                .for_each(|it| it.push(id));
        } else if let Record::Boot(id) = record {
            is_whole = Some(&*id) == boot;
        }
    }
    open.retain(|_, note| is_whole || note.draws.is_none());
    Ok(open)
}

/// Puts a file with nothing but what is open in the place of the old one.
fn write_anew(
    path: &Path,
    boot: Option<&str>,
    open: &HashMap<DecisionId, Note>,
) -> Result<Journal, StateError> {
    let io = |source| StateError::Io { what: "write the open holds", source };
    let new = path.with_extension("new");
    fs::remove_file(&new).or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(io(error)),
    })?;
    let (sink, len) = journal::open_at(&Files, &new, 0).map_err(io)?;
    let mut journal = Journal::new(sink, len);
    let mut records: Vec<Record> = boot.map(|id| Record::Boot(id.into())).into_iter().collect();
    for Note { hold, draws } in open.values() {
        records.push(draws.as_ref().map_or_else(|| begun(hold), |_| Record::Lease(hold.clone())));
        let drawn = |id: &DecisionId| Record::Draw { lease: hold.id, id: *id };
        records.extend(draws.iter().flatten().map(drawn));
    }
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
        let (notes, left) = HoldNotes::open(directory).unwrap();
        drop(notes);
        assert!(left.iter().all(|left| left.draws.is_empty()));
        let mut left: Vec<Hold> = left.into_iter().map(|left| left.hold).collect();
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
    fn a_lease_is_left_with_its_draws_unless_the_machine_may_have_lost_some() {
        let directory = tempfile::tempdir().unwrap();
        let opened = |boot: Option<&str>| {
            let lock = files::lock(directory.path()).unwrap();
            let path = directory.path().join("open-holds");
            HoldNotes::of_boot(path, boot.map(Box::from), lock).unwrap()
        };
        let (notes, _) = opened(Some("first"));
        notes.begin(&hold(1));
        notes.lease(&hold(2)).unwrap();
        notes.draw(&hold(2).id, &hold(3).id).unwrap();
        // The shared home notes every hold it asks for.
        notes.begin(&hold(2));
        assert!(matches!(notes.draw(&hold(1).id, &hold(3).id), Err(StateError::NotHeld)));
        drop(notes);
        for _ in 0..2 {
            let (_, mut left) = opened(Some("first"));
            left.sort_by_key(|left| left.draws.len());
            let alone = LeftHold { hold: hold(1), draws: vec![] };
            assert_eq!(left, [alone, LeftHold { hold: hold(2), draws: vec![hold(3).id] }]);
        }
        let alone = [LeftHold { hold: hold(1), draws: vec![] }];
        assert_eq!(opened(Some("second")).1, alone);
        assert_eq!(opened(None).1, alone);
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
