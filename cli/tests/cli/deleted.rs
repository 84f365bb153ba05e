//! Reading a folder whose first records were shipped and deleted: each command says where they are, and accuses nobody.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use aegis_domain::{DecisionId, Effect};

use crate::ledger::Ledger;
use crate::support::{Home, stderr};

const STREAM: &str = "audit/streams/gw-1/00000000000000000001";

/// A life that shipped, and deleted its first file; with a decision that was in it.
fn deleted() -> (Home, DecisionId) {
    let home = Home::empty();
    let mut ledger = Ledger::open(&home);
    let id = ledger.call("one", Effect::Allow, 150);
    for _ in 0..40 {
        ledger.call("one", Effect::Allow, 150);
    }
    let shipper = ledger.ship_and_delete(&home.path("bucket"));
    let first = home.path(STREAM).join("wal/00000000000000000000.wal");
    while first.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    ledger.close();
    shipper.stop(Duration::from_secs(60));
    (home, id)
}

/// What needs all of a log, each time with another file to write.
fn commands(home: &Home, turn: &str) -> Vec<Vec<String>> {
    let out = |name: &str| home.path(&format!("{turn}.{name}")).display().to_string();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        words(&["audit", "tenant", "--tenant", "acme", "--out", &out("package")]),
        words(&["audit", "export", "--csv", &out("csv")]),
        words(&["audit", "query", "--tenant", "acme"]),
    ]
}

fn run(home: &Home, words: &[String], more: &[&str]) -> assert_cmd::assert::Assert {
    home.run(&words.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn what_was_shipped_and_deleted_is_not_taken_for_a_change_and_the_bucket_has_it() {
    let (home, id) = deleted();
    let bucket = home.path("bucket").display().to_string();
    let out = home.path("").display().to_string();
    let prove = |what: &[&str]| {
        let words = [&["audit", "prove"], what, &["--out", &out]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let place = "aegis.localhost/local/gw-1/1#2";
    let proofs = [prove(&[id.as_str()]), prove(&["--record", place])];
    for words in commands(&home, "here").into_iter().chain(proofs) {
        let told = stderr(&run(&home, &words, &[]).code(3));
        assert!(told.contains("were shipped and deleted here"), "{words:?}: {told}");
        assert!(told.contains("--from"), "{words:?}: {told}");
        run(&home, &words, &["--from", &bucket]).success();
    }
    let told = stderr(&home.run(&["audit", "disclose", "--tenant", "acme", id.as_str()]).code(3));
    assert!(told.contains("were shipped and deleted here"), "{told}");
    let told = stderr(&home.run(&["audit", "show", id.as_str()]).code(3));
    assert!(told.contains("were shipped and deleted here"), "{told}");
    // What is asked for and never was is not said to be there.
    let told = stderr(&home.run(&["audit", "show", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"]).code(3));
    assert!(!told.contains("deleted"), "{told}");
    let words = prove(&["--record", "aegis.localhost/local/gw-1/1#99999"]);
    let told = stderr(&run(&home, &words, &[]).code(3));
    assert!(!told.contains("deleted"), "{told}");
}

/// Whoever takes the beginning away may say that it was shipped; only the region's word counts.
#[test]
fn a_beginning_that_is_gone_without_the_regions_word_is_a_change() {
    let (home, _) = deleted();
    let note: PathBuf = home.path(STREAM).join("pruned.note");
    let text = fs::read_to_string(&note).unwrap();
    let size = text.lines().nth(2).unwrap();
    let forged = text.replacen(&format!("\n{size}\n"), "\n1\n", 1);
    assert_ne!(forged, text);
    let other = text.replacen("gw-1/1\n", "gw-1/2\n", 1);
    assert_ne!(other, text);
    type Change<'c> = &'c dyn Fn();
    let changes: [(&str, Change<'_>); 3] = [
        ("forged", &|| fs::write(&note, &forged).unwrap()),
        ("other", &|| fs::write(&note, &other).unwrap()),
        ("none", &|| fs::remove_file(&note).unwrap()),
    ];
    for (name, change) in changes {
        change();
        for words in commands(&home, name) {
            let told = stderr(&run(&home, &words, &[]).code(1));
            assert!(told.contains("is not what was signed"), "{name}, {words:?}: {told}");
        }
    }
}
