//! The audit streams of the region and their heads, each checked before it is anchored.
//!
//! Not here: how a head is made (`audit/ship`), and what a verifier does with it (`audit/chain`). Invariant: the anchored
//! heads of a stream are signed by its key and each extends the one before; a signed head that is shown to say otherwise
//! is kept as evidence, never dropped. Of one whose proof shows nothing nobody can tell a fork from a mistake: it is kept as a doubt.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::{Hash, Head, Origin, tree};
use aegis_domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::ledger::{Desk, WEIGHS_PROOFS};
use crate::wire::{hash, instant, pairs};

const STREAMS_MAX: usize = 100_000;
/// How many heads of a stream are held to find a conflict with.
const HEADS_KEPT: usize = 16;
/// Two would prove that the key lies; the rest tell how long it has.
const EVIDENCE_MAX: usize = 16;
/// The first are kept, or whoever has the key could have as many commands applied as it can sign heads.
const DOUBTS_MAX: usize = 4;
/// What nobody looked into for so long gives way where there is no more room.
const DOUBT_MS: u64 = 24 * 3_600 * 1_000;
/// A proof has at most two hashes for each level of the tree.
const PROOF_MAX: usize = 128;

/// What can be done about a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StreamAct {
    /// A stream begins; the key's name is the stream's.
    Begin { key: Box<str> },
    /// A signed head, and the proof that it extends the one anchored last.
    Anchor {
        note: Box<str>,
        origin: Box<str>,
        #[serde(with = "hash::list")]
        proof: Vec<Hash>,
    },
    /// Its writer ended it; nothing follows.
    End { origin: Box<str> },
}

/// Why it was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum StreamRefusal {
    #[error("the key is not an Ed25519 verifier key under a stream's name")]
    Key,
    #[error("a stream of that name began before")]
    Exists,
    #[error("no stream of that name began")]
    Unknown,
    #[error("the stream has ended")]
    Ended,
    #[error("the head is not signed by the stream's key")]
    Unsigned,
    #[error("the head is not ahead of the one anchored last")]
    NotAhead,
    #[error("the proof does not show that the head extends the one anchored last")]
    NotProven,
    #[error("the head contradicts one that was anchored; both are kept as evidence")]
    Conflict,
    #[error("the region holds all the streams it can")]
    Full,
}

/// A head that was anchored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Anchored {
    size: u64,
    #[serde(with = "hash")]
    root: Hash,
    note: Box<str>,
    #[serde(with = "instant")]
    at: Timestamp,
}

/// Two heads under one key that cannot both be true: the writer, or whoever has its key, shows different people different records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub anchored: Box<str>,
    pub conflicting: Box<str>,
    /// Where they are of different sizes: leads from the larger one's root to what its first records are, and these are others
    /// than the smaller one says.
    #[serde(with = "hash::list", default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<Hash>,
    #[serde(with = "instant")]
    pub at: Timestamp,
}

/// A signed head that came without a proof that it extends what was anchored, and without one that it does not. Whoever made it
/// has another history, or whoever brought it made a mistake; it convicts nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doubt {
    /// The newest that was anchored by then.
    pub anchored: Box<str>,
    pub doubted: Box<str>,
    #[serde(with = "instant")]
    pub at: Timestamp,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    key: Box<str>,
    /// The last of them, the newest at the end.
    heads: VecDeque<Anchored>,
    evidence: Vec<Evidence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    doubts: Vec<Doubt>,
    has_ended: bool,
}

impl Stream {
    /// The verifier key its heads are signed with.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The signed head anchored last, and when.
    pub fn newest(&self) -> Option<(&str, Timestamp)> {
        self.heads.back().map(|head| (head.note.as_ref(), head.at))
    }

    /// How many records the newest head covers.
    pub fn size(&self) -> u64 {
        self.heads.back().map_or(0, |head| head.size)
    }

    /// Size and root of the newest head; the empty tree before the first.
    pub fn reaches(&self) -> (u64, Hash) {
        self.heads.back().map_or((0, Hash::empty_root()), |last| (last.size, last.root))
    }

    /// Whether a head contradicts one that is remembered, by its size or by its proof, and is not kept as evidence yet.
    pub fn is_news_against(&self, head: &Head, proof: &[Hash]) -> bool {
        self.contradicted((head.size, head.root), proof).is_some() && self.has_room_against(head)
    }

    /// Whether a head is ahead of the newest, its proof shows nothing either way, and it is not kept as a doubt yet.
    pub fn is_new_doubt(&self, head: &Head, proof: &[Hash], now: Timestamp) -> bool {
        let new = (head.size, head.root);
        let shows = |known: &Anchored| tree::extends(known.reach(), new, proof);
        let has_room = self.doubts.len() < DOUBTS_MAX || self.doubts.iter().any(is_old(now));
        self.heads.back().is_some_and(|newest| newest.size < head.size)
            && !self.heads.iter().any(shows)
            && self.contradicted(new, proof).is_none()
            && !self.doubts.iter().any(|doubt| is_note_of(&doubt.doubted, head))
            && has_room
    }

    /// The anchored head that one of another root contradicts.
    fn contradicted(&self, new: (u64, Hash), proof: &[Hash]) -> Option<&Anchored> {
        let contradicts = |known: &&Anchored| match known.size.cmp(&new.0) {
            Ordering::Equal => known.root != new.1,
            Ordering::Less => tree::contradicts(known.reach(), new, proof),
            Ordering::Greater => tree::contradicts(new, known.reach(), proof),
        };
        self.heads.iter().find(contradicts)
    }

    fn has_room_against(&self, head: &Head) -> bool {
        let is_kept = self.evidence.iter().any(|kept| is_note_of(&kept.conflicting, head));
        !is_kept && self.evidence.len() < EVIDENCE_MAX
    }

    /// What nobody could tell a fork from a mistake by.
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }

    pub fn evidence(&self) -> &[Evidence] {
        &self.evidence
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn anchor(
        &mut self,
        note: &str,
        proof: &[Hash],
        desk: &Desk<'_>,
    ) -> Result<Outcome, StreamRefusal> {
        let key = Verifier::parse(&self.key).map_err(|_| StreamRefusal::Key)?;
        let head = Head::open(note, &key).map_err(|_| StreamRefusal::Unsigned)?;
        let new = Anchored { size: head.size, root: head.root, note: note.into(), at: desk.at };
        if let Some(same) = self.heads.iter().find(|known| known.size == new.size) {
            if same.root == new.root {
                return Ok(Outcome::Done);
            }
            let evidence = Evidence {
                anchored: same.note.clone(),
                conflicting: new.note,
                proof: Vec::new(),
                at: desk.at,
            };
            if self.evidence.len() < EVIDENCE_MAX {
                self.evidence.push(evidence);
            }
            return Err(StreamRefusal::Conflict);
        }
        let weighs = desk.level >= WEIGHS_PROOFS;
        if weighs && self.convicts(&head, note, (proof, desk.at)) {
            return Err(StreamRefusal::Conflict);
        }
        if self.has_ended {
            return Err(StreamRefusal::Ended);
        }
        let (size, root) = self.reaches();
        if new.size < size {
            return Err(StreamRefusal::NotAhead);
        }
        // Everything extends the empty tree, and RFC 9162 has no proof for it.
        let is_first = size == 0 && proof.is_empty();
        if !is_first && !tree::extends((size, root), (new.size, new.root), proof) {
            if weighs && self.is_new_doubt(&head, proof, desk.at) {
                self.doubt(note, desk.at);
            }
            return Err(StreamRefusal::NotProven);
        }
        if self.heads.len() >= HEADS_KEPT {
            self.heads.pop_front();
        }
        self.heads.push_back(new);
        self.doubts.retain(|doubt| !is_note_of(&doubt.doubted, &head));
        Ok(Outcome::Done)
    }

    /// Keeps what a proof shows against a head of another size.
    fn convicts(&mut self, head: &Head, note: &str, (proof, at): (&[Hash], Timestamp)) -> bool {
        let Some(known) = self.contradicted((head.size, head.root), proof) else { return false };
        let (anchored, proof) = (known.note.clone(), proof.to_vec());
        if self.has_room_against(head) {
            self.doubts.retain(|doubt| !is_note_of(&doubt.doubted, head));
            self.evidence.push(Evidence { anchored, conflicting: note.into(), proof, at });
        }
        true
    }

    fn doubt(&mut self, note: &str, at: Timestamp) {
        let Some(newest) = self.heads.back() else { return };
        let doubt = Doubt { anchored: newest.note.clone(), doubted: note.into(), at };
        if self.doubts.len() >= DOUBTS_MAX {
            self.doubts.remove(0);
        }
        self.doubts.push(doubt);
    }
}

impl Anchored {
    fn reach(&self) -> (u64, Hash) {
        (self.size, self.root)
    }
}

/// A head has one text, and as many notes as somebody with its key cares to sign.
fn is_note_of(note: &str, head: &Head) -> bool {
    note.starts_with(&head.checkpoint())
}

fn is_old(now: Timestamp) -> impl Fn(&Doubt) -> bool {
    move |doubt| now.unix_ms().saturating_sub(doubt.at.unix_ms()) >= DOUBT_MS
}

/// All of them, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Streams(#[serde(with = "pairs")] BTreeMap<Box<str>, Stream>);

impl Streams {
    pub fn get(&self, origin: &Origin) -> Option<&Stream> {
        self.0.get(origin.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Stream)> {
        self.0.iter().map(|(origin, stream)| (origin.as_ref(), stream))
    }

    pub(crate) fn act(
        &mut self,
        act: &StreamAct,
        desk: &Desk<'_>,
    ) -> Result<Outcome, StreamRefusal> {
        match act {
            StreamAct::Begin { key } => self.begin(key),
            StreamAct::Anchor { note, origin, proof } => {
                let stream = self.0.get_mut(origin).ok_or(StreamRefusal::Unknown)?;
                if proof.len() > PROOF_MAX {
                    return Err(StreamRefusal::NotProven);
                }
                stream.anchor(note, proof, desk)
            }
            StreamAct::End { origin } => {
                let stream = self.0.get_mut(origin).ok_or(StreamRefusal::Unknown)?;
                stream.has_ended = true;
                Ok(Outcome::Done)
            }
        }
    }

    fn begin(&mut self, key: &str) -> Result<Outcome, StreamRefusal> {
        let verifier = Verifier::parse(key).map_err(|_| StreamRefusal::Key)?;
        let origin = Origin::parse(verifier.name()).map_err(|_| StreamRefusal::Key)?;
        if self.0.contains_key(origin.as_str()) {
            return Err(StreamRefusal::Exists);
        }
        if self.0.len() >= STREAMS_MAX {
            return Err(StreamRefusal::Full);
        }
        let stream = Stream {
            key: key.into(),
            heads: VecDeque::new(),
            evidence: Vec::new(),
            doubts: Vec::new(),
            has_ended: false,
        };
        self.0.insert(origin.as_str().into(), stream);
        Ok(Outcome::Done)
    }
}
