//! This voter as a witness of audit logs (<https://c2sp.org/tlog-witness>): it cosigns heads that the region's ledger has anchored.
//!
//! Not here: HTTP (`control`), and whether a head extends the one before (`ledger`). Invariant: nothing is proposed before the head
//! was found signed by the log's own key, and nothing is cosigned that is not the newest head in the ledger.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::cosignature::Cosigner;
use aegis_audit_chain::note::{NoteError, Verifier, split};
use aegis_audit_chain::submission::{Answer, Submission};
use aegis_audit_chain::{Head, Origin, tree};
use aegis_control_commands::{Chronicle, LedgerError, chronicled};
use aegis_control_messages::clock;
use aegis_control_messages::problem::LogError;
use aegis_ledger::{Action, Refusal, Stream, StreamAct, StreamRefusal, VoterAct, WEIGHS_PROOFS};
use aegis_raft_store::{Node, Wish};
use aegis_registry::Actor;

const PRESENT_AGAIN: Duration = Duration::from_secs(60);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One voter, cosigning.
#[derive(Debug)]
pub struct Witness {
    node: Node,
    /// What it cosigns with.
    cosigner: Cosigner,
    /// Where this very voter is asked, where that is known.
    own_url: Option<String>,
}

/// Has the ledger say which key this voter cosigns with, and where it is asked.
pub async fn present(witness: &Witness) -> Infallible {
    let id = witness.node.identity().node;
    let key = witness.cosigner.witness().to_string();
    let mut is_told = false;
    loop {
        let is_known = {
            let ledger = witness.node.ledger();
            let known = ledger.voters().cosigner(id);
            known.is_some_and(|it| {
                *it.key == *key && it.url.as_deref() == witness.own_url.as_deref()
            })
        };
        if is_known {
            tokio::time::sleep(PRESENT_AGAIN).await;
            continue;
        }
        let url = witness.own_url.as_deref().map(Into::into);
        let act = Action::Voter(VoterAct::Cosigns { id, key: key.as_str().into(), url });
        match witness.have(act, "voter").await {
            Ok(()) => is_told = false,
            // It stays refused: this voter would be a witness for nobody, and silently so.
            Err(HaveError::Refused(refusal)) if !is_told => {
                is_told = true;
                tracing::error!(%refusal, "the ledger does not take the key that this voter cosigns with");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => {
                tracing::debug!(%error, "the voters do not know yet what this one cosigns with");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

impl Witness {
    pub fn new(node: Node, cosigner: Cosigner) -> Self {
        Self { node, cosigner, own_url: None }
    }

    /// Says where this very voter is asked, so that gateways find it.
    pub fn is_reached_at(&mut self, url: Option<String>) {
        self.own_url = url;
    }

    /// Takes a log whose heads are to be anchored; it may be said again. A gateway of this process says it of its own log, whose
    /// first record is its birth.
    pub async fn register_log(&self, by: &Actor, key: &str) -> Result<(), LogError> {
        match self.is_new_log(key)? {
            true => self.begin_log(by, key).await,
            false => Ok(()),
        }
    }

    /// The same for others, on record.
    pub async fn register_others_log(
        &self,
        by: &Actor,
        key: &str,
        chronicle: Option<&Arc<dyn Chronicle>>,
    ) -> Result<(), LogError> {
        match (chronicle, self.is_new_log(key)?) {
            (_, false) => Ok(()),
            (None, true) => self.begin_log(by, key).await,
            (Some(chronicle), true) => {
                let act = Action::Stream(StreamAct::Begin { key: key.into() });
                let begin = self.begin_log(by, key);
                chronicled(chronicle, &self.node, (by.clone(), act), begin).await
            }
        }
    }

    fn is_new_log(&self, key: &str) -> Result<bool, LogError> {
        let malformed = || LogError::Refused(StreamRefusal::Key);
        let verifier = Verifier::parse(key).map_err(|_| malformed())?;
        let origin = Origin::parse(verifier.name()).map_err(|_| malformed())?;
        match self.node.ledger().streams().get(&origin) {
            None => Ok(true),
            Some(known) if *known.key() == *key => Ok(false),
            Some(_) => Err(LogError::Refused(StreamRefusal::Exists)),
        }
    }

    async fn begin_log(&self, by: &Actor, key: &str) -> Result<(), LogError> {
        let action = Action::Stream(StreamAct::Begin { key: key.into() });
        let answer = self.node.propose(Wish { by: by.clone(), action, once: None }).await;
        match answer.map_err(LedgerError::from)? {
            Ok(_) => Ok(()),
            Err(Refusal::Stream(refusal)) => Err(LogError::Refused(refusal)),
            Err(_) => Err(LogError::Ledger(LedgerError::Gone)),
        }
    }

    /// What this voter says of a head it is shown. It is an error that the voters cannot agree now.
    pub async fn add_checkpoint(&self, body: &str) -> Result<Answer, LedgerError> {
        let Some(submission) = Submission::parse(body) else { return Ok(Answer::Malformed) };
        let read = self.look(&submission);
        let (origin, head, size) = match read {
            Look::Said(answer) => return Ok(answer),
            Look::Signed { origin, head, size } => (origin, head, size),
        };
        // Another voter may have cosigned what this one has not applied yet.
        if submission.old > size {
            self.node.catch_up().await.map_err(|_| LedgerError::NoQuorum)?;
        }
        match self.judge(&submission, &head, &origin) {
            Step::Say(answer) => return Ok(answer),
            Step::Cosign => return Ok(self.cosign(&head)),
            Step::Propose => {}
        }
        let key = self.node.ledger().streams().get(&origin).map(|log| log.key().to_owned());
        let note = key.and_then(|key| own_note(submission.note, &key));
        let Some(note) = note else { return Ok(Answer::UnknownLog) };
        let (name, proof) = (origin.as_str().into(), submission.proof.clone());
        let act = StreamAct::Anchor { note: note.into(), origin: name, proof };
        // What came of it stands in the ledger, together with what others brought in the meantime.
        match self.have(Action::Stream(act), "witness").await {
            Ok(()) | Err(HaveError::Refused(_)) => {}
            Err(HaveError::Ledger(error)) => return Err(error),
        }
        let ledger = self.node.ledger();
        let reaches = ledger.streams().get(&origin).map(Stream::reaches);
        drop(ledger);
        Ok(match reaches {
            None => Answer::UnknownLog,
            Some(reaches) if reaches == (head.size, head.root) => self.cosign(&head),
            Some((size, _)) if size != submission.old || size == head.size => Answer::Seen(size),
            Some(_) => Answer::NotProven,
        })
    }

    /// The newest head of a log with this voter's name under it, as far as there is one.
    pub fn cosigned(&self, log: &Stream) -> Option<String> {
        let (note, _) = log.newest()?;
        let (text, _) = split(note).ok()?;
        Some(format!("{note}{}", self.cosigner.line(text, clock::now())))
    }

    fn cosign(&self, head: &Head) -> Answer {
        Answer::Cosigned(self.cosigner.line(&head.checkpoint(), clock::now()))
    }

    /// Whether it is a head of a log that is known, under that log's key.
    fn look(&self, submission: &Submission<'_>) -> Look {
        let Ok((text, _)) = split(submission.note) else { return Look::Said(Answer::Malformed) };
        // A name that no log of ours can have is no more known than one that none has.
        let origin = text.lines().next().and_then(|line| Origin::parse(line).ok());
        let ledger = self.node.ledger();
        let found = origin.and_then(|origin| Some((ledger.streams().get(&origin)?, origin)));
        let Some((log, origin)) = found else { return Look::Said(Answer::UnknownLog) };
        let Ok(key) = Verifier::parse(log.key()) else { return Look::Said(Answer::UnknownLog) };
        match Head::open(submission.note, &key) {
            Ok(head) if submission.old > head.size => Look::Said(Answer::Malformed),
            Ok(head) => Look::Signed { origin, head, size: log.size() },
            Err(NoteError::Unsigned | NoteError::Signature) => Look::Said(Answer::UnknownKey),
            Err(NoteError::Malformed | NoteError::Key) => Look::Said(Answer::Malformed),
        }
    }

    fn judge(&self, submission: &Submission<'_>, head: &Head, origin: &Origin) -> Step {
        let ledger = self.node.ledger();
        let Some(log) = ledger.streams().get(origin) else { return Step::Say(Answer::UnknownLog) };
        let (old, proof) = (submission.old, submission.proof.as_slice());
        // What shows that the key signs two histories is put where nobody can lose it, whatever else is wrong.
        let weighs = ledger.voters().level() >= WEIGHS_PROOFS;
        if log.is_news_against(head, if weighs { proof } else { &[] }) {
            return Step::Propose;
        }
        let (size, root) = log.reaches();
        if old != size {
            return Step::Say(Answer::Seen(size));
        }
        if head.size == size {
            return match (head.root == root, proof) {
                (true, []) => Step::Cosign,
                (true, _) => Step::Say(Answer::NotProven),
                (false, _) => Step::Say(Answer::Seen(size)),
            };
        }
        let is_first = size == 0 && proof.is_empty();
        match is_first || (size > 0 && tree::extends((size, root), (head.size, head.root), proof)) {
            true => Step::Propose,
            false if weighs && log.is_new_doubt(head, proof, ledger.latest()) => Step::Propose,
            false => Step::Say(Answer::NotProven),
        }
    }

    /// Has a command applied that no person asked for, and that no record is made of.
    async fn have(&self, action: Action, by: &str) -> Result<(), HaveError> {
        let by = Actor::parse(&format!("{by} {}", self.node.identity().node));
        let by = by.map_err(|_| HaveError::Ledger(LedgerError::Gone))?;
        let answer = self.node.propose(Wish { by, action, once: None }).await;
        let answer = answer.map_err(|error| HaveError::Ledger(error.into()))?;
        answer.map(drop).map_err(HaveError::Refused)
    }
}

enum Look {
    Said(Answer),
    /// A head that its log signed, and how far the ledger knows that log.
    Signed {
        origin: Origin,
        head: Head,
        size: u64,
    },
}

enum Step {
    Say(Answer),
    Cosign,
    Propose,
}

/// Why a command of this voter's own changed nothing.
#[derive(Debug, thiserror::Error)]
enum HaveError {
    #[error(transparent)]
    Refused(Refusal),
    #[error(transparent)]
    Ledger(LedgerError),
}

/// The note without the lines of others.
fn own_note(note: &str, key: &str) -> Option<String> {
    let key = Verifier::parse(key).ok()?;
    let (text, lines) = split(note).ok()?;
    let is_own = |line: &&str| key.open(&format!("{text}\n{line}\n")).is_ok();
    lines.lines().find(is_own).map(|line| format!("{text}\n{line}\n"))
}
