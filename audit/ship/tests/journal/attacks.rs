//! Every way to tamper with a log at rest, each with the verdict and the place it must lead to.

use std::fs;
use std::path::{Path, PathBuf};

use aegis_audit_chain::note::SecretKey;
use aegis_audit_ship::Journal;
use aegis_audit_verify::{Finding, Flaw, Verdict};

use crate::support::{config, decision, outcome, rewrite, verify, verify_with, wals, write_calls};

const STREAM: &str = "streams/gw-1/00000000000000000001";
const REGISTRY: &str = "registry.gw-1/1";
const CALLS: u64 = 40;

/// A log that ended in order: genesis, anchor_ref, 40 calls of two records, two tenants' seals, seal, close, over several files.
fn closed_log() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.file_bytes = 16 * 1024;
    let (journal, _) = Journal::open(config).unwrap();
    write_calls(&journal, CALLS);
    journal.close().unwrap();
    drop(journal);
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!(report.streams[0].records, 2 + 2 * CALLS + 4);
    assert!(wals(dir.path(), STREAM).len() > 2);
    dir
}

/// Tampers with a fresh log and hands out what the verifier found first; it must be a failure.
fn first_finding(tamper: impl FnOnce(&Path)) -> Finding {
    let dir = closed_log();
    tamper(dir.path());
    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
    report.findings[0].clone()
}

fn second_file(dir: &Path) -> PathBuf {
    wals(dir, STREAM)[1].clone()
}

/// Number of the first record of a file, which is its name.
fn first_of(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[test]
fn a_flipped_byte_is_named_by_file_offset_and_record() {
    let mut expected = (PathBuf::new(), 0);
    let finding = first_finding(|dir| {
        let path = second_file(dir);
        let mut bytes = fs::read(&path).unwrap();
        let (_, mut frames) = aegis_audit_chain::frame::Frames::open(&bytes).unwrap();
        frames.next();
        let third = frames.nth(1).unwrap().unwrap();
        let at = third.offset + 300;
        expected = (path.clone(), third.offset as u64);
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
    });
    assert!(matches!(finding.flaw, Flaw::Frame(_)), "{finding:?}");
    assert_eq!(finding.place.offset, Some(expected.1));
    assert_eq!(finding.place.seq, Some(first_of(&expected.0) + 2));
    assert!(expected.0.ends_with(finding.place.file.unwrap()));
}

#[test]
fn an_edited_record_with_a_good_checksum_is_named() {
    let mut edited = 0;
    let finding = first_finding(|dir| {
        let path = second_file(dir);
        edited = first_of(&path) + 3;
        rewrite(&path, |records| {
            let text = String::from_utf8(records[3].clone()).unwrap();
            records[3] = text.replace("\"tool\":\"payments", "\"tool\":\"payment5").into_bytes();
        });
    });
    assert_eq!((finding.flaw, finding.place.seq), (Flaw::Changed, Some(edited)));
}

#[test]
fn swapped_removed_and_repeated_records_are_named() {
    type Edit = fn(&mut Vec<Vec<u8>>);
    let edits: [(Edit, u64); 3] = [
        (|records| records.swap(4, 5), 4),
        (|records| drop(records.remove(6)), 6),
        (|records| records.insert(8, records[7].clone()), 8),
    ];
    for (edit, at) in edits {
        let mut seq = 0;
        let finding = first_finding(|dir| {
            let path = second_file(dir);
            seq = first_of(&path) + at;
            rewrite(&path, edit);
        });
        assert!(matches!(finding.flaw, Flaw::Link(_)), "{finding:?}");
        assert_eq!(finding.place.seq, Some(seq));
    }
}

#[test]
fn a_cut_tail_is_measured_against_what_was_signed() {
    let finding = first_finding(|dir| {
        let path = wals(dir, STREAM).pop().unwrap();
        rewrite(&path, |records| records.truncate(records.len() - 3));
    });
    let total = 2 + 2 * CALLS + 4;
    assert_eq!(finding.flaw, Flaw::Truncated { found: total - 3, signed: total });
    assert_eq!(finding.place.seq, Some(total - 3));
}

#[test]
fn a_tail_rewritten_with_good_links_has_another_root() {
    let finding = first_finding(|dir| {
        let path = wals(dir, STREAM).pop().unwrap();
        rewrite(&path, |records| {
            let last = records.last_mut().unwrap();
            let at = last.len() - 45;
            last[at] = if last[at] == b'1' { b'2' } else { b'1' };
        });
    });
    assert!(matches!(finding.flaw, Flaw::Root { .. } | Flaw::Link(_)), "{finding:?}");
    assert_eq!(finding.place.seq, Some(2 + 2 * CALLS + 3));
}

#[test]
fn removed_files_are_named() {
    let middle = first_finding(|dir| fs::remove_file(second_file(dir)).unwrap());
    assert_eq!(middle.flaw, Flaw::Misplaced);
    let last = first_finding(|dir| fs::remove_file(wals(dir, STREAM).pop().unwrap()).unwrap());
    assert!(matches!(last.flaw, Flaw::Truncated { .. }));
    for file in ["genesis.note", "heads/00000000000000000086.note"] {
        let finding = first_finding(|dir| fs::remove_file(dir.join(STREAM).join(file)).unwrap());
        assert_eq!(finding.flaw, Flaw::Missing);
        assert_eq!(finding.place.file.unwrap(), format!("{STREAM}/{file}"));
    }
}

#[test]
fn a_removed_stream_leaves_its_name_and_size_behind() {
    let finding = first_finding(|dir| fs::remove_dir_all(dir.join(STREAM)).unwrap());
    assert_eq!(finding.flaw, Flaw::StreamGone { signed: 2 + 2 * CALLS + 4 });
    assert_eq!(finding.place.origin.unwrap().as_str(), "aegis.example/eu-west-1/gw-1/1");
}

#[test]
fn bytes_and_files_that_the_log_did_not_write_are_named() {
    let appended = first_finding(|dir| {
        let path = wals(dir, STREAM).pop().unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"more");
        fs::write(&path, bytes).unwrap();
    });
    assert!(matches!(appended.flaw, Flaw::Frame(_)), "{appended:?}");
    let stray =
        first_finding(|dir| fs::write(dir.join(STREAM).join("wal/notes.txt"), "x").unwrap());
    assert_eq!(stray.flaw, Flaw::Stray);
    let stranger = first_finding(|dir| {
        fs::create_dir_all(dir.join("streams/gw-1/00000000000000000009/wal")).unwrap();
    });
    assert_eq!(stranger.flaw, Flaw::Stranger);
}

#[test]
fn what_stands_beside_the_files_of_a_log_is_named_and_drafts_are_passed_over() {
    for stray in [
        format!("{STREAM}/decisions.jsonl"),
        format!("{STREAM}/wal.old"),
        format!("{STREAM}/witnessed"),
        format!("{REGISTRY}/notes.txt"),
        format!("{REGISTRY}/pruned.note"),
    ] {
        let found = first_finding(|dir| fs::write(dir.join(&stray), "x").unwrap());
        assert_eq!((found.flaw, found.place.file.as_ref()), (Flaw::Stray, Some(&stray)));
    }
    let dir = closed_log();
    for draft in [format!("{STREAM}/genesis.tmp"), format!("{REGISTRY}/heads/1.tmp")] {
        fs::write(dir.path().join(draft), "x").unwrap();
    }
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass);
}

#[test]
fn what_stands_beside_the_logs_is_suspect_and_what_belongs_there_is_not() {
    for guest in ["decisions.jsonl", "registry.gw-1/notes.txt", "registry-2/x", "stream"] {
        let dir = closed_log();
        fs::create_dir_all(dir.path().join(guest).parent().unwrap()).unwrap();
        fs::write(dir.path().join(guest), "x").unwrap();
        let report = verify(dir.path());
        assert_eq!(report.verdict(), Verdict::Suspect, "{guest}");
        let found = &report.findings[0];
        let named = if guest.starts_with("registry-2") { "registry-2" } else { guest };
        assert_eq!((&found.flaw, found.place.file.as_deref()), (&Flaw::Guest, Some(named)));
    }
    let dir = closed_log();
    for own in ["lost+found", "ship", "registry.gw-2/1"] {
        fs::create_dir_all(dir.path().join(own)).unwrap();
    }
    fs::write(dir.path().join("ship/cursor.man"), "x").unwrap();
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass);
}

#[test]
fn a_log_signed_anew_with_another_key_is_refused() {
    let forged = tempfile::tempdir().unwrap();
    let mut other = config(forged.path());
    other.region_key = SecretKey::from_seed(&[8; 32]);
    let (journal, _) = Journal::open(other).unwrap();
    write_calls(&journal, 3);
    journal.close().unwrap();
    let report = verify(forged.path());
    assert_eq!(report.verdict(), Verdict::Fail);
    assert!(matches!(report.findings[0].flaw, Flaw::Registry(_)), "{report:#?}");
}

#[test]
fn a_stream_replaced_by_one_with_its_own_key_is_refused() {
    // The attacker has the disk but not the region key: a whole stream of the same name, made elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(elsewhere.path())).unwrap();
    write_calls(&journal, CALLS);
    journal.close().unwrap();
    let finding = first_finding(|dir| {
        fs::remove_dir_all(dir.join(STREAM)).unwrap();
        let copied = std::process::Command::new("cp")
            .arg("-r")
            .arg(elsewhere.path().join(STREAM))
            .arg(dir.join(STREAM))
            .status();
        assert!(copied.unwrap().success());
    });
    assert!(matches!(finding.flaw, Flaw::Note(_)), "{finding:?}");
}

#[test]
fn the_registry_is_held_to_its_own_signatures() {
    let edited = first_finding(|dir| {
        rewrite(&wals(dir, REGISTRY)[0], |records| {
            let text = String::from_utf8(records[2].clone()).unwrap();
            records[2] = text.replace("gw-1", "gw-2").into_bytes();
        });
    });
    assert!(matches!(edited.flaw, Flaw::Registry(_)), "{edited:?}");
    let cut = first_finding(|dir| {
        rewrite(&wals(dir, REGISTRY)[0], |records| records.truncate(records.len() - 3));
    });
    assert!(matches!(cut.flaw, Flaw::Truncated { .. }), "{cut:?}");
}

#[test]
fn a_whole_log_set_back_is_seen_by_whoever_kept_a_head() {
    let dir = closed_log();
    let remembered = verify(dir.path()).registries[0].clone();
    fs::remove_dir_all(dir.path()).unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    write_calls(&journal, 1);
    journal.close().unwrap();
    assert_eq!(verify(dir.path()).verdict(), Verdict::Pass, "nothing here says there was more");
    assert_eq!(verify_with(dir.path(), vec![remembered]).verdict(), Verdict::Fail);
}

#[test]
fn nothing_is_never_valid() {
    let dir = tempfile::tempdir().unwrap();
    let report = verify(dir.path());
    assert_eq!((report.verdict(), &report.findings[0].flaw), (Verdict::Fail, &Flaw::Empty));
    let wiped = first_finding(|dir| {
        fs::remove_dir_all(dir.join(REGISTRY)).unwrap();
    });
    assert_eq!(wiped.flaw, Flaw::Empty);
}

#[test]
fn records_that_contradict_each_other_are_suspect_though_every_signature_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(config(dir.path())).unwrap();
    write_calls(&journal, 1);
    let again = outcome(2, &decision(0)).draft().unwrap();
    journal.append_blocking(again).unwrap();
    let mut other = outcome(5, &decision(1));
    other.of.id = decision(9).id;
    journal.append_blocking(decision(1).draft().unwrap()).unwrap();
    journal.append_blocking(other.draft().unwrap()).unwrap();
    journal.close().unwrap();

    let report = verify(dir.path());
    assert_eq!(report.verdict(), Verdict::Suspect);
    let found: Vec<_> =
        report.findings.iter().map(|one| (one.flaw.clone(), one.place.seq)).collect();
    assert_eq!(found, [(Flaw::OutcomeAlone, Some(4)), (Flaw::OutcomeOther, Some(6))]);
    let json = report.to_json();
    assert_eq!(
        (json["verdict"].as_str(), json["findings"][1]["seq"].as_u64()),
        (Some("SUSPECT"), Some(6))
    );
}
