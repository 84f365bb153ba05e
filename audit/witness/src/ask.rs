//! One witness: what it has seen, and how it is shown more.
//!
//! Not here: how it is reached (`channel`), which head is shown (`anchors`, `witnesses`), proofs (`edge`). Invariant: a line
//! counts as a cosignature only if it holds under a key the witness is known by.

use std::io;

use aegis_audit_chain::Head;
use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::submission::{Answer, Submission};

use crate::channel::{Channel, ChannelError};
use crate::edge::{Edge, Files};

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the witness does not know this log")]
    UnknownLog,
    #[error("the witness does not take the log's key")]
    UnknownKey,
    #[error("the witness cannot read what it is shown")]
    Malformed,
    #[error(
        "the witness has seen {seen} records, and the head has {size}: the log was rolled back, or belongs to another"
    )]
    Ahead { seen: u64, size: u64 },
    #[error("the witness has seen another history: the log forked")]
    Forked,
    #[error("others show the witness heads of this log at the same time")]
    Contended,
    #[error("the answer holds no cosignature by a key of the witness")]
    NotCosigned,
    #[error("the registry's own files do not lead to the head")]
    Files,
    #[error("the registry cannot be read")]
    Read(#[from] io::Error),
}

impl WitnessError {
    /// Whether the witness knows another history of the log, or more of this one.
    pub(crate) fn contradicts(&self) -> bool {
        match self {
            Self::Ahead { .. } | Self::Forked => true,
            Self::Channel(_)
            | Self::UnknownLog
            | Self::UnknownKey
            | Self::Malformed
            | Self::Contended
            | Self::NotCosigned
            | Self::Files
            | Self::Read(_) => false,
        }
    }
}

/// A witness that is asked.
pub(crate) struct Asker {
    channel: Box<dyn Channel>,
    /// What the witness cosigned last, as far as is known.
    edge: Edge,
    trouble: Option<String>,
}

impl Asker {
    pub(crate) fn new(channel: Box<dyn Channel>) -> Self {
        Self { channel, edge: Edge::default(), trouble: None }
    }

    /// The largest head it cosigned, as far as this process knows.
    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }

    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// What it saw through others: voters of one region share what they saw.
    pub(crate) fn has_seen(&mut self, other: &Asker) {
        self.edge = other.edge.clone();
    }

    /// Its lines under the head, each with a newline. What is wrong is told once.
    pub(crate) fn ask(
        &mut self,
        (note, head): (&str, &Head),
        keys: &[Witness],
        files: &Files,
    ) -> Result<String, WitnessError> {
        let asked = self.cosigned((note, head), keys, files);
        let trouble = asked.as_ref().err().map(WitnessError::to_string);
        if let Some(trouble) = &trouble
            && self.trouble.as_ref() != Some(trouble)
        {
            let witness = keys.first().map_or("unknown", Witness::name);
            tracing::error!(
                witness,
                size = head.size,
                error = trouble,
                "a witness does not cosign"
            );
        }
        self.trouble = trouble;
        asked
    }

    /// Asks three times at most: a witness that has seen more or less than thought says how much, and voters may have to learn
    /// from each other in between.
    fn cosigned(
        &mut self,
        (note, head): (&str, &Head),
        keys: &[Witness],
        files: &Files,
    ) -> Result<String, WitnessError> {
        for _ in 0..3 {
            let mut grown = self.edge.clone();
            let proof = grown.grow(files, head)?.ok_or(WitnessError::Files)?;
            let old = self.edge.size();
            let body = Submission { old, proof, note }.to_string();
            match self.channel.add_checkpoint(&body)? {
                Answer::Cosigned(lines) => {
                    let lines = own(head, &lines, keys)?;
                    self.edge = grown;
                    return Ok(lines);
                }
                Answer::Seen(seen) if seen > head.size => {
                    return Err(WitnessError::Ahead { seen, size: head.size });
                }
                Answer::Seen(seen) if seen == old => return Err(WitnessError::Forked),
                Answer::Seen(seen) => {
                    self.edge = Edge::read(files, seen)?.ok_or(WitnessError::Files)?;
                }
                Answer::UnknownLog => {
                    self.edge = Edge::default();
                    return Err(WitnessError::UnknownLog);
                }
                Answer::UnknownKey => return Err(WitnessError::UnknownKey),
                Answer::NotProven => return Err(WitnessError::Forked),
                Answer::Malformed => return Err(WitnessError::Malformed),
            }
        }
        Err(WitnessError::Contended)
    }
}

/// The lines of the answer that are by these keys, once they hold.
fn own(head: &Head, answer: &str, keys: &[Witness]) -> Result<String, WitnessError> {
    let text = head.checkpoint();
    let mut own = String::new();
    for line in answer.lines() {
        let name = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let by = keys.iter().filter(|key| name.is_some_and(|(name, _)| name == key.name()));
        for key in by {
            let at = key.cosigned_at(&text, &format!("{line}\n"));
            if at.map_err(|_| WitnessError::NotCosigned)?.is_some() {
                own.push_str(line);
                own.push('\n');
                break;
            }
        }
    }
    if own.is_empty() { Err(WitnessError::NotCosigned) } else { Ok(own) }
}
