//! Logs made by hand, of fixed keys and times: the same bytes every time.

use std::collections::BTreeMap;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::link::{Pruned, Reading, Sequencer, Walker};
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::record::*;
use aegis_audit_chain::segment::{Digest, Manifest};
use aegis_audit_chain::tree::Frontier;
use aegis_audit_chain::{Hash, Head, Origin, birth_note, layout};
use aegis_audit_index::{Groups, Index};
use aegis_domain::*;

pub(crate) const START_S: u64 = 1_790_000_000;
const STEP_NS: u64 = 1_000_000;

/// Everything that lies in one folder, by its path there.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// One log, record by record.
pub(crate) struct Life {
    pub(crate) origin: Origin,
    pub(crate) signer: Signer,
    sequencer: Sequencer,
    walker: Walker,
    pub(crate) records: Vec<Vec<u8>>,
    leaves: Vec<Hash>,
    /// How far the wall clock is from where it began, beside the monotonic one.
    pub(crate) set_ns: u64,
}

impl Life {
    /// A log that begins with its birth.
    pub(crate) fn new(name: &str, seed: u8, previous: Option<Previous>) -> Self {
        let origin = Origin::parse(name).unwrap();
        let signer = Signer::new(name, SecretKey::from_seed(&[seed; 32]));
        let (sequencer, walker) = (Sequencer::new(origin.clone()), Walker::new(origin.clone()));
        let (records, leaves) = (Vec::new(), Vec::new());
        let mut life = Self { origin, signer, sequencer, walker, records, leaves, set_ns: 0 };
        let genesis = GenesisEntry {
            origin: life.origin.clone(),
            vkey: life.vkey(),
            build: "aegis-gateway 0.1.0".to_owned(),
            config_sha256: Hash::of(b"config"),
            previous,
        };
        life.put(genesis.draft().unwrap());
        life
    }

    pub(crate) fn vkey(&self) -> String {
        self.signer.verifier().to_string()
    }

    pub(crate) fn put(&mut self, draft: Draft) {
        self.put_changed(draft, |record| record);
    }

    /// A record that its writer writes in another way than all others.
    pub(crate) fn put_changed(&mut self, draft: Draft, change: impl Fn(String) -> String) {
        let mono_ns = self.sequencer.size() * STEP_NS;
        let wall = START_S * 1_000_000_000 + mono_ns + self.set_ns;
        let now = Reading { wall: Timestamp::from_unix_ns(wall), mono_ns };
        let placed = self.sequencer.place(draft, now).bytes;
        let record = change(String::from_utf8(placed.clone()).unwrap()).into_bytes();
        let checked = self.walker.check(&record).unwrap();
        self.walker.accept(&record, &checked);
        if record != placed {
            self.sequencer = Sequencer::resume(self.walker.clone());
        }
        self.leaves.push(Hash::leaf(&record));
        self.records.push(record);
    }

    pub(crate) fn size(&self) -> u64 {
        self.records.len() as u64
    }

    pub(crate) fn head(&self) -> Head {
        self.walker.head()
    }

    pub(crate) fn previous(&self) -> Previous {
        let Head { origin, size, root } = self.head();
        Previous { origin, size, root }
    }

    pub(crate) fn seals(&mut self) {
        for seal in self.sequencer.tenant_seals() {
            self.put(seal.draft().unwrap());
        }
        self.put(self.sequencer.seal().draft().unwrap());
    }

    /// What the sums of the records since the last seal are.
    pub(crate) fn seal(&self) -> SealEntry {
        self.sequencer.seal()
    }

    pub(crate) fn anchor(&self) -> Draft {
        let Head { origin, size, root } = self.head();
        let sig = self.signer.sign(&self.head().checkpoint());
        AnchorEntry { origin, size, root, tenants: self.roster(), sig }.draft().unwrap()
    }

    pub(crate) fn closed(&self, how: Ending, torn: Option<TornTail>) -> ClosedEntry {
        let Head { origin, size, root } = self.head();
        ClosedEntry { origin, how, size, root, tenants: self.roster(), torn }
    }

    /// Its key was revoked, at the head that it has now.
    pub(crate) fn revoked(&self) -> RevokedEntry {
        let Head { origin, size, root } = self.head();
        RevokedEntry {
            origin,
            size,
            root,
            reason: "a copy of the machine's memory was sold".into(),
        }
    }

    fn roster(&self) -> Option<aegis_audit_chain::roster::Roster> {
        self.walker.roster_lines().roster()
    }

    pub(crate) fn born(&self, previous: Option<Previous>) -> Draft {
        let (origin, vkey) = (self.origin.clone(), self.vkey());
        BornEntry { origin, vkey, previous }.draft().unwrap()
    }

    /// A record over all before it, as only a registry has.
    pub(crate) fn sign(&mut self) -> Head {
        let head = self.head();
        let sig = self.signer.sign(&head.checkpoint());
        self.put(HeadEntry { size: head.size, root: head.root, sig }.draft().unwrap());
        head
    }

    /// A log file with the records from one number to before another, and what stands behind them.
    pub(crate) fn wal(&self, files: &mut Files, (first, end): (u64, u64), rest: &[u8]) {
        let mut bytes = Header { origin: self.origin.clone(), first }.encode();
        for record in &self.records[first as usize..end as usize] {
            push_frame(&mut bytes, record);
        }
        bytes.extend_from_slice(rest);
        files.insert(layout::wal_file(&self.origin, first), bytes);
    }

    /// How long such a file is before what stands behind the records.
    pub(crate) fn wal_bytes(&self, (first, end): (u64, u64)) -> u64 {
        let mut files = Files::new();
        self.wal(&mut files, (first, end), &[]);
        files.into_values().next().unwrap().len() as u64
    }

    pub(crate) fn birth(&self, files: &mut Files, region: &Signer) {
        let note = birth_note(self.signer.verifier(), region);
        files.insert(layout::genesis_note(&self.origin), note.into());
    }

    pub(crate) fn head_note(&self, files: &mut Files, head: &Head) {
        files.insert(layout::head_file(&self.origin, head.size), head.note(&self.signer).into());
    }

    /// What stands for the first records where they were shipped and deleted.
    pub(crate) fn pruned(&self, files: &mut Files, size: u64, region: &Signer) {
        let mut walker = Walker::new(self.origin.clone());
        for record in &self.records[..size as usize] {
            let checked = walker.check(record).unwrap();
            walker.accept(record, &checked);
        }
        let last = record_head(&self.records[size as usize - 1]);
        let note = Pruned { walker, last_ts: last.ts }.note(region);
        files.insert(layout::pruned_note(&self.origin), note.into());
    }

    /// Segments of the log, as they are stored in a bucket; `registry` is how far the registry was before each.
    pub(crate) fn ship(&self, files: &mut Files, ends: &[(u64, u64)], region: &Signer) {
        let (mut first, mut previous) = (0, Hash::ZERO);
        for (end, registry) in ends.iter().copied() {
            let records = &self.records[first as usize..end as usize];
            let mut groups = Groups::default();
            (first..end).zip(records).for_each(|(seq, record)| groups.push(seq, record));
            let (stored, members) = groups.pack().unwrap();
            let mut before = Frontier::new();
            self.leaves[..first as usize].iter().for_each(|leaf| before.push(*leaf));
            let leaves = self.leaves[first as usize..end as usize].to_vec();
            let index = Index { before, members, leaves };
            let manifest = Manifest {
                origin: self.origin.clone(),
                first,
                size: end,
                root: index.root(),
                previous,
                stored: Digest::of(&stored),
                records: Digest::of(groups.bundles()),
                index: Digest::of(&index.encode()),
                registry: if self.origin.is_registry() { first } else { registry },
                from_ts: record_head(&records[0]).ts,
                to_ts: record_head(&records[records.len() - 1]).ts,
            };
            let (note, at) = (manifest.note(region), (first, end));
            previous = Hash::of(note.as_bytes());
            files.insert(layout::segment_records(&self.origin, at), stored);
            files.insert(layout::segment_index(&self.origin, at), index.encode());
            files.insert(layout::segment_manifest(&self.origin, at), note.into());
            first = end;
        }
        let birth = birth_note(self.signer.verifier(), region);
        files.insert(format!("{}/genesis.note", layout::bucket_dir(&self.origin)), birth.into());
    }

    pub(crate) fn shipped_head(&self, files: &mut Files) {
        let head = self.head();
        files.insert(layout::bucket_head(&self.origin, head.size), head.note(&self.signer).into());
    }
}

pub(crate) fn record_head(record: &[u8]) -> aegis_audit_chain::record::Head {
    aegis_audit_chain::record::Head::parse(record).unwrap()
}

/// What the subject of each call can be shown to be.
pub(crate) fn disclosure() -> Disclosure {
    Disclosure::new([1; 16], "subject", &"ada@example.com".into())
}

pub(crate) fn decision(n: u64, tenant: &str) -> DecisionEntry {
    let id = DecisionId::new(START_S * 1_000 + n, [7; 10]);
    DecisionEntry {
        tenant: Some(TenantId::parse(tenant).unwrap()),
        agent: Some(AgentId::parse("planner").unwrap()),
        tool: Some(ToolName::parse("payments.create").unwrap()),
        est_cost: MicroUsd::new(1_500),
        outcome: OutcomeDue::Follows,
        sd: vec![disclosure().digest()],
        ..DecisionEntry::new(
            id,
            Region::parse("eu-west-1").unwrap(),
            Effect::Allow,
            Reason::Allowed,
        )
    }
}

pub(crate) fn refusal(n: u64) -> DecisionEntry {
    let id = DecisionId::new(START_S * 1_000 + n, [8; 10]);
    let region = Region::parse("eu-west-1").unwrap();
    DecisionEntry::new(id, region, Effect::Deny, Reason::TokenMissing)
}

pub(crate) fn outcome(of: u64, decision: &DecisionEntry) -> OutcomeEntry {
    let unknown = OutcomeEntry::unknown(&Origin::parse("d/r/w/1").unwrap(), of, decision);
    let of = Of { origin: None, seq: of, id: decision.id };
    OutcomeEntry { of, status: Some(201), bytes: 5_120, reason: Reason::Allowed, ..unknown }
}
