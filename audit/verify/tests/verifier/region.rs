//! A region's log in memory, as a gateway would have written it: some streams, each in some files.
//!
//! Not here: disks (`audit/ship` tests the verifier on real ones). Invariant: what comes out is a PASS, so whatever a test finds
//! in it, the test put there.

use std::borrow::Cow;
use std::collections::BTreeMap;

use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Reading, Sequencer, Walker};
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::*;
use aegis_audit_chain::source::{LogSource, SourceError};
use aegis_audit_chain::{Hash, Head, Origin, birth_note, layout};
use aegis_audit_trust::Trust;
use aegis_domain::*;

/// Files by their paths.
#[derive(Clone, Debug)]
pub(crate) struct Memory(pub(crate) BTreeMap<String, Vec<u8>>);

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

/// What is in a region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) streams: u64,
    pub(crate) files: u64,
    pub(crate) records_per_file: u64,
    pub(crate) tenants: u64,
    pub(crate) anchored_every: u64,
    /// An outcome follows that many records after its decision; none where it is zero.
    pub(crate) settled_after: u64,
    pub(crate) sealed_every: u64,
    pub(crate) size: Size,
    /// What every stream says, or leaves out, at this record: all signatures hold, and it contradicts itself.
    pub(crate) lie: Option<(u64, Lie)>,
    pub(crate) end: End,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Lie {
    /// An outcome of a record that is no decision.
    OutcomeAlone,
    /// An outcome under the id of another decision.
    OutcomeOther,
    /// A decision that has an outcome already gets another.
    OutcomeTwice,
    /// A seal over one decision more than there is.
    Sums,
    /// The wall clock moves, and no record says so.
    Clock,
    /// The registry's first head, with another root.
    Reference,
    /// A second birth.
    Kind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    /// In order.
    Closed,
    /// It goes on: the newest anchor does not cover all of it.
    Open,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            streams: 1,
            files: 1,
            records_per_file: 1_000,
            tenants: 3,
            anchored_every: u64::MAX,
            settled_after: 0,
            sealed_every: u64::MAX,
            size: Size::Usual,
            lie: None,
            end: End::Closed,
        }
    }
}

/// How much its decisions say.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// Some 700 bytes: what the goals are set in.
    Usual,
    /// Some 1,240 bytes: every field that a gateway fills.
    Full,
}

const START_S: u64 = 1_790_000_000;

pub(crate) fn region_key() -> Signer {
    let registry = registry();
    Signer::new(registry.as_str(), SecretKey::from_seed(&[1; 32]))
}

pub(crate) fn registry() -> Origin {
    Origin::parse("aegis.example/eu-west-1/registry/1").unwrap()
}

pub(crate) fn trust() -> Trust {
    Trust::of(region_key().verifier().clone()).unwrap()
}

/// Builds the log; streams end in order.
pub(crate) fn region(shape: Shape) -> Memory {
    let key = region_key();
    let mut log = Builder::new(registry());
    log.put(genesis(&registry(), &key));
    log.head(&key);
    let mut files = BTreeMap::new();
    for life in 1..=shape.streams {
        stream(shape, life, (&mut log, &key), &mut files);
    }
    let last = log.head(&key);
    files.insert(layout::genesis_note(&registry()), birth_note(key.verifier(), &key).into());
    files.insert(layout::head_file(&registry(), last.size), last.note(&key).into());
    files.extend(log.into_files());
    Memory(files)
}

fn genesis(origin: &Origin, signer: &Signer) -> Draft {
    let entry = GenesisEntry {
        origin: origin.clone(),
        vkey: signer.verifier().to_string(),
        build: "aegis-gateway 0.1.0".to_owned(),
        config_sha256: Hash::of(b"config"),
        previous: None,
    };
    entry.draft().unwrap()
}

fn stream(
    shape: Shape,
    life: u64,
    (registry, region_key): (&mut Builder, &Signer),
    files: &mut BTreeMap<String, Vec<u8>>,
) {
    let origin = Origin::stream("aegis.example", "eu-west-1", "gw-1", life).unwrap();
    let seed = [u8::try_from(life % 200).unwrap() + 2; 32];
    let key = Signer::new(origin.as_str(), SecretKey::from_seed(&seed));
    let vkey = key.verifier().to_string();
    registry.put(BornEntry { origin: origin.clone(), vkey, previous: None }.draft().unwrap());
    let born = registry.head(region_key);

    let mut log = Builder::new(origin.clone());
    log.put(genesis(&origin, &key));
    let registry_origin = registry.walker.origin().clone();
    let seen = AnchorRefEntry { registry: registry_origin, size: born.size, root: born.root };
    log.put(seen.draft().unwrap());
    let last = shape.files * shape.records_per_file;
    let mut waiting = std::collections::VecDeque::new();
    while log.size() < last - 8 - shape.tenants {
        let seq = log.size();
        if waiting.front().is_some_and(|(at, _)| at + shape.settled_after <= seq) {
            let (at, decision) = waiting.pop_front().unwrap();
            log.put(outcome(at, &decision).draft().unwrap());
        } else if shape.lie.is_some_and(|(at, _)| at == seq) {
            log.lie(shape.lie.unwrap().1, (&decision(seq, shape), born.size));
        } else if seq % shape.sealed_every == shape.sealed_every - 1 {
            log.seal();
        } else if seq % shape.sealed_every == 20 {
            log.step();
        } else {
            let mut entry = decision(seq, shape);
            if shape.settled_after > 0 {
                entry.outcome = OutcomeDue::Follows;
                waiting.push_back((seq, entry.clone()));
            }
            log.put(entry.draft().unwrap());
        }
        let has_passed = |log: &Builder, every: u64| seq / every < log.size() / every;
        if has_passed(&log, shape.anchored_every) {
            registry.anchor(&log, &key);
            registry.head(region_key);
        }
        if has_passed(&log, shape.records_per_file) {
            log.next_file();
        }
    }
    files.insert(layout::genesis_note(&origin), birth_note(key.verifier(), region_key).into());
    log.seal();
    if matches!(shape.end, End::Open) {
        files.extend(log.into_files());
        return;
    }
    log.put(Draft::close().unwrap());
    let (head, tenants) = registry.anchor(&log, &key);
    let (size, root, how) = (head.size, head.root, Ending::Closed);
    let closed = ClosedEntry { origin: origin.clone(), how, size, root, tenants, torn: None };
    registry.put(closed.draft().unwrap());
    registry.head(region_key);
    files.insert(layout::head_file(&origin, size), head.note(&key).into());
    files.extend(log.into_files());
}

/// Builds one log: places records at one-millisecond steps and keeps the files.
struct Builder {
    sequencer: Sequencer,
    walker: Walker,
    files: Vec<(u64, Vec<u8>)>,
    /// By how much the wall clock was set.
    set_ns: u64,
    anchored: u64,
}

impl Builder {
    fn new(origin: Origin) -> Self {
        let mut builder = Self {
            sequencer: Sequencer::new(origin.clone()),
            walker: Walker::new(origin),
            files: Vec::new(),
            set_ns: 0,
            anchored: 0,
        };
        builder.next_file();
        builder
    }

    fn size(&self) -> u64 {
        self.sequencer.size()
    }

    fn next_file(&mut self) {
        let (origin, first) = (self.walker.origin().clone(), self.size());
        self.files.push((first, Header { origin, first }.encode()));
    }

    fn now(&self) -> Reading {
        let mono_ns = self.size() * 1_000_000;
        // Some jitter between the two clocks, well below what is put on record.
        let wall = START_S * 1_000_000_000 + mono_ns + self.set_ns + self.size() % 7_000;
        Reading { wall: Timestamp::from_unix_ns(wall), mono_ns }
    }

    fn put(&mut self, draft: Draft) {
        let placed = self.sequencer.place(draft, self.now());
        let checked = self.walker.check(&placed.bytes).unwrap();
        self.walker.accept(&placed.bytes, &checked);
        push_frame(&mut self.files.last_mut().unwrap().1, &placed.bytes);
    }

    fn seal(&mut self) {
        for entry in self.sequencer.tenant_seals() {
            self.put(entry.draft().unwrap());
        }
        self.put(self.sequencer.seal().draft().unwrap());
    }

    /// Somebody sets the clock.
    fn step(&mut self) {
        self.set_ns += 3_000_000_000;
        self.put(self.sequencer.clock_step(self.now()).unwrap().draft().unwrap());
    }

    fn lie(&mut self, lie: Lie, (of, registry): (&DecisionEntry, u64)) {
        let settled = |seq: u64, decision: &DecisionEntry| outcome(seq, decision).draft().unwrap();
        match lie {
            Lie::OutcomeAlone => self.put(settled(1, of)),
            Lie::OutcomeOther | Lie::OutcomeTwice => {
                let mut decision = of.clone();
                decision.outcome = OutcomeDue::Follows;
                let seq = self.size();
                self.put(decision.draft().unwrap());
                if matches!(lie, Lie::OutcomeOther) {
                    decision.id = DecisionId::new(1, [9; 10]);
                }
                self.put(settled(seq, &decision));
                self.put(settled(seq, &decision));
            }
            Lie::Sums => {
                let mut seal = self.sequencer.seal();
                seal.tally.allow += 1;
                self.put(seal.draft().unwrap());
            }
            Lie::Clock => self.set_ns += 2_000_000_000,
            Lie::Reference => {
                let entry = AnchorRefEntry {
                    registry: crate::region::registry(),
                    size: registry,
                    root: Hash::ZERO,
                };
                self.put(entry.draft().unwrap());
            }
            Lie::Kind => {
                let (origin, vkey) = (crate::region::registry(), String::new());
                self.put(BornEntry { origin, vkey, previous: None }.draft().unwrap());
            }
        }
        // Whatever it was, the log goes on.
        self.put(of.draft().unwrap());
    }

    fn head(&mut self, signer: &Signer) -> Head {
        let head = self.sequencer.head();
        let sig = signer.sign(&head.checkpoint());
        self.put(HeadEntry { size: head.size, root: head.root, sig }.draft().unwrap());
        head
    }

    fn anchor(
        &mut self,
        log: &Builder,
        key: &Signer,
    ) -> (Head, Option<aegis_audit_chain::roster::Roster>) {
        let head = log.sequencer.head();
        let tenants = log.walker.roster_lines().roster();
        let sig = key.sign(&head.checkpoint());
        let (origin, size, root) = (head.origin.clone(), head.size, head.root);
        // Sizes rise within a stream; an end may fall on an anchor.
        let is_new = self.anchored != size || size == 0;
        if is_new {
            self.put(AnchorEntry { origin, size, root, tenants, sig }.draft().unwrap());
        }
        self.anchored = size;
        (head, tenants)
    }

    fn into_files(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let origin = self.walker.origin().clone();
        self.files.into_iter().map(move |(first, bytes)| (layout::wal_file(&origin, first), bytes))
    }
}

pub(crate) fn decision(n: u64, shape: Shape) -> DecisionEntry {
    let id = DecisionId::new(START_S * 1_000 + n, [3; 10]);
    let region = Region::parse("eu-west-1").unwrap();
    let digest = |what: &str| Hash::of(format!("{what}{n}").as_bytes());
    let tenant = format!("tenant-{}", n % shape.tenants.max(1));
    let usual = DecisionEntry {
        tenant: (shape.tenants > 0).then(|| TenantId::parse(&tenant).unwrap()),
        agent: Some(AgentId::parse("spiffe://acme/agent/7").unwrap()),
        token_use: Some(TokenUse::Bound),
        tool: Some(ToolName::parse("payments.create").unwrap()),
        kind: Some(CallKind::Write),
        rules: vec![RuleId::parse("payments-small").unwrap()],
        params: Some(ParamsHash::of(&n.to_be_bytes())),
        est_cost: MicroUsd::new(1_500),
        eval_us: 87,
        sd: vec![digest("input")],
        ..DecisionEntry::new(id, region, Effect::Allow, Reason::Allowed)
    };
    match shape.size {
        Size::Usual => usual,
        Size::Full => full(usual, &digest),
    }
}

fn full(usual: DecisionEntry, digest: &dyn Fn(&str) -> Hash) -> DecisionEntry {
    DecisionEntry {
        trace: TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        jti: Some(digest("jti")),
        route: Some(ToolName::parse("payments").unwrap()),
        dest: Some(Dest {
            host: Host::parse("api.payments.example").unwrap(),
            port: 443,
            method: Method::parse("POST").unwrap(),
            path: digest("path"),
        }),
        policy: Some(PolicyRef {
            revision: "acme/prod@17".to_owned(),
            version: 17,
            bundle_sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
                .into(),
        }),
        body_in: Some(BodyDigest { sha256: digest("body"), size: 1_024 }),
        budget: Some(BudgetHold {
            keys: vec!["tenant/day".to_owned()],
            held: MicroUsd::new(1_500),
            estimate: EstimateKind::Ceiling,
            warned: Vec::new(),
        }),
        att_kid: Some(KeyId::parse("gw-1-a").unwrap()),
        ..usual
    }
}

fn outcome(of: u64, decision: &DecisionEntry) -> OutcomeEntry {
    OutcomeEntry {
        of: Of { origin: None, seq: of, id: decision.id },
        status: Some(200),
        bytes: 512,
        cost: MicroUsd::new(1_200),
        dur_us: 41_000,
        reason: Reason::Allowed,
        ..OutcomeEntry::unknown(&registry(), 0, decision)
    }
}
