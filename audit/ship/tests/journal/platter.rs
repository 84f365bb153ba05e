//! What a device holds after some operations: what is durable, what a process sees, and what is on its way, of which any part may
//! get there when the power goes.
//!
//! Not here: the disk that a journal writes to, and what dies or fails when (`power`). Invariant: what a sync answered for is in
//! every image; of what came after, any part may be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

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
    /// The number of each file that has a name, and the first number that no file has.
    pub(crate) fn numbers(&self) -> (BTreeMap<PathBuf, usize>, usize) {
        let number = |(name, node): (&PathBuf, &Node)| match node {
            Node::File(file) => Some((name.clone(), *file)),
            Node::Dir => None,
        };
        let next = self.files.keys().next_back().map_or(0, |last| last + 1);
        (self.names.iter().filter_map(number).collect(), next)
    }

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
pub(crate) struct State {
    /// What a process sees.
    names: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Of each directory, since it was synced.
    changes: BTreeMap<PathBuf, Vec<Change>>,
    files: BTreeMap<usize, Platter>,
}

impl State {
    pub(crate) fn of(image: &Image) -> Self {
        let platter =
            |(file, synced): (&usize, &Vec<u8>)| (*file, Platter::holding(synced.clone()));
        Self {
            names: image.names.clone(),
            durable: image.names.clone(),
            changes: BTreeMap::new(),
            files: image.files.iter().map(platter).collect(),
        }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
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

    pub(crate) fn cut(&self, fate: &mut Fate) -> Image {
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
