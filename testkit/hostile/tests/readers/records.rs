//! Records: the one JSON form that is hashed and signed.
//!
//! Not here: their links (`segments`). Invariant: a record that is read is byte for byte what a writer makes of what was read,
//! and both ways to read one agree.

use aegis_audit_chain::link::{Reading, Sequencer};
use aegis_audit_chain::record::{Draft, Entry, Head, Kind, Record, RecordError, skim};
use aegis_domain::Timestamp;
use aegis_hostile::attack;

use super::{published, published_bytes, stream};

/// Length of the head, which a sequencer writes.
const HEAD: usize = 234;

fn draft(entry: &Entry) -> Result<Draft, RecordError> {
    match entry {
        Entry::Genesis(entry) => entry.draft(),
        Entry::Decision(entry) => entry.draft(),
        Entry::Outcome(entry) => entry.draft(),
        Entry::Clock(entry) => entry.draft(),
        Entry::AnchorRef(entry) => entry.draft(),
        Entry::Change(entry) => entry.draft(),
        Entry::TenantSeal(entry) => entry.draft(),
        Entry::Seal(entry) => entry.draft(),
        Entry::Close => Draft::close(),
        Entry::Born(entry) => entry.draft(),
        Entry::Anchor(entry) => entry.draft(),
        Entry::Failed(entry) => entry.draft(),
        Entry::Revoked(entry) => entry.draft(),
        Entry::Closed(entry) => entry.draft(),
        Entry::Head(entry) => entry.draft(),
        Entry::Gap(entry) => entry.draft(),
    }
}

/// What a writer makes of an entry, behind the head.
fn written(entry: &Entry) -> Result<Vec<u8>, RecordError> {
    let now = Reading { wall: Timestamp::from_unix_s(0), mono_ns: 0 };
    let record = Sequencer::new(stream()).place(draft(entry)?, now).bytes;
    Ok(record[HEAD..].to_vec())
}

/// Every published record, of streams and of the registry.
fn records() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = published("records.jsonl").lines().map(Into::into).collect();
    all.push(published("change.json").trim_end().into());
    let registry = published_bytes("region/registry/1/wal/00000000000000000000.wal");
    let (_, frames) = aegis_audit_chain::frame::Frames::open(&registry).unwrap();
    all.extend(frames.map(|frame| frame.unwrap().record.to_vec()));
    all
}

#[test]
fn a_record_has_one_spelling_and_both_readers_agree_on_it() {
    let records = records();
    for record in &records {
        assert_eq!(written(&Record::parse(record).unwrap().entry).unwrap(), record[HEAD..]);
    }
    attack(&records, |input| {
        let skimmed = skim(input);
        match Entry::parse(input) {
            Ok(entry) => {
                assert!(skimmed.is_ok());
                assert_eq!(
                    written(&entry).unwrap().escape_ascii().to_string(),
                    input[HEAD..].escape_ascii().to_string()
                );
            }
            Err(_) => {
                let whole = [Kind::Decision, Kind::Outcome];
                let begins = |kind: &Kind| {
                    let rest = input.get(HEAD..).unwrap_or_default();
                    rest.starts_with(format!("{}\"", kind.as_str()).as_bytes())
                };
                assert!(skimmed.is_err() || !whole.iter().any(begins));
            }
        }
        if let Some(head) = Head::parse(input) {
            assert!(
                input.starts_with(format!("{{\"v\":1,\"seq\":\"{:020}\"", head.seq).as_bytes())
            );
        }
    });
}
