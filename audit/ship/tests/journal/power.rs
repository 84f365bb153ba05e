//! A disk whose power can fail: it writes into a real directory, where the journal reads, and notes every operation, so that
//! what a platter may hold after any of them can be built elsewhere. A sync of it can fail, as Linux lets it: what was to be written is
//! still shown, is called clean, and gets to the platter only if somebody writes it again.
//!
//! Not here: what is written, and what must be left of it (`cuts`). Invariant: what a sync answered for is in every image; of
//! what came after, any part may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aegis_audit_ship::{Disk, DiskFile};

/// What a device writes at once, or not at all. Also what is dirty or clean: the kernel's pages are larger, and take more along.
const SECTOR_BYTES: usize = 512;

/// Chance that comes out the same for the same seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }

    fn toss(&mut self) -> bool {
        self.roll(2) == 0
    }
}

/// One thing that the disk was asked to do. Paths are below the directory; files go by number, as names change.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    MakeDir(PathBuf),
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
    Length(usize, u64),
    Write(usize, u64, Vec<u8>),
    /// The name is that by which the file was opened.
    Sync(usize, PathBuf),
    /// What got there all the same.
    SyncFailed(usize, Fate),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// What a disk holds when nothing is on its way to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Image {
    names: BTreeMap<PathBuf, Node>,
    files: BTreeMap<usize, Vec<u8>>,
}

impl Image {
    /// Puts everything that has a name, and whose directories have one, into an empty directory.
    pub(crate) fn write(&self, to: &Path) {
        for (name, node) in &self.names {
            // Parents sort before what is in them.
            let is_reached = to.join(name).parent().is_some_and(Path::is_dir);
            match node {
                Node::Dir if is_reached => fs::create_dir(to.join(name)).unwrap(),
                Node::File(file) if is_reached => {
                    fs::write(to.join(name), &self.files[file]).unwrap();
                }
                Node::Dir | Node::File(_) => {}
            }
        }
    }
}

/// How much of what was on its way gets to the platter.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    Nothing,
    Everything,
    /// Any part of it: torn at sectors, and in any order.
    Some(Dice),
}

impl Fate {
    fn keeps(&mut self) -> bool {
        match self {
            Fate::Nothing => false,
            Fate::Everything => true,
            Fate::Some(dice) => dice.toss(),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Platter {
    synced: Vec<u8>,
    /// Lengths and writes since.
    unsynced: Vec<Op>,
    /// What a process sees.
    shown: Vec<u8>,
    /// Sectors that are called clean and were never written.
    lost: BTreeSet<usize>,
}

impl Platter {
    fn holding(synced: Vec<u8>) -> Self {
        Self { shown: synced.clone(), synced, ..Self::default() }
    }

    fn take(&mut self, op: &Op) {
        reach(op, &mut self.shown);
        self.unsynced.push(op.clone());
        let Op::Write(file, at, data) = op else { return };
        for (at, part) in sectors(usize::try_from(*at).unwrap(), data) {
            let sector = at / SECTOR_BYTES;
            // Whoever writes a part of it writes what it shows.
            if self.lost.remove(&sector) && part.len() < SECTOR_BYTES {
                let from = sector * SECTOR_BYTES;
                let to = self.shown.len().min(from + SECTOR_BYTES);
                let whole = self.shown[from..to].to_vec();
                self.unsynced.push(Op::Write(*file, from as u64, whole));
            }
        }
    }

    fn sync(&mut self) {
        self.synced = self.seen();
        self.unsynced.clear();
    }

    fn fail(&mut self, fate: &Fate) {
        self.synced = self.torn(&mut fate.clone());
        // A file's length is kept elsewhere.
        let (lengths, writes) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|op| matches!(op, Op::Length(..)));
        self.unsynced = lengths;
        for write in writes {
            let Op::Write(_, at, data) = write else { continue };
            let parts = sectors(usize::try_from(at).unwrap(), &data);
            self.lost.extend(parts.iter().map(|(at, _)| at / SECTOR_BYTES));
        }
    }

    fn seen(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        self.unsynced.iter().for_each(|op| reach(op, &mut bytes));
        bytes
    }

    fn torn(&self, fate: &mut Fate) -> Vec<u8> {
        let dice = match fate {
            Fate::Nothing => return self.synced.clone(),
            Fate::Everything => return self.seen(),
            Fate::Some(dice) => dice,
        };
        // A file system journals a file's length, so it is that before one of the changes to it.
        let mut bytes = self.synced.clone();
        let reached = dice.roll(self.unsynced.len() + 1);
        let mut seen = self.synced.clone();
        self.unsynced[..reached].iter().for_each(|op| reach(op, &mut seen));
        bytes.resize(seen.len(), 0);
        let mut left: Vec<&Op> = self.unsynced.iter().collect();
        while !left.is_empty() {
            if let Op::Write(_, at, data) = left.swap_remove(dice.roll(left.len())) {
                tear(&mut bytes, (*at, data), dice);
            }
        }
        bytes
    }
}

/// Puts some of a write's sectors, as far as the file reaches.
fn tear(bytes: &mut [u8], (at, data): (u64, &[u8]), dice: &mut Dice) {
    for (at, part) in sectors(usize::try_from(at).unwrap(), data) {
        let room = bytes.get_mut(at..at + part.len());
        if let Some(room) = room.filter(|_| dice.toss()) {
            room.copy_from_slice(part);
        }
    }
}

/// The parts of a write that lie in one sector each.
fn sectors(mut at: usize, mut data: &[u8]) -> Vec<(usize, &[u8])> {
    let mut parts = Vec::new();
    while !data.is_empty() {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (part, rest) = data.split_at(room.min(data.len()));
        parts.push((at, part));
        (at, data) = (at + part.len(), rest);
    }
    parts
}

fn reach(op: &Op, bytes: &mut Vec<u8>) {
    match op {
        Op::Length(_, length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        Op::Write(_, at, data) => {
            let at = usize::try_from(*at).unwrap();
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[at..at + data.len()].copy_from_slice(data);
        }
        other => unreachable!("{other:?} is of no file"),
    }
}

/// Names that come and go together.
type Change = Vec<(PathBuf, Option<Node>)>;

/// The disk as it is after some operations: durable and not.
#[derive(Clone, Debug, Default)]
struct State {
    /// What a process sees.
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Of each directory, since it was synced.
    changes: BTreeMap<PathBuf, Vec<Change>>,
    files: BTreeMap<usize, Platter>,
}

impl State {
    fn of(image: &Image) -> Self {
        let platter =
            |(file, synced): (&usize, &Vec<u8>)| (*file, Platter::holding(synced.clone()));
        Self {
            names: image.names.clone(),
            durable: image.names.clone(),
            changes: BTreeMap::new(),
            files: image.files.iter().map(platter).collect(),
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::MakeDir(path) => self.change(vec![(path.clone(), Some(Node::Dir))]),
            Op::Create(path, file) => {
                self.files.insert(*file, Platter::default());
                self.change(vec![(path.clone(), Some(Node::File(*file)))]);
            }
            Op::Rename(from, to) => {
                let node = self.names[from];
                self.change(vec![(from.clone(), None), (to.clone(), Some(node))]);
            }
            Op::Remove(path) => self.change(vec![(path.clone(), None)]),
            Op::SyncDir(path) => {
                for change in self.changes.remove(path).unwrap_or_default() {
                    put(&mut self.durable, change);
                }
            }
            Op::Length(file, _) | Op::Write(file, ..) => {
                self.files.get_mut(file).unwrap().take(op);
            }
            Op::Sync(file, _) => self.files.get_mut(file).unwrap().sync(),
            Op::SyncFailed(file, fate) => self.files.get_mut(file).unwrap().fail(fate),
        }
    }

    fn change(&mut self, change: Change) {
        let dir = change[0].0.parent().unwrap().to_path_buf();
        put(&mut self.names, change.clone());
        self.changes.entry(dir).or_default().push(change);
    }

    fn cut(&self, fate: &mut Fate) -> Image {
        let mut names = self.durable.clone();
        for change in self.changes.values().flatten() {
            if fate.keeps() {
                put(&mut names, change.clone());
            }
        }
        let files = self.files.iter().map(|(file, platter)| (*file, platter.torn(fate))).collect();
        Image { names, files }
    }
}

fn put(names: &mut BTreeMap<PathBuf, Node>, change: Change) {
    for (name, node) in change {
        match node {
            Some(node) => drop(names.insert(name, node)),
            None => drop(names.remove(&name)),
        }
    }
}

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
        let numbers = |(name, node): (&PathBuf, &Node)| match node {
            Node::File(file) => Some((name.clone(), *file)),
            Node::Dir => None,
        };
        let names = begun.names.iter().filter_map(numbers).collect();
        let next = begun.files.keys().next_back().map_or(0, |last| last + 1);
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
