//! The published logs: each a folder, and what it shows.

use aegis_audit_chain::cosignature::Cosigner;
use aegis_audit_chain::frame::push_frame;
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::*;
use aegis_audit_chain::{Hash, Head, layout};
use aegis_audit_proof::Proof;
use aegis_audit_trust::{Revoked, Trust};
use aegis_domain::Timestamp;

use crate::life::{Files, Life, START_S, decision, outcome, refusal};

const REGISTRY: &str = "aegis.example/eu-west-1/registry.gw-1/1";
const STREAMS: [&str; 2] = ["aegis.example/eu-west-1/gw-1/1", "aegis.example/eu-west-1/gw-1/2"];

fn region() -> Signer {
    Signer::new(REGISTRY, SecretKey::from_seed(&[1; 32]))
}

pub(crate) fn trust() -> Trust {
    Trust::of(region().verifier().clone()).unwrap()
}

/// Believes the first stream of all these logs up to so many records.
pub(crate) fn revoking(size: usize) -> Trust {
    let Crash { first, .. } = crash();
    let leaves: Vec<Hash> = first.records[..size].iter().map(|it| Hash::leaf(it)).collect();
    let (origin, root) = (first.origin, aegis_audit_chain::tree::root(&leaves));
    let head = Head { origin, size: size as u64, root };
    trust().revoke(Revoked::new(head)).unwrap()
}

/// Believes it as far, with another root.
pub(crate) fn revoking_other() -> Trust {
    let head = Head { root: Hash::of(b"other"), ..crash().first.head() };
    trust().revoke(Revoked::new(Head { size: 4, ..head })).unwrap()
}

fn registry() -> Life {
    let mut registry = Life::new(REGISTRY, 1, None);
    registry.sign();
    registry
}

/// A stream that its registry has born, up to the record that says so.
fn stream(registry: &mut Life, nth: usize, previous: Option<Previous>) -> Life {
    let mut stream = Life::new(STREAMS[nth], 2 + nth as u8, previous.clone());
    registry.put(stream.born(previous));
    let Head { size, root, .. } = registry.sign();
    let registry = registry.origin.clone();
    stream.put(AnchorRefEntry { registry, size, root }.draft().unwrap());
    stream
}

/// A call with its end.
fn call(stream: &mut Life, n: u64, tenant: &str) {
    let (decision, seq) = (decision(n, tenant), stream.size());
    stream.put(decision.draft().unwrap());
    stream.put(outcome(seq, &decision).draft().unwrap());
}

fn close(registry: &mut Life, stream: &mut Life) {
    stream.seals();
    stream.put(Draft::close().unwrap());
    registry.put(stream.anchor());
    registry.put(stream.closed(Ending::Closed, None).draft().unwrap());
    registry.sign();
}

/// A directory of logs that lie in one file each.
fn directory(registry: &Life, streams: &[&Life]) -> Files {
    let mut files = Files::new();
    for life in [&[registry][..], streams].concat() {
        life.wal(&mut files, (0, life.size()), &[]);
        life.birth(&mut files, &registry.signer);
    }
    files
}

fn with_heads(mut files: Files, streams: &[&Life]) -> Files {
    streams.iter().for_each(|life| life.head_note(&mut files, &life.head()));
    files
}

/// The half of a record that its writer's death left.
fn half(record: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    push_frame(&mut frame, record);
    frame.truncate(frame.len() / 2);
    frame
}

/// Two lives: the first ended with its process, amid a record of its own and one of the registry's.
pub(crate) struct Crash {
    pub(crate) registry: Life,
    pub(crate) first: Life,
    pub(crate) files: Files,
}

pub(crate) fn crash() -> Crash {
    let mut registry = registry();
    let mut first = stream(&mut registry, 0, None);
    call(&mut first, 0, "acme");
    registry.put(first.anchor());
    registry.sign();
    let anchored = registry.size();
    // Attested, and under no head of its stream's key.
    first.put(decision(1, "acme").draft().unwrap());
    first.put(refusal(2).draft().unwrap());
    let rest = half(&first.records[3]);
    let tail = TornTail {
        file: 0,
        offset: first.wal_bytes((0, first.size())),
        bytes: rest.len() as u64,
        sha256: Hash::of(&rest),
    };
    let registry_rest = half(&registry.records[2]);
    let gap = TornTail {
        file: 0,
        offset: registry.wal_bytes((0, anchored)),
        bytes: registry_rest.len() as u64,
        sha256: Hash::of(&registry_rest),
    };
    registry.put(gap.draft().unwrap());
    let mut second = stream(&mut registry, 1, Some(first.previous()));
    let unsettled = OutcomeEntry::unknown(&first.origin, 4, &decision(1, "acme"));
    second.put(unsettled.draft().unwrap());
    registry.put(first.closed(Ending::Crashed, Some(tail)).draft().unwrap());
    registry.sign();
    call(&mut second, 3, "globex");
    close(&mut registry, &mut second);

    let mut files = Files::new();
    registry.wal(&mut files, (0, anchored), &registry_rest);
    registry.wal(&mut files, (anchored, registry.size()), &[0; 64]);
    first.wal(&mut files, (0, first.size()), &[&rest[..], &[0; 64]].concat());
    second.wal(&mut files, (0, second.size()), &[]);
    for life in [&registry, &first, &second] {
        life.birth(&mut files, &registry.signer);
    }
    second.head_note(&mut files, &second.head());
    // What else may lie there.
    for (path, bytes) in [
        ("lock", ""),
        ("ship/cursor.man", "a shipper's own"),
        ("registry.gw-1/1/wal/00000000000000000099.torn", "never signed"),
        ("streams/gw-1/00000000000000000001/heads/draft.tmp", "half a note"),
    ] {
        files.insert(path.to_owned(), bytes.into());
    }
    Crash { registry, first, files }
}

/// A copy of a log that is being written: more than the newest head covers, and half a record.
pub(crate) fn alive() -> Files {
    let mut registry = registry();
    let mut stream = stream(&mut registry, 0, None);
    call(&mut stream, 0, "acme");
    registry.put(stream.anchor());
    registry.sign();
    call(&mut stream, 1, "acme");
    let mut files = directory(&registry, &[&stream]);
    stream.wal(&mut files, (0, stream.size()), &half(&stream.records[2]));
    files
}

/// The first of two files was shipped and deleted.
pub(crate) fn pruned() -> Files {
    let mut registry = registry();
    let mut stream = stream(&mut registry, 0, None);
    call(&mut stream, 0, "acme");
    call(&mut stream, 1, "globex");
    let deleted = stream.size();
    call(&mut stream, 2, "acme");
    close(&mut registry, &mut stream);
    let mut files = with_heads(directory(&registry, &[]), &[&stream]);
    stream.birth(&mut files, &registry.signer);
    stream.wal(&mut files, (deleted, stream.size()), &[]);
    stream.pruned(&mut files, deleted, &registry.signer);
    files
}

/// A bucket: of the first stream two segments, the second of which is of two groups.
pub(crate) fn shipped() -> Files {
    let mut registry = registry();
    let mut first = stream(&mut registry, 0, None);
    while first.size() < 250 {
        let n = first.size();
        call(&mut first, n, "acme");
    }
    registry.put(first.anchor());
    let seen = registry.sign();
    let before = registry.size();
    for n in 300..305 {
        call(&mut first, n, "globex");
    }
    close(&mut registry, &mut first);
    let mut second = stream(&mut registry, 1, Some(first.previous()));
    call(&mut second, 400, "acme");
    close(&mut registry, &mut second);
    let (mut files, region) = (Files::new(), registry.signer.clone());
    first.ship(&mut files, &[(250, 0), (first.size(), before)], &region);
    second.ship(&mut files, &[(second.size(), before)], &region);
    registry.ship(&mut files, &[(before, 0), (registry.size(), 0)], &region);
    first.shipped_head(&mut files);
    second.shipped_head(&mut files);
    let note = seen.note(&region) + &cosigned(&seen, &[1, 2]);
    files.insert(layout::bucket_witnessed(&registry.origin, seen.size), note.into());
    files
}

/// A bucket between two objects: the second stream is here, and the registry's segment that names it is not.
pub(crate) fn on_its_way() -> Files {
    let mut registry = registry();
    let mut first = stream(&mut registry, 0, None);
    call(&mut first, 0, "acme");
    close(&mut registry, &mut first);
    let known = registry.size();
    let mut second = stream(&mut registry, 1, Some(first.previous()));
    call(&mut second, 1, "acme");
    let (mut files, region) = (Files::new(), registry.signer.clone());
    first.ship(&mut files, &[(first.size(), 0)], &region);
    first.shipped_head(&mut files);
    second.ship(&mut files, &[(second.size(), known)], &region);
    registry.ship(&mut files, &[(known, 0)], &region);
    files
}

fn witness(seed: u8) -> Cosigner {
    Cosigner::new(&format!("w{seed}.example"), SecretKey::from_seed(&[20 + seed; 32])).unwrap()
}

fn cosigned(head: &Head, by: &[u8]) -> String {
    cosigned_since(START_S, head, by)
}

/// Each witness a second after the one before.
fn cosigned_since(unix_s: u64, head: &Head, by: &[u8]) -> String {
    let at = |seed: u8| Timestamp::from_unix_s(unix_s + u64::from(seed));
    by.iter().map(|seed| witness(*seed).line(&head.checkpoint(), at(*seed))).collect()
}

/// Trusts the registry and asks for witnesses, by these groups of the three.
pub(crate) fn witnessed_trust(groups: &str, quorum: &str) -> Trust {
    let log = format!("log {}\n", region().verifier());
    let line = |seed: u8| format!("witness W{seed} {}\n", witness(seed).witness());
    let witnesses: String = (1..=3).map(line).collect();
    Trust::parse(&format!("{log}{witnesses}{groups}\nquorum {quorum}\n")).unwrap()
}

/// A registry that witnesses saw twice: the first and the third, then the second.
pub(crate) fn witnessed() -> Files {
    witnessed_since(START_S)
}

/// The same by witnesses whose clocks are two hours behind the registry's, or before it.
pub(crate) fn dated() -> [(&'static str, Files); 2] {
    [("late", witnessed_since(START_S - 7_200)), ("early", witnessed_since(START_S + 7_200))]
}

fn witnessed_since(unix_s: u64) -> Files {
    let mut registry = registry();
    let mut stream = stream(&mut registry, 0, None);
    call(&mut stream, 0, "acme");
    registry.put(stream.anchor());
    let early = registry.sign();
    close(&mut registry, &mut stream);
    let mut files = with_heads(directory(&registry, &[&stream]), &[&stream]);
    for (head, by) in [(&early, &[1, 3][..]), (&first_head(&registry), &[2])] {
        let note = head.note(&registry.signer) + &cosigned_since(unix_s, head, by);
        files.insert(layout::witnessed_file(&registry.origin, head.size), note.into());
    }
    files
}

/// The head that a registry begins with.
fn first_head(registry: &Life) -> Head {
    let root = aegis_audit_chain::tree::root(&[Hash::leaf(&registry.records[0])]);
    Head { origin: registry.origin.clone(), size: 1, root }
}

/// Two gateways' logs, side by side.
pub(crate) fn fleet() -> (Files, Trust) {
    let mut registry_1 = registry();
    let mut stream_1 = stream(&mut registry_1, 0, None);
    call(&mut stream_1, 0, "acme");
    close(&mut registry_1, &mut stream_1);
    let mut registry_2 = Life::new("aegis.example/eu-west-1/registry.gw-2/1", 5, None);
    let mut stream_2 = Life::new("aegis.example/eu-west-1/gw-2/1", 6, None);
    registry_2.put(stream_2.born(None));
    let Head { origin: registry, size, root } = registry_2.sign();
    stream_2.put(AnchorRefEntry { registry, size, root }.draft().unwrap());
    call(&mut stream_2, 1, "globex");
    close(&mut registry_2, &mut stream_2);
    let mut files = with_heads(directory(&registry_1, &[&stream_1]), &[&stream_1]);
    files.extend(with_heads(directory(&registry_2, &[&stream_2]), &[&stream_2]));
    let second = Trust::of(registry_2.signer.verifier().clone()).unwrap();
    (files, trust().join(second).unwrap())
}

/// A stream whose key was revoked while its gateway lived, at its newest head, and the life after it under a key of its own.
pub(crate) fn revoked() -> Files {
    revoked_and(|_, _| {})
}

/// The same, and what somebody did with the key behind that.
fn revoked_and(then: fn(&mut Life, &mut Life)) -> Files {
    let mut registry = registry();
    let mut first = stream(&mut registry, 0, None);
    call(&mut first, 0, "acme");
    registry.put(first.anchor());
    registry.put(first.revoked().draft().unwrap());
    registry.sign();
    then(&mut registry, &mut first);
    let mut second = stream(&mut registry, 1, Some(first.previous()));
    registry.put(first.closed(Ending::Crashed, None).draft().unwrap());
    registry.sign();
    call(&mut second, 3, "globex");
    close(&mut registry, &mut second);
    with_heads(directory(&registry, &[&first, &second]), &[&second])
}

/// What somebody writes anew who has the region's key as well: other records in place of those that stand.
fn revoked_anew() -> Files {
    let mut registry = registry();
    let mut first = stream(&mut registry, 0, None);
    call(&mut first, 8, "acme");
    registry.put(first.anchor());
    registry.put(first.revoked().draft().unwrap());
    registry.put(first.closed(Ending::Crashed, None).draft().unwrap());
    registry.sign();
    directory(&registry, &[&first])
}

/// The same with none at all.
fn revoked_away() -> Files {
    let mut registry = registry();
    let Life { origin, .. } = stream(&mut registry, 0, None);
    let (size, root) = (0, Hash::empty_root());
    let (reason, how) = ("stolen".to_owned(), Ending::Crashed);
    let (tenants, torn) = (None, None);
    let closed = ClosedEntry { origin: origin.clone(), how, size, root, tenants, torn };
    registry.put(RevokedEntry { origin, size, root, reason }.draft().unwrap());
    registry.put(closed.draft().unwrap());
    registry.sign();
    directory(&registry, &[])
}

/// A record that its gateway never wrote, under a head of fewer records than stand that a stolen key signed.
pub(crate) fn forged(honest: &Proof) -> Proof {
    let mut first = stream(&mut registry(), 0, None);
    let index = first.size();
    first.put(decision(7, "acme").draft().unwrap());
    let leaves: Vec<Hash> = first.records.iter().map(|it| Hash::leaf(it)).collect();
    let path = aegis_audit_chain::tree::inclusion_proof(&leaves, index as usize).unwrap();
    let (checkpoint, record) = (first.head().note(&first.signer), first.records[2].clone());
    Proof { index, path, checkpoint, record, ..honest.clone() }
}

/// Logs of which a key was revoked, and of which somebody has that key, or the registry's.
fn after_revocations() -> [(&'static str, Files); 7] {
    let unsigned = |_: &mut Life, first: &mut Life| call(first, 1, "acme");
    let anchored = |registry: &mut Life, first: &mut Life| {
        call(first, 1, "acme");
        registry.put(first.anchor());
        registry.sign();
    };
    let failed = |registry: &mut Life, first: &mut Life| {
        let Head { origin, size, root } = first.head();
        let error = "StorageFull".to_owned();
        registry.put(FailedEntry { origin, size, root, error }.draft().unwrap());
        registry.sign();
    };
    let twice = |registry: &mut Life, first: &mut Life| {
        registry.put(first.revoked().draft().unwrap());
        registry.sign();
    };
    let elsewhere = |registry: &mut Life, _: &mut Life| {
        let mut other = stream(registry, 1, None);
        call(&mut other, 7, "acme");
        registry.put(other.revoked().draft().unwrap());
        registry.sign();
    };
    [
        ("revoked-unsigned", revoked_and(unsigned)),
        ("revoked-anchored", revoked_and(anchored)),
        ("revoked-failed", revoked_and(failed)),
        ("revoked-twice", revoked_and(twice)),
        ("revoked-elsewhere", revoked_and(elsewhere)),
        ("revoked-anew", revoked_anew()),
        ("revoked-away", revoked_away()),
    ]
}

/// Logs whose writer signed for what cannot be, each by its name.
pub(crate) fn contradictions() -> Vec<(&'static str, Files)> {
    type Lie = fn(&mut Life);
    let lies: [(&str, Lie); 6] = [
        ("clock", |stream| {
            stream.set_ns = 5_000_000_000;
            stream.put(refusal(9).draft().unwrap());
        }),
        ("outcome", |stream| {
            stream.put(outcome(3, &decision(9, "acme")).draft().unwrap());
        }),
        ("sums", |stream| {
            let seal = stream.seal();
            let tally = Tally { cost_microusd: 1, ..seal.tally };
            stream.put(SealEntry { tally, ..seal }.draft().unwrap());
        }),
        ("field", |stream| {
            stream.seals();
            let draft = refusal(9).draft().unwrap();
            stream
                .put_changed(draft, |text| text.replace("\"mode\":\"enforce\"", "\"mode\":\"x\""));
        }),
        ("kind", |stream| {
            stream.seals();
            let head = HeadEntry { size: 1, root: Hash::ZERO, sig: String::new() };
            stream.put(head.draft().unwrap());
        }),
        ("spaces", |stream| {
            stream.seals();
            let draft = refusal(9).draft().unwrap();
            stream.put_changed(draft, |text| text.replace("\"eval_us\":0", "\"eval_us\": 0"));
        }),
    ];
    let mut logs: Vec<(&str, Files)> = Vec::new();
    for (name, lie) in lies {
        let mut registry = registry();
        let mut stream = stream(&mut registry, 0, None);
        call(&mut stream, 0, "acme");
        lie(&mut stream);
        stream.seals();
        stream.put(Draft::close().unwrap());
        registry.put(stream.anchor());
        registry.put(stream.closed(Ending::Closed, None).draft().unwrap());
        registry.sign();
        logs.push((name, with_heads(directory(&registry, &[&stream]), &[&stream])));
    }
    logs.push(("unclosed", ended(|closed| closed)));
    logs.push(("rolled-back", ended(|closed| ClosedEntry { how: Ending::RolledBack, ..closed })));
    logs.push(("denied", ended(|closed| ClosedEntry { root: Hash::ZERO, ..closed })));
    logs.extend(after_revocations());
    logs.push(("roster", ended(|closed| ClosedEntry { tenants: None, ..closed })));
    logs
}

/// A log without a `close`, whose registry tells of its end what it likes.
fn ended(tell: fn(ClosedEntry) -> ClosedEntry) -> Files {
    let mut registry = registry();
    let mut stream = stream(&mut registry, 0, None);
    call(&mut stream, 0, "acme");
    registry.put(stream.anchor());
    registry.sign();
    registry.put(tell(stream.closed(Ending::Closed, None)).draft().unwrap());
    registry.sign();
    with_heads(directory(&registry, &[&stream]), &[&stream])
}
