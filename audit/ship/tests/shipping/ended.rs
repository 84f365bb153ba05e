//! A process that is killed with records under no head of its stream's key: each that it was told is durable can be proved all the
//! same, by what the next life's registry tells of the end, out of the directory and out of the bucket.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aegis_audit_chain::record::{DecisionEntry, Ending, Entry};
use aegis_audit_chain::source::LogSource;
use aegis_audit_proof::{Proof, ProofError, Search, prove_at, prove_call};
use aegis_audit_ship::{Bucket, BucketLog, Indexes, Journal, start};
use aegis_domain::DecisionId;

use crate::python::Python;
use crate::support::{DirSource, Place, config, decision, origin, rewrite, trust, wait_for, wals};

const DIR: &str = "AEGIS_TEST_ENDED_DIR";
const CALLS: u64 = 40;

/// Not a test of its own: the process that the test below kills. It says each decision that is durable.
#[test]
fn child_that_decides_until_it_is_killed() {
    let Some(dir) = env::var_os(DIR).map(PathBuf::from) else { return };
    let (journal, _) = Journal::open(config(&dir)).unwrap();
    for n in 0.. {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let id = DecisionId::new(now.as_millis().try_into().unwrap(), [n as u8; 10]);
        let draft = DecisionEntry { id, ..decision(n) }.draft().unwrap();
        let sealed = journal.append_blocking(draft).unwrap().durable_blocking().unwrap();
        let line = format!("ack {} {id}\n", sealed.position().seq);
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}

/// A life that ends by SIGKILL; what it said of its decisions.
fn die(dir: &Path) -> Vec<(u64, DecisionId)> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "ended::child_that_decides_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = Vec::new();
    for line in lines.map_while(Result::ok) {
        if let ["ack", seq, id] = line.split(' ').collect::<Vec<_>>()[..]
            && let Ok(id) = DecisionId::parse(id)
        {
            told.push((seq.parse().unwrap(), id));
        }
        if told.len() as u64 == CALLS {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    told
}

/// A crash, and a life after it that ships both.
fn crash() -> (Place, Vec<(u64, DecisionId)>) {
    let place = Place::new();
    let told = die(place.dir.path());
    assert!(told.len() as u64 >= CALLS, "{told:?}");
    let (journal, recovered) = Journal::open(place.journal()).unwrap();
    assert_eq!(recovered.streams[0].how, Ending::Crashed);
    let shipper = start(place.shipping(), &journal).unwrap();
    journal.close().unwrap();
    wait_for(&shipper, |standing| standing.segments >= 3);
    assert_eq!(shipper.stop(Duration::from_secs(30)).trouble, None);
    (place, told)
}

/// Proves each decision by its place and by its id; hands out the last record's proof.
fn prove_all(source: &dyn LogSource, told: &[(u64, DecisionId)]) -> Proof {
    let mut last = None;
    for (seq, id) in told {
        let proof = prove_at(source, &trust(), (&origin(), *seq)).unwrap().unwrap();
        let read = Proof::parse(&proof.to_text()).unwrap();
        let proven = read.check(&trust()).unwrap();
        assert_eq!((&read, proven.record.head.seq, proven.head.origin), (&proof, *seq, origin()));
        let Entry::Decision(known) = proven.record.entry else { unreachable!("{proof:?}") };
        assert_eq!(known.id, *id);
        last = Some(proof);
    }
    for (_, id) in [told[0], told[told.len() - 1]] {
        let found = prove_call(source, &trust(), (id, Search::AboutItsTime)).unwrap();
        // The call's outcome stands in the next life.
        assert_eq!(found.len(), 2, "{id}");
    }
    last.unwrap()
}

#[test]
fn what_a_killed_process_attested_last_is_proved_by_the_end_that_its_registry_tells() {
    let (place, told) = crash();
    let in_directory = prove_all(&DirSource(place.dir.path().to_path_buf()), &told);
    assert!(in_directory.end.is_some(), "no head of its own covers what was written last");
    let bucket = Bucket::open(&place.address()).unwrap();
    let log = BucketLog::open(&bucket, &trust(), Indexes::Unread).unwrap();
    let in_bucket = prove_all(&log, &told);
    assert_eq!(in_bucket, in_directory);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("it.tlog-proof");
    if let Some(python) = Python::find() {
        std::fs::write(&file, in_bucket.to_text()).unwrap();
        let (passes, said) = python.run(&["--proof", file.to_str().unwrap()]);
        assert!(passes && said.contains("gw-1/1: record"), "{said}");
    }
    // Whatever is said of the end besides, nothing is proved by it.
    let end = in_bucket.end.clone().unwrap();
    type Lie = fn(&mut Proof);
    let lies: [Lie; 5] = [
        |proof| proof.index += 1,
        |proof| proof.record[300] ^= 1,
        |proof| proof.end.as_mut().unwrap().index += 1,
        |proof| proof.end.as_mut().unwrap().record[260] ^= 1,
        |proof| proof.checkpoint = proof.checkpoint.replacen("registry.gw-1", "gw-1", 1),
    ];
    for (nth, lie) in lies.into_iter().enumerate() {
        let mut proof = in_bucket.clone();
        lie(&mut proof);
        assert!(proof.check(&trust()).is_err(), "{nth}");
    }
    // Another record of the registry tells of no end.
    let born = Proof { end: None, record: end.record, ..in_bucket };
    assert!(matches!(born.check(&trust()), Err(ProofError::Birth)));
}

#[test]
fn a_registry_whose_end_is_gone_proves_no_more_than_its_heads() {
    let (place, told) = crash();
    // As far as the first life's registry was: born, and nothing of it is signed.
    let wal = wals(place.dir.path(), "registry.gw-1/1").remove(0);
    rewrite(&wal, |records| records.truncate(4));
    let source = DirSource(place.dir.path().to_path_buf());
    for wal in wals(place.dir.path(), "registry.gw-1/1").into_iter().skip(1) {
        std::fs::remove_file(wal).unwrap();
    }
    let seq = told[told.len() - 1].0;
    let found = prove_at(&source, &trust(), (&origin(), seq));
    assert!(matches!(found, Err(ProofError::Uncovered { .. })), "{found:?}");
}
