//! What a dead process leaves behind, and what the next one makes of it.

use std::fs;
use std::path::Path;

use aegis_audit_chain::frame::{Frames, Header};
use aegis_audit_chain::record::{Ending, Entry, Record};
use aegis_audit_ship::{Journal, Tail};
use aegis_audit_verify::{Flaw, Gap, Verdict};

use crate::support::{config, copy_dir, decision, outcome, rewrite, verify, wals, write_calls};

const STREAM: &str = "streams/gw-1/00000000000000000001";
const REGISTRY: &str = "registry.gw-1/1";

/// The directory as a crash would leave it: copied while the journal is live. Two decisions, one with an outcome.
fn crashed_log() -> tempfile::TempDir {
    let live = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(live.path())).unwrap();
    write_calls(&journal, 1);
    let pending = journal.append_blocking(decision(7).draft().unwrap()).unwrap();
    assert_eq!(pending.durable_blocking().unwrap().position().seq, 4);
    copy_dir(live.path(), copy.path());
    copy
}

#[test]
fn a_crash_is_closed_settled_and_verified() {
    let dir = crashed_log();
    let before = verify(dir.path());
    assert_eq!(before.verdict(), Verdict::Incomplete, "{before:#?}");
    assert!(matches!(before.gaps[..], [Gap::Unanchored { .. }]));

    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert_eq!(recovered.streams[0].how, Ending::Crashed);
    assert_eq!(recovered.streams[0].size, 5);
    let [unsettled] = &recovered.unsettled[..] else { panic!("{recovered:?}") };
    assert_eq!((unsettled.seq, &unsettled.decision), (4, &decision(7)));
    journal.close().unwrap();

    let after = verify(dir.path());
    assert_eq!(after.verdict(), Verdict::Pass, "{after:#?}");
    assert_eq!(after.unsettled_count, 0, "the new stream holds the unknown outcome");
    assert_eq!(after.streams.len(), 2);
    let (_journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert!(recovered.unsettled.is_empty() && recovered.streams.is_empty());
}

#[test]
fn decisions_without_an_outcome_are_listed_and_do_not_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    journal.close().unwrap();
    let report = verify(dir.path());
    assert_eq!((report.verdict(), report.unsettled_count), (Verdict::Pass, 1));
    assert_eq!(report.unsettled[0].id, decision(1).id);
}

#[test]
fn a_tail_torn_at_any_byte_loses_no_whole_record_and_still_verifies() {
    let dir = crashed_log();
    let wal = wals(dir.path(), STREAM).remove(0);
    let bytes = fs::read(&wal).unwrap();
    let (_, frames) = aegis_audit_chain::frame::Frames::open(&bytes).unwrap();
    let starts: Vec<usize> = frames.map(|frame| frame.unwrap().offset).collect();
    let (from, used) = (starts[2], bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1);
    // The last three frames, behind the first anchor: at every byte where that is asked for, else at every eleventh.
    let step = if std::env::var_os("AEGIS_TORN").is_some() { 1 } else { 11 };
    for cut in (from..=used).step_by(step) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        fs::write(wals(copy.path(), STREAM).remove(0), &torn).unwrap();

        let (journal, recovered) = Journal::open(config(copy.path())).unwrap();
        let whole = starts.iter().skip(1).chain([&used]).filter(|end| **end <= cut).count();
        assert_eq!(recovered.streams[0].size, whole as u64, "cut at {cut}");
        assert_eq!(recovered.streams[0].how, Ending::Crashed);
        journal.close().unwrap();
        let report = verify(copy.path());
        assert_eq!(report.verdict(), Verdict::Pass, "cut at {cut}: {report:#?}");
    }
}

#[test]
fn a_stream_shorter_than_its_anchor_is_rolled_back_and_never_resumed() {
    let dir = crashed_log();
    rewrite(&wals(dir.path(), STREAM)[0], |records| records.truncate(1));
    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert_eq!(recovered.streams[0].how, Ending::RolledBack);
    assert_eq!(journal.origin().incarnation(), 2);
    journal.close().unwrap();
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Fail);
    assert!(report.findings.iter().any(|one| one.flaw == Flaw::FoundBroken(Ending::RolledBack)));
}

#[test]
fn a_stream_with_another_history_than_its_anchor_is_forked() {
    let (dir, other) = (crashed_log(), crashed_log());
    let other_wal = wals(other.path(), STREAM).remove(0);
    fs::copy(other_wal, wals(dir.path(), STREAM).remove(0)).unwrap();
    let (journal, recovered) = Journal::open(config(dir.path())).unwrap();
    assert_eq!(recovered.streams[0].how, Ending::Forked);
    journal.close().unwrap();
    assert_eq!(verify(dir.path()).verdict(), Verdict::Fail);
}

#[test]
fn a_registry_torn_at_any_byte_goes_on_from_its_last_signed_head() {
    let dir = crashed_log();
    let wal = wals(dir.path(), REGISTRY).remove(0);
    let bytes = fs::read(&wal).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let heads = fs::read_dir(dir.path().join(REGISTRY).join("heads")).unwrap();
    // The newest note is ahead of what these cuts leave, as after a power cut that lost the log's last write.
    heads.for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
    for cut in (used - 900..used).step_by(61) {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(dir.path(), copy.path());
        let mut torn = bytes.clone();
        torn[cut..].fill(0);
        fs::write(wals(copy.path(), REGISTRY).remove(0), &torn).unwrap();
        let (journal, recovered) = Journal::open(config(copy.path())).unwrap();
        assert_eq!(recovered.streams[0].how, Ending::Crashed, "cut at {cut}");
        journal.close().unwrap();
        let report = verify(copy.path());
        assert_eq!(report.verdict(), Verdict::Pass, "cut at {cut}: {report:#?}");
    }
}

/// What a second crash may leave behind the first: the registry's next file, as far as it was written.
#[test]
fn a_registry_whose_next_file_was_never_signed_goes_on_also_behind_a_torn_one() {
    let whole = crashed_log();
    let wal = wals(whole.path(), REGISTRY).remove(0);
    let bytes = fs::read(&wal).unwrap();
    let (header, frames) = Frames::open(&bytes).unwrap();
    let frames: Vec<_> = frames.map(|frame| frame.unwrap()).collect();
    let is_head = |at: &usize| frames[*at].record.windows(10).any(|part| part == b"\"k\":\"head\"");
    let heads: Vec<usize> = (0..frames.len()).filter(is_head).collect();
    let [.., signed, newest] = heads[..] else { panic!("{heads:?}") };
    let end = |at: usize| frames[at].offset + 8 + frames[at].record.len();
    let next = |last: usize, more: &[u8]| {
        let first = last as u64 + 1;
        let mut file = Header { first, ..header.clone() }.encode();
        file.extend_from_slice(more);
        file.resize(4_096, 0);
        (first, file)
    };
    for (last, torn) in [(newest, false), (signed, true)] {
        let (first, empty) = next(last, b"");
        let (_, half) = next(last, &bytes[frames[1].offset..frames[1].offset + 200]);
        for file in [vec![], vec![0; 4_096], b"AEGISWAL".to_vec(), empty, half] {
            let copy = tempfile::tempdir().unwrap();
            copy_dir(whole.path(), copy.path());
            let mut cut = bytes.clone();
            cut[end(last) + if torn { 100 } else { 0 }..].fill(0);
            fs::write(wals(copy.path(), REGISTRY).remove(0), &cut).unwrap();
            let notes = fs::read_dir(copy.path().join(REGISTRY).join("heads")).unwrap();
            notes.for_each(|entry| fs::remove_file(entry.unwrap().path()).unwrap());
            let path = copy.path().join(REGISTRY).join("wal").join(format!("{first:020}.wal"));
            fs::write(path, &file).unwrap();
            let before = verify(copy.path());
            assert_eq!(before.verdict(), Verdict::Incomplete, "{torn} {before:#?}");

            let (journal, recovered) = Journal::open(config(copy.path())).unwrap();
            assert_eq!(recovered.streams[0].how, Ending::Crashed);
            write_calls(&journal, 1);
            journal.close().unwrap();
            let report = verify(copy.path());
            assert_eq!(report.verdict(), Verdict::Pass, "{torn} {report:#?}");
        }
    }
}

#[test]
fn a_tail_reads_every_record_once_across_files_and_lives() {
    let dir = crashed_log();
    let mut settings = config(dir.path());
    settings.file_bytes = 8 * 1024;
    let (journal, _) = Journal::open(settings).unwrap();
    write_calls(&journal, 30);
    let settled = journal.append_blocking(outcome(2, &decision(0)).draft().unwrap()).unwrap();
    let _sealed = settled.durable_blocking().unwrap();
    let durable = *journal.durable().borrow();

    let read_all = |mut tail: Tail| {
        let mut all = Vec::new();
        loop {
            let records = tail.read(7).unwrap();
            if records.is_empty() {
                return all;
            }
            all.extend(records);
            // A reader that starts again from its cursor misses nothing and sees nothing twice.
            let cursor = tail.cursor().unwrap().to_string().parse().unwrap();
            tail = Tail::follow(dir.path(), &journal, Some(cursor));
        }
    };
    let all = read_all(Tail::follow(dir.path(), &journal, None));
    let places: Vec<(u64, u64)> =
        all.iter().map(|one| (one.origin.incarnation(), one.seq)).collect();
    let expected: Vec<(u64, u64)> =
        (0..5).map(|seq| (1, seq)).chain((0..durable).map(|seq| (2, seq))).collect();
    assert_eq!(places, expected);
    let first = Record::parse(&all[0].bytes).unwrap();
    assert!(matches!(first.entry, Entry::Genesis(_)));
}

#[test]
fn a_foreign_key_cannot_open_the_registry() {
    let dir = crashed_log();
    let mut settings = config(dir.path());
    settings.region_key = aegis_audit_chain::note::SecretKey::from_seed(&[9; 32]);
    assert!(Journal::open(settings).is_err());
    assert!(Path::new(dir.path()).join(STREAM).exists());
}

#[test]
fn a_life_that_ended_while_being_born_leaves_a_log_that_verifies() {
    // The registry knows the second stream; of its files only an empty log exists, or not even that.
    for keep_log in [true, false] {
        let dir = crashed_log();
        let other = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open(config(dir.path())).unwrap();
        copy_dir(dir.path(), other.path());
        drop(journal);
        // Cut the registry behind the second birth, and the stream to what stood on disk by then.
        let born = "streams/gw-1/00000000000000000002";
        rewrite(&wals(other.path(), REGISTRY)[0], |records| {
            let is_birth = |record: &Vec<u8>| {
                let text = String::from_utf8_lossy(record);
                text.contains("\"k\":\"stream_born\"") && text.contains("gw-1/2\"")
            };
            let at = records.iter().position(is_birth).unwrap();
            records.truncate(at + 2);
        });
        let notes = fs::read_dir(other.path().join(REGISTRY).join("heads")).unwrap();
        let newest = notes.map(|entry| entry.unwrap().path()).max().unwrap();
        fs::remove_file(newest).unwrap();
        if keep_log {
            rewrite(&wals(other.path(), born)[0], Vec::clear);
            fs::remove_file(other.path().join(born).join("genesis.note")).unwrap();
        } else {
            fs::remove_dir_all(other.path().join(born)).unwrap();
        }

        let (journal, recovered) = Journal::open(config(other.path())).unwrap();
        let sizes: Vec<u64> = recovered.streams.iter().map(|stream| stream.size).collect();
        assert_eq!(sizes, [5, 0]);
        assert_eq!(recovered.unsettled.len(), 1);
        journal.close().unwrap();
        let report = verify(other.path());
        assert_eq!(report.verdict(), Verdict::Pass, "{keep_log}: {report:#?}");
    }
}
