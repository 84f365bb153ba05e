//! The published vectors in `docs/spec/vectors/audit`: byte for byte what this version writes, and what it finds in
//! tampered logs. Run with `AEGIS_BLESS=1` to write them anew after a deliberate change of the format.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and it reads the published files"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Reading, Sequencer, Walker};
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::*;
use aegis_audit_chain::roster::Roster;
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::{Hash, Head, Origin, birth_note, layout, tree};
use aegis_audit_proof::{Proof, ProofError, prove};
use aegis_audit_trust::Trust;
use aegis_audit_verify::{Depth, Flaw, Options, Report, Verdict, verify_region};
use aegis_domain::*;

const START_S: u64 = 1_790_000_000;

fn vector(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/vectors/audit").join(name)
}

/// Compares with the published file, or writes it when asked to.
fn assert_golden(name: &str, bytes: &[u8]) {
    let path = vector(name);
    if env::var_os("AEGIS_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let published = fs::read(&path).unwrap();
    assert!(published == bytes, "{name} is not what this version writes");
}

/// A decision with every field set, one of them with every sort of escape.
fn full_decision() -> DecisionEntry {
    let rule = |text: &str| RuleId::parse(text).unwrap();
    let region = Region::parse("eu-west-1").unwrap();
    let id = DecisionId::new(START_S * 1_000, [7; 10]);
    let disclosure = Disclosure::new([1; 16], "subject", &"ada@example.com".into());
    DecisionEntry {
        tenant: Some(TenantId::parse("acme").unwrap()),
        trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        org: Some(OrgId::parse("acme-group").unwrap()),
        agent: Some(AgentId::parse("spiffe://acme/agent/7").unwrap()),
        parent_agent: Some(AgentId::parse("planner").unwrap()),
        jti: Some(Hash::salted(&[9; 32], b"jti-1")),
        token_use: Some(TokenUse::Bound),
        tool: Some(ToolName::parse("payments.create").unwrap()),
        route: Some(ToolName::parse("payments").unwrap()),
        dest: Some(Dest {
            host: Host::parse("api.payments.example").unwrap(),
            port: 443,
            method: Method::parse("POST").unwrap(),
            path: Hash::salted(&[9; 32], b"/v1/charges"),
        }),
        kind: Some(CallKind::Write),
        policy: Some(PolicyRef {
            revision: "acme/\"prod\"\\\n\u{1}é@17".to_owned(),
            version: u64::MAX,
            bundle_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                .into(),
        }),
        rules: vec![rule("payments-small"), rule("card-blanked")],
        would: vec![rule("payments-night")],
        exceptions: Vec::new(),
        params: Some(ParamsHash::of(b"{}")),
        body_in: Some(BodyDigest { sha256: Hash::of(b"{}"), size: 2 }),
        body_out: Some(BodyDigest { sha256: Hash::of(b"{ }"), size: 3 }),
        redactions: vec![Redaction { rule: rule("card"), count: 2 }],
        approval_id: Some(DecisionId::new(1, [0; 10])),
        budget: Some(BudgetHold {
            keys: vec!["tenant/day".to_owned(), "agent:planner/24h".to_owned()],
            held: MicroUsd::new(1_500),
            estimate: EstimateKind::Soft,
            warned: vec!["agent:planner/24h".to_owned()],
        }),
        est_cost: MicroUsd::MAX,
        eval_us: 87,
        att_kid: Some(KeyId::parse("gw-1-a").unwrap()),
        degraded: Degraded::HotStateOutage,
        outcome: OutcomeDue::Follows,
        sd: vec![disclosure.digest()],
        ..DecisionEntry::new(id, region, Effect::Sanitize, Reason::Sanitized)
    }
}

fn refusal() -> DecisionEntry {
    let id = DecisionId::new(START_S * 1_000 + 1, [8; 10]);
    let region = Region::parse("eu-west-1").unwrap();
    DecisionEntry::new(id, region, Effect::Deny, Reason::TokenMissing)
}

fn full_outcome(of: u64) -> OutcomeEntry {
    let decision = full_decision();
    OutcomeEntry {
        of: Of { origin: None, seq: of, id: decision.id },
        status: Some(201),
        bytes: 5_120,
        cost: MicroUsd::new(1_200),
        dur_us: 41_000,
        reason: Reason::Sanitized,
        usage: Some(Usage { tokens_in: 12, tokens_out: 340 }),
        redactions: vec![Redaction { rule: RuleId::parse("email").unwrap(), count: 1 }],
        ..OutcomeEntry::unknown(&Origin::parse("d/r/w/1").unwrap(), 0, &decision)
    }
}

/// Everything that lies in one region's directory.
type Files = BTreeMap<String, Vec<u8>>;

/// Builds one log: places records at one-millisecond steps and keeps the files.
struct Builder {
    sequencer: Sequencer,
    walker: Walker,
    wal: Vec<u8>,
    leaves: Vec<Hash>,
    lines: Vec<u8>,
}

impl Builder {
    fn new(origin: &Origin) -> Self {
        let wal = Header { origin: origin.clone(), first: 0 }.encode();
        let sequencer = Sequencer::new(origin.clone());
        let walker = Walker::new(origin.clone());
        Self { sequencer, walker, wal, leaves: Vec::new(), lines: Vec::new() }
    }

    fn put(&mut self, draft: Draft) {
        let step = self.sequencer.size() * 1_000_000;
        let wall = Timestamp::from_unix_ns(START_S * 1_000_000_000 + step);
        let placed = self.sequencer.place(draft, Reading { wall, mono_ns: step });
        assert_eq!(placed.leaf, Hash::leaf(&placed.bytes));
        let checked = self.walker.check(&placed.bytes).unwrap();
        self.walker.accept(&placed.bytes, &checked);
        push_frame(&mut self.wal, &placed.bytes);
        self.leaves.push(placed.leaf);
        self.lines.extend_from_slice(&placed.bytes);
        self.lines.push(b'\n');
    }

    fn put_head(&mut self, signer: &Signer) -> Head {
        let head = self.sequencer.head();
        let sig = signer.sign(&head.checkpoint());
        self.put(HeadEntry { size: head.size, root: head.root, sig }.draft().unwrap());
        head
    }
}

fn signer(origin: &Origin, seed: u8) -> Signer {
    Signer::new(origin.as_str(), SecretKey::from_seed(&[seed; 32]))
}

/// One region with one stream that ended in order; also the stream's records, one a line.
fn region() -> (Files, Trust, Vec<u8>, Vec<Hash>) {
    region_with(&|seal| seal, &|roster| roster)
}

/// The same, by a writer that says what it likes of its tenants.
fn region_with(
    seal: &dyn Fn(TenantSealEntry) -> TenantSealEntry,
    roster: &dyn Fn(Option<Roster>) -> Option<Roster>,
) -> (Files, Trust, Vec<u8>, Vec<Hash>) {
    let registry = Origin::parse("aegis.example/eu-west-1/registry/1").unwrap();
    let stream = Origin::stream("aegis.example", "eu-west-1", "gw-1", 1).unwrap();
    let (region_key, stream_key) = (signer(&registry, 1), signer(&stream, 2));
    let genesis = |origin: &Origin, signer: &Signer| GenesisEntry {
        origin: origin.clone(),
        vkey: signer.verifier().to_string(),
        build: "aegis-gateway 0.1.0".to_owned(),
        config_sha256: Hash::of(b"config"),
        previous: None,
    };
    let (mut reg, mut log) = (Builder::new(&registry), Builder::new(&stream));
    reg.put(genesis(&registry, &region_key).draft().unwrap());
    reg.put_head(&region_key);
    let vkey = stream_key.verifier().to_string();
    reg.put(BornEntry { origin: stream.clone(), vkey, previous: None }.draft().unwrap());
    let born = reg.put_head(&region_key);

    log.put(genesis(&stream, &stream_key).draft().unwrap());
    let reference = AnchorRefEntry { registry: registry.clone(), size: born.size, root: born.root };
    log.put(reference.draft().unwrap());
    log.put(full_decision().draft().unwrap());
    log.put(refusal().draft().unwrap());
    log.put(full_outcome(2).draft().unwrap());
    for entry in log.sequencer.tenant_seals() {
        log.put(seal(entry).draft().unwrap());
    }
    log.put(log.sequencer.seal().draft().unwrap());
    log.put(Draft::close().unwrap());
    let head = log.sequencer.head();

    let sig = stream_key.sign(&head.checkpoint());
    let (origin, size, root) = (stream.clone(), head.size, head.root);
    let tenants = roster(log.walker.roster_lines().roster());
    reg.put(AnchorEntry { origin: origin.clone(), size, root, tenants, sig }.draft().unwrap());
    let how = Ending::Closed;
    reg.put(ClosedEntry { origin, how, size, root, tenants, torn: None }.draft().unwrap());
    let last = reg.put_head(&region_key);

    let files = Files::from([
        (layout::wal_file(&registry, 0), reg.wal),
        (layout::genesis_note(&registry), birth_note(region_key.verifier(), &region_key).into()),
        (layout::head_file(&registry, last.size), last.note(&region_key).into()),
        (layout::wal_file(&stream, 0), log.wal),
        (layout::genesis_note(&stream), birth_note(stream_key.verifier(), &region_key).into()),
        (layout::head_file(&stream, size), head.note(&stream_key).into()),
    ]);
    (files, Trust::of(region_key.verifier().clone()).unwrap(), log.lines, log.leaves)
}

struct Memory(Files);

impl LogSource for Memory {
    fn list(&self, dir: &str) -> Result<Vec<String>, SourceError> {
        let below = format!("{dir}/");
        let names = self.0.keys().filter_map(|path| path.strip_prefix(&below));
        let mut names: Vec<String> =
            names.map(|rest| rest.split('/').next().unwrap().to_owned()).collect();
        names.dedup();
        Ok(names)
    }

    fn read(&self, path: &str) -> Result<Option<Cow<'_, [u8]>>, SourceError> {
        Ok(self.0.get(path).map(|bytes| Cow::Borrowed(bytes.as_slice())))
    }
}

fn verify(files: Files, trust: &Trust) -> Report {
    let options = Options { depth: Depth::Schema, remembered: Vec::new(), witnessed_since: None };
    verify_region(&Memory(files), trust, &options, &mut |_| {})
}

#[test]
fn records_heads_and_files_are_the_published_bytes_and_verify() {
    let (files, trust, lines, leaves) = region();
    assert_golden("records.jsonl", &lines);
    let hashes: String = leaves.iter().map(|leaf| format!("{leaf}\n")).collect();
    assert_golden("leaves.txt", hashes.as_bytes());
    assert_golden("trust.policy", trust.to_string().as_bytes());
    for (path, bytes) in &files {
        assert_golden(&format!("region/{path}"), bytes);
    }
    let proof: String = tree::inclusion_proof(&leaves, 2)
        .unwrap()
        .iter()
        .map(|hash| format!("{}\n", hash.standard()))
        .collect();
    assert_golden("inclusion-2-of-8.txt", proof.as_bytes());
    let report = verify(files, &trust);
    assert_eq!(report.verdict(), Verdict::Pass, "{report:#?}");
    assert_eq!((report.unsettled_count, report.streams[0].records), (0, 8));
}

#[test]
fn a_published_proof_is_believed_by_the_region_key_alone_and_no_other_text_is() {
    let (files, trust, ..) = region();
    let is_second = &mut |_: &Origin, record: &Record| record.head.seq == 2;
    let proof = prove(&Memory(files), &trust, is_second).unwrap().pop().unwrap();
    let text = proof.to_text();
    assert_golden("decision-2.tlog-proof", text.as_bytes());
    let proven = Proof::parse(&text).unwrap().check(&trust).unwrap();
    assert_eq!(proven.record.entry, Entry::Decision(Box::new(full_decision())));
    assert_eq!(proven.head.size, 8);

    let other = SecretKey::from_seed(&[3; 32]).verifier("aegis.example/eu-west-1/registry/1");
    assert!(matches!(proof.check(&Trust::of(other).unwrap()), Err(ProofError::Birth)));
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        let believed = String::from_utf8(bytes)
            .is_ok_and(|text| Proof::parse(&text).is_ok_and(|proof| proof.check(&trust).is_ok()));
        assert!(!believed, "byte {at}");
    }
}

#[test]
fn every_published_record_reads_back_as_what_was_written_and_as_json() {
    let published = fs::read_to_string(vector("records.jsonl")).unwrap();
    let entries: Vec<Entry> =
        published.lines().map(|line| Record::parse(line.as_bytes()).unwrap().entry).collect();
    assert_eq!(entries[2], Entry::Decision(Box::new(full_decision())));
    assert_eq!(entries[3], Entry::Decision(Box::new(refusal())));
    assert_eq!(entries[4], Entry::Outcome(Box::new(full_outcome(2))));
    for line in published.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value.to_string().len(), line.len(), "no spaces, no second way to write it");
    }
}

#[test]
fn a_change_is_written_as_published_and_reads_back() {
    let change = ChangeEntry {
        tenant: Some(TenantId::parse("acme").unwrap()),
        revision: 42,
        by: "session alice".to_owned(),
        act: "registry.set_standing".to_owned(),
        target: Some("agent acme/pay-bot".to_owned()),
        command: Hash::of(b"command"),
    };
    let origin = Origin::parse("aegis.example/eu-west-1/gw-1/1").unwrap();
    let mut log = Builder::new(&origin);
    log.put(change.draft().unwrap());
    assert_golden("change.json", &log.lines);
    let published = fs::read_to_string(vector("change.json")).unwrap();
    let read = Record::parse(published.trim_end().as_bytes()).unwrap();
    assert_eq!(read.entry, Entry::Change(change));
    let without = published.trim_end().replace(",\"by\":\"session alice\"", "");
    assert!(Record::parse(without.as_bytes()).is_err());
}

#[test]
fn a_record_with_anything_added_left_out_or_moved_is_refused() {
    let published = fs::read_to_string(vector("records.jsonl")).unwrap();
    let line = published.lines().nth(2).unwrap();
    for (from, to) in [
        ("\"mode\":\"enforce\"", "\"mode\":\"enforce\",\"mode\":\"enforce\""),
        ("\"port\":443", "\"port\":0443"),
        ("\"port\":443", "\"port\": 443"),
        ("\"port\":443", "\"port\":99999"),
        ("\"region\":\"eu-west-1\",", ""),
        ("\"k\":\"decision\"", "\"k\":\"verdict\""),
        ("\"count\":2", "\"count\":2.0"),
        ("\"degraded\":\"hot_state_outage\"", "\"degraded\":\"no\""),
        ("\"alg\":\"sha256\"", "\"alg\":\"md5\""),
        ("\"estimate\":\"soft\"", "\"estimate\":\"ceiling\""),
    ] {
        assert!(line.contains(from), "{from}");
        assert!(Record::parse(line.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
    }
    assert!(Record::parse(format!("{line} ").as_bytes()).is_err());
}

#[test]
fn long_lists_and_texts_are_cut_to_digests_and_a_record_never_outgrows_its_limit() {
    let mut decision = full_decision();
    let long = |n: usize| RuleId::parse(&format!("{n:0>128}")).unwrap();
    decision.rules = (0..500).map(long).collect();
    decision.would = decision.rules.clone();
    decision.exceptions = decision.rules.clone();
    decision.redactions = decision
        .rules
        .iter()
        .map(|rule| Redaction { rule: rule.clone(), count: u32::MAX })
        .collect();
    let keys = vec!["k".repeat(4_000); 500];
    let (held, estimate) = (MicroUsd::MAX, EstimateKind::Soft);
    decision.budget = Some(BudgetHold { warned: keys.clone(), keys, held, estimate });
    decision.policy.as_mut().unwrap().revision = "r".repeat(100_000);
    let draft = decision.draft().unwrap();
    assert!(draft.record_bytes() <= MAX_BYTES, "{}", draft.record_bytes());
    let mut sequencer = Sequencer::new(Origin::parse("d/r/w/1").unwrap());
    let reading = Reading { wall: Timestamp::from_unix_s(START_S), mono_ns: 0 };
    let placed = sequencer.place(draft, reading);
    let Entry::Decision(read) = Record::parse(&placed.bytes).unwrap().entry else { panic!() };
    assert_eq!(read.rules.len(), 20);
    assert!(read.rules[19].as_str().starts_with("more:481:"));
    assert_eq!(&read.rules[..19], &decision.rules[..19]);

    decision.sd = vec![Hash::ZERO; 21];
    assert_eq!(decision.draft().unwrap_err(), RecordError::TooLong);
}

#[test]
fn every_published_mutation_has_its_published_verdict() {
    let (files, trust, ..) = region();
    let stream = "streams/gw-1/00000000000000000001";
    let wal = format!("{stream}/wal/00000000000000000000.wal");
    type Mutation = Box<dyn Fn(&mut Files)>;
    let wal_of = |change: fn(&mut Vec<u8>)| -> Mutation {
        let wal = wal.clone();
        Box::new(move |files| change(files.get_mut(&wal).unwrap()))
    };
    let without = |prefix: String| -> Mutation {
        Box::new(move |files| files.retain(|path, _| !path.starts_with(&prefix)))
    };
    let mutations: Vec<(&str, Mutation)> = vec![
        ("none", Box::new(|_| {})),
        ("one bit in record 2", wal_of(|bytes| bytes[1_800] ^= 1)),
        ("last byte cut", wal_of(|bytes| bytes.truncate(bytes.len() - 1))),
        ("last record cut", wal_of(|bytes| bytes.truncate(bytes.len() - 249))),
        ("bytes appended", wal_of(|bytes| bytes.extend_from_slice(b"more"))),
        ("stream removed", without(stream.to_owned())),
        ("registry removed", without("registry".to_owned())),
        ("final head removed", without(format!("{stream}/heads"))),
        ("everything removed", without(String::new())),
    ];
    let mut verdicts = String::new();
    for (name, mutate) in mutations {
        let mut files = files.clone();
        mutate(&mut files);
        let report = verify(files, &trust);
        let first = report.findings.first();
        let seq = first.and_then(|one| one.place.seq);
        let what = first.map_or_else(String::new, |one| one.flaw.to_string());
        let line = (name, report.verdict().as_str(), seq.map_or(-1, |seq| seq as i64), what);
        verdicts += &format!("{}\t{}\t{}\t{}\n", line.0, line.1, line.2, line.3);
    }
    assert_golden("mutations.tsv", verdicts.as_bytes());
}

#[test]
fn a_seal_or_a_head_that_lies_about_a_tenant_fails_at_its_place() {
    let first = |report: &Report| {
        assert_eq!(report.verdict(), Verdict::Fail, "{report:#?}");
        (report.findings[0].flaw.clone(), report.findings[0].place.seq)
    };
    let (files, trust, ..) =
        region_with(&|seal| TenantSealEntry { last_leaf: Hash::ZERO, ..seal }, &|roster| roster);
    assert_eq!(first(&verify(files, &trust)), (Flaw::TenantSeal, Some(5)));
    let (files, trust, ..) =
        region_with(&|seal| TenantSealEntry { last_tseq: 0, ..seal }, &|roster| roster);
    assert_eq!(first(&verify(files, &trust)), (Flaw::TenantSeal, Some(5)));

    let other: [&dyn Fn(Option<Roster>) -> Option<Roster>; 2] =
        [&|_| None, &|roster| roster.map(|roster| Roster { count: 2, ..roster })];
    for roster in other {
        let (files, trust, ..) = region_with(&|seal| seal, roster);
        assert_eq!(first(&verify(files, &trust)), (Flaw::Roster { size: 8 }, Some(7)));
    }
}
