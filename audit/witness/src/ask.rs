//! One witness: what it has seen, and how it is shown more.
//!
//! Not here: which head is shown (`witnesses`), proofs (`edge`). Invariant: a line counts as a cosignature only if it holds under
//! the key the witness was configured with.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use aegis_audit_chain::{Hash, Head};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::edge::Edge;
use crate::{WitnessAt, WitnessStanding};

/// Witnesses of the public network answer in some hundred milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Some signature lines, or a size.
const ANSWER_BYTES_MAX: u64 = 16 * 1_024;

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessError {
    #[error("the certificate to trust is no PEM")]
    Certificate,
    #[error("no answer: {0}")]
    Http(#[source] Box<ureq::Error>),
    #[error("the answer is too long, or broke off")]
    Body,
    #[error("the witness does not know this log")]
    UnknownLog,
    #[error("the witness does not take the region key")]
    UnknownKey,
    #[error(
        "the witness has seen {seen} records, and the head has {size}: the log was rolled back, or belongs to another"
    )]
    Ahead { seen: u64, size: u64 },
    #[error("the witness has seen another history: the log forked")]
    Forked,
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer holds no cosignature by the witness' key")]
    NotCosigned,
    #[error("the registry's own files do not lead to the head")]
    Files,
    #[error("the registry cannot be read")]
    Read(#[from] io::Error),
}

/// What came of asking.
pub(crate) enum Answer {
    /// Its lines, each with a newline.
    Cosigned(String),
    Refused,
}

/// How an edge is read that is not at hand.
pub(crate) type Edges<'e> = &'e dyn Fn(u64) -> io::Result<Option<Edge>>;

pub(crate) struct Asker {
    at: WitnessAt,
    /// Made when it is first needed, for making it can fail.
    agent: Option<Agent>,
    /// What the witness cosigned last, as far as is known.
    edge: Edge,
    trouble: Option<String>,
}

impl Asker {
    pub(crate) fn new(at: &WitnessAt) -> Self {
        Self { at: at.clone(), agent: None, edge: Edge::default(), trouble: None }
    }

    pub(crate) fn standing(&self) -> WitnessStanding {
        let name = self.at.witness.name().to_owned();
        WitnessStanding { name, size: self.edge.size(), trouble: self.trouble.clone() }
    }

    pub(crate) fn ask(
        &mut self,
        note: &str,
        head: &Head,
        (dir, edges): (&Path, Edges<'_>),
    ) -> Answer {
        match self.cosigned(note, head, (dir, edges)) {
            Ok(lines) => {
                self.trouble = None;
                Answer::Cosigned(lines)
            }
            Err(error) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    let witness = self.at.witness.name();
                    tracing::error!(witness, size = head.size, %error, "a witness does not cosign");
                }
                self.trouble = Some(trouble);
                Answer::Refused
            }
        }
    }

    /// Asks twice at most: where the witness has seen more or less than thought, it says how much.
    fn cosigned(
        &mut self,
        note: &str,
        head: &Head,
        (dir, edges): (&Path, Edges<'_>),
    ) -> Result<String, WitnessError> {
        for _ in 0..2 {
            let mut grown = self.edge.clone();
            let proof = grown.grow(dir, head)?.ok_or(WitnessError::Files)?;
            match self.send(&body(self.edge.size(), &proof, note))? {
                (200, lines) => {
                    let lines = self.own(head, &lines)?;
                    self.edge = grown;
                    return Ok(lines);
                }
                (409, seen) => {
                    let seen = seen.trim_end().parse().map_err(|_| WitnessError::Forked)?;
                    if seen > head.size {
                        return Err(WitnessError::Ahead { seen, size: head.size });
                    }
                    if seen == self.edge.size() {
                        return Err(WitnessError::Forked);
                    }
                    self.edge = edges(seen)?.ok_or(WitnessError::Files)?;
                }
                (404, _) => return Err(WitnessError::UnknownLog),
                (403, _) => return Err(WitnessError::UnknownKey),
                (422, _) => return Err(WitnessError::Forked),
                (status, _) => return Err(WitnessError::Status(status)),
            }
        }
        Err(WitnessError::Status(409))
    }

    /// The lines that are the witness' own, once they hold.
    fn own(&self, head: &Head, lines: &str) -> Result<String, WitnessError> {
        let own = lines.lines().filter(|line| {
            let name = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
            name.is_some_and(|(name, _)| name == self.at.witness.name())
        });
        let own: String = own.map(|line| format!("{line}\n")).collect();
        let at = self.at.witness.cosigned_at(&head.checkpoint(), &own);
        match at {
            Ok(Some(_)) => Ok(own),
            Ok(None) | Err(_) => Err(WitnessError::NotCosigned),
        }
    }

    fn send(&mut self, body: &str) -> Result<(u16, String), WitnessError> {
        let agent = match &self.agent {
            Some(agent) => agent,
            None => self.agent.insert(agent(self.at.ca.as_deref())?),
        };
        let url = format!("{}/add-checkpoint", self.at.url.trim_end_matches('/'));
        let answer = agent.post(&url).send(body);
        let answer = answer.map_err(|error| WitnessError::Http(Box::new(error)))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let read =
            answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|_| WitnessError::Body)?;
        Ok((status, text))
    }
}

/// The body of `add-checkpoint`.
fn body(old: u64, proof: &[Hash], note: &str) -> String {
    let proof: String = proof.iter().map(|hash| format!("{}\n", hash.standard())).collect();
    format!("old {old}\n{proof}\n{note}")
}

fn agent(ca: Option<&str>) -> Result<Agent, WitnessError> {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = ca {
        let root = Certificate::from_pem(pem.as_bytes()).map_err(|_| WitnessError::Certificate)?;
        tls = tls.root_certs(RootCerts::from([root]));
    }
    let config = Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .max_redirects(0)
        .http_status_as_error(false)
        .tls_config(tls.build())
        .build();
    Ok(config.into())
}
