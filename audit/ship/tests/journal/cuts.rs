//! A power cut under the journal, at every operation of its disk: what was acknowledged is there, the log verifies, and the next
//! life goes on. And a disk that lies is found out, so that no sync can be left out unseen.
//!
//! Not here: the disk (`power`), processes that are killed for real (`crash`). Invariant: whoever was told yes before the power went
//! finds the record after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::record::Ending;
use aegis_audit_chain::{Hash, Head, Origin};
use aegis_audit_registry::RegistryFlaw;
use aegis_audit_ship::{Disk as _, Journal, JournalConfig, StreamReader, Tail, Wants};
use aegis_audit_verify::{Flaw, Report, Verdict};

use crate::platter::{Dice, Fate, Image, Op};
use crate::power::{Deed, Failing, Power, Tears};
use crate::support::{config, decision, outcome, region_key, verify, verify_with};

const REGISTRY: &str = "aegis.example/eu-west-1/registry.gw-1/1";
/// Seeds of the histories that are left to chance; more by `SEEDS_ASKED`.
const SEEDS: u64 = 200;
const SEEDS_ASKED: &str = "AEGIS_POWER_CUTS";
/// Two or three records, so that a life has several files.
const FILE_BYTES: u64 = 2_048;

/// What somebody was told, and how much the disk had done by then.
#[derive(Clone, Debug)]
struct Told<T> {
    at: usize,
    what: T,
}

/// All that must not be gone.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// Life, number and leaf hash of a record that is durable.
    records: Vec<Told<(u64, u64, Hash)>>,
    /// Heads of the registry that witnesses may have seen.
    heads: Vec<Told<Head>>,
}

impl Promises {
    /// Those that were made when the disk had done so much.
    fn by(&self, done: usize) -> Self {
        fn kept<T: Clone>(told: &[Told<T>], done: usize) -> Vec<Told<T>> {
            let kept = told.iter().filter(|told| told.at <= done);
            kept.map(|told| Told { at: 0, what: told.what.clone() }).collect()
        }
        Self { records: kept(&self.records, done), heads: kept(&self.heads, done) }
    }
}

/// How a life goes.
#[derive(Clone, Copy, Debug)]
struct Course {
    batches: usize,
    /// Waits until an anchor is due, after half of them.
    rests: bool,
    /// Else its process is killed.
    ends: bool,
}

/// Gateways, one after the other, on one disk.
struct World {
    dir: tempfile::TempDir,
    power: Power,
    promises: Promises,
    /// No two decisions are called alike.
    calls: u64,
    file_bytes: u64,
}

fn settings(dir: &Path) -> JournalConfig {
    JournalConfig { file_bytes: FILE_BYTES, ..config(dir) }
}

impl World {
    fn begin(image: Image, promises: Promises, deed: fn(&Op) -> Deed) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let power = Power::on(dir.path(), image, deed);
        Self { dir, power, promises, calls: 0, file_bytes: FILE_BYTES }
    }

    /// One process from its start to its end, or to its death.
    fn live(&mut self, course: Course, dice: &mut Dice) {
        let disk = Arc::new(self.power.clone());
        let file_bytes = self.file_bytes;
        let settings = JournalConfig { disk, file_bytes, ..config(self.dir.path()) };
        let opened = Journal::open(settings);
        let journal = match opened {
            Ok((journal, _)) => journal,
            Err(error) => return assert!(self.is_over(), "it does not open: {error:?}"),
        };
        for batch in 0..course.batches {
            if course.rests && batch == course.batches / 2 {
                std::thread::sleep(Duration::from_millis(1_100));
            }
            self.batch(&journal, dice);
        }
        if course.ends {
            let closed = journal.close();
            assert!(closed.is_ok() || self.is_over(), "{closed:?}");
        } else {
            self.power.dies_after(0, Tears::No);
        }
        drop(journal);
    }

    /// Whether something happened that ends a life.
    fn is_over(&self) -> bool {
        self.power.is_dead() || self.power.has_failed()
    }

    /// Deletes every resume point of the registry, as anybody may.
    fn forget_points(&self) {
        let dir = self.dir.path().join("registry.gw-1/1/resume");
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            self.power.remove(&entry.unwrap().path()).unwrap();
        }
        if dir.exists() {
            self.power.sync_dir(&dir).unwrap();
        }
    }

    /// Some records at once, and then what is known to be promised.
    fn batch(&mut self, journal: &Journal, dice: &mut Dice) {
        let calls: Vec<u64> = (0..=dice.roll(3) as u64).map(|n| self.calls + n).collect();
        self.calls += calls.len() as u64;
        let place = |n: u64| journal.append_blocking(decision(n).draft().unwrap());
        let pending: Vec<_> = calls.into_iter().map(|n| (n, place(n))).collect();
        for (n, pending) in pending {
            let Ok(sealed) = pending.and_then(|pending| pending.durable_blocking()) else {
                return assert!(self.is_over());
            };
            let place = sealed.position();
            let what = (place.origin.incarnation(), place.seq, place.leaf);
            self.promises.records.push(Told { at: self.power.done(), what });
            if dice.roll(2) == 0 {
                let outcome = outcome(place.seq, &decision(n)).draft().unwrap();
                // Nobody waits for it.
                let _dead = journal.append_blocking(outcome);
            }
        }
        if let Some((_, note)) = journal.newest_head().get() {
            let what = Head::open(&note, &region_key().verifier(REGISTRY)).unwrap();
            self.promises.heads.push(Told { at: self.power.done(), what });
        }
    }
}

/// Whether a log that nothing was promised of may be as it is: nothing in it was signed yet.
fn is_unborn(report: &Report) -> bool {
    report
        .findings
        .iter()
        .all(|finding| matches!(finding.flaw, Flaw::Empty | Flaw::Registry(RegistryFlaw::Unsigned)))
}

/// Opens the journal after a power cut, as a gateway does, and looks for everything that was promised.
fn holds(image: &Image, promises: &Promises) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Power::on(dir.path(), image.clone(), honest));
    let before = verify(dir.path());
    let is_new = promises.records.is_empty() && promises.heads.is_empty() && is_unborn(&before);
    if before.verdict() == Verdict::Fail && !is_new {
        return Err(format!("before the next life: {:?}", before.findings));
    }
    let opened = Journal::open(JournalConfig { disk, ..settings(dir.path()) });
    let (journal, recovered) = opened.map_err(|error| format!("it does not open: {error:?}"))?;
    let is_whole = |how| matches!(how, Ending::Crashed | Ending::IoError | Ending::Closed);
    if let Some(stream) = recovered.streams.iter().find(|stream| !is_whole(stream.how)) {
        return Err(format!("{stream:?}"));
    }
    let appended = journal.append_blocking(decision(999_999).draft().unwrap());
    let sealed = appended.and_then(|pending| pending.durable_blocking());
    let sealed = sealed.map_err(|error| format!("it takes no record: {error}"))?;
    let settled = outcome(sealed.position().seq, &decision(999_999)).draft().unwrap();
    drop(journal.append_blocking(settled));
    journal.close().map_err(|error| format!("it does not end: {error}"))?;
    is_there(dir.path(), promises)
}

fn is_there(dir: &Path, promises: &Promises) -> Result<(), String> {
    let stored = Tail::new(dir, None).read(usize::MAX).unwrap();
    let stored: BTreeMap<(u64, u64), Hash> = stored
        .into_iter()
        .map(|one| ((one.origin.incarnation(), one.seq), Hash::leaf(&one.bytes)))
        .collect();
    for Told { what: (life, seq, leaf), .. } in &promises.records {
        if stored.get(&(*life, *seq)) != Some(leaf) {
            return Err(format!("record {seq} of life {life} is gone"));
        }
    }
    let heads = promises.heads.iter().map(|told| told.what.clone()).collect();
    let report = verify_with(dir, heads);
    if report.verdict() != Verdict::Pass {
        return Err(format!("after the next life: {:?} {:?}", report.findings, report.gaps));
    }
    // Only a life that ended in order may leave a decision without an outcome; it was asked to.
    let closed = |origin: &Origin| {
        report.streams.iter().any(|it| it.origin == *origin && it.ended == Some(Ending::Closed))
    };
    if let Some(open) = report.unsettled.iter().find(|open| !closed(&open.origin)) {
        return Err(format!("nobody settled {open:?}"));
    }
    // Whoever ships the registry reads it so, and a file in the way would end that unseen.
    let registry = Origin::parse(REGISTRY).unwrap();
    let (mut reader, mut records) = (StreamReader::new(dir, registry, 0), 0);
    reader
        .read(u64::MAX, &mut |_, _| {
            records += 1;
            Wants::More
        })
        .unwrap();
    // The newest head is a record itself.
    let signed = report.registries.first().map(|head| head.size + 1);
    if signed == Some(records) {
        Ok(())
    } else {
        Err(format!("{records} records are read of {signed:?}"))
    }
}

/// What may be left: none of what was on its way, all of it, or any part.
fn fates(dice: &mut Dice, torn: usize) -> Vec<Fate> {
    let mut fates = vec![Fate::Nothing, Fate::Everything];
    fates.extend((0..torn).map(|_| Fate::Some(Dice(dice.roll(usize::MAX) as u64))));
    fates
}

/// Cuts the power at every operation of a history; hands out how many cuts were tried, and what was wrong first.
fn cut_everywhere(world: &World, torn: usize) -> (usize, Result<(), String>) {
    let (mut dice, mut tried) = (Dice(1), 0);
    for done in 0..=world.power.done() {
        for fate in fates(&mut dice, torn) {
            let image = world.power.cut(done, fate.clone());
            if let Err(why) = holds(&image, &world.promises.by(done)) {
                let last = &world.power.ops()[done.saturating_sub(3)..done];
                return (tried, Err(format!("after {done}, {fate:?}, {last:?}: {why}")));
            }
            tried += 1;
        }
    }
    (tried, Ok(()))
}

fn honest(_: &Op) -> Deed {
    Deed::Done
}

/// A life that ends, one that is killed, and one that finds what it left.
fn three_lives(deed: fn(&Op) -> Deed, rests: bool) -> World {
    let mut world = World::begin(Image::default(), Promises::default(), deed);
    let mut dice = Dice(7);
    world.live(Course { batches: 8, rests, ends: true }, &mut dice);
    world.live(Course { batches: 3, rests: false, ends: false }, &mut dice);
    world.power.lives_again();
    world.live(Course { batches: 1, rests: false, ends: true }, &mut dice);
    world
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_promised() {
    let world = three_lives(honest, true);
    let (tried, result) = cut_everywhere(&world, 1);
    result.unwrap();
    assert!(tried > 400 && world.promises.records.len() > 15, "{tried}");
}

/// Some lives on a disk that is cut again and again, also while a life is looking at what the one before it left.
fn history(seed: u64) -> Result<(), String> {
    let mut dice = Dice(seed);
    let (mut image, mut promises, mut calls) = (Image::default(), Promises::default(), 0);
    for cut in 0..=dice.roll(4) {
        let mut world = World::begin(image, promises, honest);
        world.calls = calls;
        for _ in 0..=dice.roll(3) {
            world.power.lives_again();
            if dice.roll(3) > 0 {
                let tears = [Tears::Yes, Tears::No][dice.roll(2)];
                world.power.dies_after(dice.roll(60), tears);
            }
            let course = Course { batches: dice.roll(6), rests: false, ends: dice.roll(2) == 0 };
            world.live(course, &mut dice);
        }
        calls = world.calls;
        let done = dice.roll(world.power.done() + 1);
        let fate = fates(&mut dice, 6).swap_remove(dice.roll(8));
        image = world.power.cut(done, fate);
        promises = world.promises.by(done);
        holds(&image, &promises).map_err(|why| format!("seed {seed}, cut {cut}: {why}"))?;
    }
    Ok(())
}

#[test]
fn whatever_is_left_by_power_cuts_and_kills_in_a_row_holds_what_was_promised() {
    let seeds = std::env::var(SEEDS_ASKED).map_or(SEEDS, |seeds| seeds.parse().unwrap());
    let failed: Vec<String> = (0..seeds).filter_map(|seed| history(seed).err()).collect();
    assert!(failed.is_empty(), "{} of {seeds}: {}", failed.len(), failed.join("\n\n"));
}

#[test]
fn a_process_killed_at_any_operation_leaves_nothing_that_a_later_power_cut_makes_untrue() {
    let mut dice = Dice(3);
    let lives = |kill: usize, tears: Tears, dice: &mut Dice| {
        let mut world = World::begin(Image::default(), Promises::default(), honest);
        // A life's first records fill a file to its last byte.
        world.file_bytes = 1_024;
        world.power.dies_after(kill, tears);
        world.live(Course { batches: 2, rests: false, ends: true }, dice);
        let killed = world.power.done();
        world.power.lives_again();
        world.live(Course { batches: 1, rests: false, ends: true }, dice);
        (world, killed)
    };
    let whole = lives(usize::MAX, Tears::No, &mut dice).1;
    for (kill, tears) in (0..whole).flat_map(|kill| [(kill, Tears::Yes), (kill, Tears::No)]) {
        let (world, killed) = lives(kill, tears, &mut dice);
        for fate in fates(&mut dice, 1) {
            let done = killed + dice.roll(world.power.done() - killed + 1);
            let image = world.power.cut(done, fate);
            let held = holds(&image, &world.promises.by(done));
            held.unwrap_or_else(|why| panic!("killed after {kill}, cut after {done}: {why}"));
        }
    }
    assert!(whole > 60, "{whole}");
}

/// Lets each sync of a life fail, alone or with all after it, then lets the next life find what that left, and cuts the power while
/// it does or after; hands out how many cuts were tried, and what was wrong first.
fn fail_everywhere(forgets: Option<&'static str>) -> (usize, Result<(), String>) {
    let (mut dice, mut tried) = (Dice(5), 0);
    let lives = |failure: Option<(usize, Failing, Fate)>, dice: &mut Dice| {
        let mut world = World::begin(Image::default(), Promises::default(), honest);
        forgets.into_iter().for_each(|part| world.power.forgets(part));
        if let Some((nth, failing, fate)) = failure {
            world.power.fails_after(nth, failing, fate);
        }
        world.live(Course { batches: 4, rests: false, ends: true }, dice);
        let found = world.power.done();
        world.power.lives_again();
        world.live(Course { batches: 1, rests: false, ends: true }, dice);
        (world, found)
    };
    let whole = lives(None, &mut dice).1;
    for nth in 0..whole {
        let torn = Fate::Some(Dice(nth as u64));
        for (failing, fate) in [(Failing::One, Fate::Nothing), (Failing::All, torn)] {
            let (world, found) = lives(Some((nth, failing, fate.clone())), &mut dice);
            if !world.power.has_failed() {
                // Nothing was synced any more.
                continue;
            }
            for cut in fates(&mut dice, 1) {
                let done = found + dice.roll(world.power.done() - found + 1);
                let image = world.power.cut(done, cut);
                if let Err(why) = holds(&image, &world.promises.by(done)) {
                    let what =
                        format!("sync {nth} failed ({failing:?}, {fate:?}), cut after {done}");
                    return (tried, Err(format!("{what}: {why}")));
                }
                tried += 1;
            }
        }
    }
    (tried, Ok(()))
}

#[test]
fn what_a_failed_sync_left_in_memory_alone_is_written_again_before_it_is_signed_for() {
    let (tried, result) = fail_everywhere(None);
    result.unwrap();
    assert!(tried > 200, "{tried}");
}

#[test]
fn a_recovery_that_believes_what_memory_shows_is_found_out() {
    for part in ["streams/gw-1/", "registry.gw-1/1/wal/"] {
        let (_, result) = fail_everywhere(Some(part));
        assert!(result.is_err(), "{part} is not written again, and nothing was missed");
    }
}

/// Such a start begins a file of the registry, and may not leave the last one to chance.
#[test]
fn a_start_without_resume_points_loses_nothing_in_a_later_power_cut() {
    let mut dice = Dice(5);
    let lives = |kill: usize, dice: &mut Dice| {
        let mut world = World::begin(Image::default(), Promises::default(), honest);
        // A file of the registry for each of its commits, or nearly.
        world.file_bytes = 1_024;
        let course = Course { batches: 1, rests: false, ends: true };
        world.live(course, dice);
        world.power.dies_after(kill, Tears::No);
        world.live(course, dice);
        let killed = world.power.done();
        world.power.lives_again();
        world.forget_points();
        world.live(course, dice);
        (world, killed)
    };
    let (whole, _) = lives(usize::MAX, &mut dice);
    let third = whole.power.done() / 3;
    for kill in 0..third + 10 {
        let (world, killed) = lives(kill, &mut dice);
        for fate in fates(&mut dice, 1) {
            let done = killed + dice.roll(world.power.done() - killed + 1);
            let image = world.power.cut(done, fate);
            let held = holds(&image, &world.promises.by(done));
            held.unwrap_or_else(|why| panic!("killed after {kill}, cut after {done}: {why}"));
        }
    }
    assert!(third > 30, "{third}");
}

fn is_synced(op: &Op, part: &str) -> bool {
    matches!(op, Op::Sync(_, path) if path.to_string_lossy().contains(part))
}

fn is_dir_synced(op: &Op, end: &str) -> bool {
    matches!(op, Op::SyncDir(path) if path.ends_with(end))
}

type Lie = (&'static str, fn(&Op) -> Deed);

fn never(is_so: bool) -> Deed {
    if is_so { Deed::Never } else { Deed::Done }
}

/// Each of them is what a sync that somebody left out would be.
const LIES: &[Lie] = &[
    ("the records of a stream are not synced", |op| {
        never(is_synced(op, "streams/gw-1/") && is_synced(op, ".wal"))
    }),
    ("the registry is not synced", |op| never(is_synced(op, "registry.gw-1/1/wal/"))),
    ("notes are not synced before they get their name", |op| never(is_synced(op, ".tmp"))),
    ("names of log files are not synced", |op| never(is_dir_synced(op, "wal"))),
    ("names of heads are not synced", |op| never(is_dir_synced(op, "heads"))),
    ("names of birth notes and folders of a life are not synced", |op| {
        never(is_dir_synced(op, "00000000000000000001"))
    }),
    ("names of lives are not synced", |op| never(is_dir_synced(op, "gw-1"))),
    ("names of what is in the folder are not synced", |op| {
        never(matches!(op, Op::SyncDir(path) if path.as_os_str().is_empty()))
    }),
    ("a record is acknowledged before it is synced", |op| {
        if is_synced(op, "streams/gw-1/") && is_synced(op, ".wal") {
            Deed::Late
        } else {
            Deed::Done
        }
    }),
];

#[test]
fn a_disk_that_lies_is_found_out() {
    for (lie, deed) in LIES {
        let world = three_lives(*deed, false);
        let (_, result) = cut_everywhere(&world, 0);
        assert!(result.is_err(), "{lie}, and nothing was missed");
    }
}
