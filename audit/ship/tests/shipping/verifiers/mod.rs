//! Others' verifiers over a log that the real journal wrote and the real shipper shipped: the Go team's x/mod, and aics-tlog.
//!
//! They share nothing with ours but the published formats. Cloudflare's crates are in `audit/chain/tests/others.rs`.

mod log;
mod mutations;
mod peers;
mod segments;
mod tiles;
pub(crate) mod witness;

use std::fs;

use aegis_audit_chain::record::{Entry, Record};
use aegis_audit_chain::{Hash, Origin, tree};
use aegis_audit_proof::prove;

use self::log::Log;
use self::peers::{Aics, Go};
use crate::support::{DirSource, trust};

#[test]
fn go_s_verifier_passes_what_we_ship_and_every_record_in_it() {
    let Some(go) = Go::find() else { return };
    let log = Log::write();
    let (passes, said) = go.bucket(log.place.bucket.path());
    let records = format!("gw-1/1: {} records", log.records.len());
    assert!(passes && said.contains(&records), "{said}");
}

#[test]
fn go_s_verifier_believes_our_proofs_and_no_other() {
    let Some(go) = Go::find() else { return };
    let log = Log::write();
    let source = DirSource(log.place.dir.path().to_path_buf());
    // Every twentieth decision, and so proofs under several heads.
    let mut decisions = 0;
    let wanted = &mut |_: &Origin, record: &Record| {
        decisions += usize::from(matches!(record.entry, Entry::Decision(_)));
        matches!(record.entry, Entry::Decision(_)) && decisions % 20 == 1
    };
    let proofs = prove(&source, &trust(), wanted).unwrap();
    assert!(proofs.len() >= 10, "{}", proofs.len());
    for mut proof in proofs {
        let (passes, said) = go.proof(&proof.to_text());
        assert!(passes, "record {}: {said}", proof.index);
        proof.index += 1;
        assert!(!go.proof(&proof.to_text()).0);
    }
}

#[test]
fn go_s_verifier_believes_that_each_of_our_heads_extends_the_ones_before() {
    let Some(go) = Go::find() else { return };
    let log = Log::write();
    let leaves: Vec<Hash> = log.records.iter().map(|record| Hash::leaf(record)).collect();
    let newest = log.heads.last().unwrap();
    assert!(log.heads.len() >= 3, "{:?}", log.heads);
    for (size, note) in &log.heads {
        let path = tree::consistency_proof(&leaves[..newest.0 as usize], *size as usize).unwrap();
        let (passes, said) = go.consistency(&log.vkey, (note, &newest.1), &path);
        assert!(passes, "{size} under {}: {said}", newest.0);
        let longer = [path.as_slice(), &[Hash::ZERO]].concat();
        assert!(!go.consistency(&log.vkey, (note, &newest.1), &longer).0);
    }
}

#[test]
fn the_log_as_c2sp_tiles_passes_go_s_verifier_and_aics() {
    let log = Log::write();
    let dir = tempfile::tempdir().unwrap();
    tiles::project(&log.records, log.newest(), dir.path());
    assert!(fs::metadata(dir.path().join("tile/0/000")).unwrap().len() == 256 * 32);
    let records = format!("{} records\n", log.records.len());
    if let Some(go) = Go::find() {
        let (passes, said) = go.tiles(&log.vkey, dir.path(), log.older());
        assert!(passes && said.starts_with(&records), "{said}");
    }
    if let Some(aics) = Aics::find() {
        let (passes, said) = aics.tiles(&log.vkey, dir.path(), log.older());
        assert!(passes && said.starts_with(&records), "{said}");
    }
}
