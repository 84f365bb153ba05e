//! A disk whose power can fail: it writes into a real directory, where the journal reads, and notes every operation, so that
//! what a platter may hold after any of them can be built elsewhere. A sync of it can fail, as Linux lets it: what was to be written is
//! still shown, is called clean, and gets to the platter only if somebody writes it again.
//!
//! Not here: what of it a platter holds (`platter`), and what must be left of what was written (`cuts`). Invariant: every operation is
//! noted before it is answered.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aegis_audit_ship::{Disk, DiskFile};

use crate::platter::{Fate, Image, Op, State};

/// What a device does with an operation that it says it has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Done,
    /// It never is.
    Never,
    /// It is when something is written the next time.
    Late,
}

/// Whether a process that is killed leaves half a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tears {
    Yes,
    No,
}

/// Which syncs fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failing {
    One,
    /// All of this process.
    All,
}

/// What was done, in order.
struct Log {
    begun: Image,
    ops: Vec<Op>,
    late: Vec<Op>,
    /// What has which name now, and the number of the next file.
    names: BTreeMap<PathBuf, usize>,
    next: usize,
    /// The process is dead when so much was done.
    dies_at: usize,
    /// Whether it dies in the middle of its last operation, if that is a write.
    tears: bool,
    /// A sync fails when so much was done, and this gets there all the same.
    fails: Option<(usize, Failing, Fate)>,
    has_failed: bool,
    /// Part of the names of files in which nothing is written that they show already: a mistake to be found.
    forgets: Option<&'static str>,
}

/// One device, however many processes write to it.
#[derive(Clone)]
pub(crate) struct Power {
    root: PathBuf,
    log: Arc<Mutex<Log>>,
    deed: fn(&Op) -> Deed,
}

impl Power {
    /// A device that holds what is in `begun`; the directory, which is empty, shows it.
    pub(crate) fn on(root: &Path, begun: Image, deed: fn(&Op) -> Deed) -> Self {
        begun.write(root);
        let (names, next) = begun.numbers();
        let (ops, late) = (Vec::new(), Vec::new());
        let (dies_at, tears) = (usize::MAX, true);
        let (fails, has_failed, forgets) = (None, false, None);
        let log = Log { begun, ops, late, names, next, dies_at, tears, fails, has_failed, forgets };
        Self { root: root.to_path_buf(), log: Arc::new(Mutex::new(log)), deed }
    }

    /// How much was done by now.
    pub(crate) fn done(&self) -> usize {
        self.log.lock().unwrap().ops.len()
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        self.log.lock().unwrap().ops.clone()
    }

    /// Lets the process die after so many operations more; where it tears, in the middle of the last one if that is a write.
    pub(crate) fn dies_after(&self, more: usize, tears: Tears) {
        let mut log = self.log.lock().unwrap();
        log.dies_at = log.ops.len().saturating_add(more);
        log.tears = tears == Tears::Yes;
    }

    /// Lets a sync fail after so many operations more.
    pub(crate) fn fails_after(&self, more: usize, failing: Failing, fate: Fate) {
        let mut log = self.log.lock().unwrap();
        log.fails = Some((log.ops.len() + more, failing, fate));
    }

    /// Never writes again what such a file shows already.
    pub(crate) fn forgets(&self, part: &'static str) {
        self.log.lock().unwrap().forgets = Some(part);
    }

    /// The next process begins, on what the one before it wrote; the disk is well again.
    pub(crate) fn lives_again(&self) {
        let mut log = self.log.lock().unwrap();
        (log.dies_at, log.fails) = (usize::MAX, None);
    }

    /// Whether a sync has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.log.lock().unwrap().has_failed
    }

    pub(crate) fn is_dead(&self) -> bool {
        let log = self.log.lock().unwrap();
        log.ops.len() >= log.dies_at
    }

    /// What the platter holds when the power goes after `done` operations.
    pub(crate) fn cut(&self, done: usize, mut fate: Fate) -> Image {
        let log = self.log.lock().unwrap();
        let mut state = State::of(&log.begun);
        log.ops[..done].iter().for_each(|op| state.apply(op));
        state.cut(&mut fate)
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap().to_path_buf()
    }

    /// Does it and notes it, unless the process is dead.
    fn act(&self, op: Op, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap();
        log.lives()?;
        act()?;
        log.note(op, self.deed);
        Ok(())
    }
}

impl Log {
    fn lives(&self) -> io::Result<()> {
        if self.ops.len() >= self.dies_at { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// What this sync leaves, if it fails.
    fn failure(&mut self) -> Option<Fate> {
        let (at, failing, fate) = self.fails.take()?;
        let is_due = self.ops.len() >= at;
        if !is_due || failing == Failing::All {
            self.fails = Some((at, failing, fate.clone()));
        }
        self.has_failed |= is_due;
        is_due.then_some(fate)
    }

    fn note(&mut self, op: Op, deed: fn(&Op) -> Deed) {
        match &op {
            Op::Create(path, file) => drop(self.names.insert(path.clone(), *file)),
            Op::Remove(path) => drop(self.names.remove(path)),
            Op::Rename(from, to) => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
            }
            Op::Write(..) => self.ops.append(&mut self.late),
            Op::MakeDir(_)
            | Op::SyncDir(_)
            | Op::Length(..)
            | Op::Sync(..)
            | Op::SyncFailed(..) => {}
        }
        match deed(&op) {
            Deed::Done => self.ops.push(op),
            Deed::Late => self.late.push(op),
            Deed::Never => {}
        }
    }
}

struct PowerFile {
    power: Power,
    file: File,
    number: usize,
    name: PathBuf,
}

impl Disk for Power {
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
        let name = self.below(path);
        let mut log = self.log.lock().unwrap();
        log.lives()?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.set_len(bytes)?;
        let number = log.next;
        log.next += 1;
        log.note(Op::Create(name.clone(), number), self.deed);
        log.note(Op::Length(number, bytes), self.deed);
        drop(log);
        Ok(Box::new(PowerFile { power: self.clone(), file, number, name }))
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = self.below(path);
        let log = self.log.lock().unwrap();
        log.lives()?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let number = log.names[&name];
        drop(log);
        Ok(Box::new(PowerFile { power: self.clone(), file, number, name }))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.act(Op::MakeDir(self.below(path)), || fs::create_dir(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Op::Rename(self.below(from), self.below(to)), || fs::rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(Op::Remove(self.below(path)), || fs::remove_file(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Somebody else answers for the names above.
        if !path.starts_with(&self.root) {
            return Ok(());
        }
        self.act(Op::SyncDir(self.below(path)), || Ok(()))
    }
}

impl DiskFile for PowerFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (power, number) = (self.power.clone(), self.number);
        let mut log = power.log.lock().unwrap();
        log.lives()?;
        if log.forgets.is_some_and(|part| self.name.to_string_lossy().contains(part)) {
            let mut shown = vec![0; bytes.len()];
            if self.file.read_exact_at(&mut shown, offset).is_ok() && shown == bytes {
                return Ok(());
            }
        }
        let is_last = log.tears && log.ops.len() + 1 == log.dies_at;
        let bytes = if is_last { &bytes[..bytes.len() / 2] } else { bytes };
        self.file.write_all_at(bytes, offset)?;
        log.note(Op::Write(number, offset, bytes.to_vec()), power.deed);
        if is_last { log.lives() } else { Ok(()) }
    }

    /// No real sync: the machine that runs the test keeps its power.
    fn sync(&mut self) -> io::Result<()> {
        let mut log = self.power.log.lock().unwrap();
        log.lives()?;
        if let Some(fate) = log.failure() {
            log.note(Op::SyncFailed(self.number, fate), self.power.deed);
            return Err(io::Error::from_raw_os_error(5));
        }
        drop(log);
        self.power.act(Op::Sync(self.number, self.name.clone()), || Ok(()))
    }

    fn trim(&mut self, bytes: u64) -> io::Result<()> {
        self.power.act(Op::Length(self.number, bytes), || self.file.set_len(bytes))?;
        self.sync()
    }
}
