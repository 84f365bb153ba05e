//! A way to a witness: it takes a submission, and says one of the things a witness can say.
//!
//! Not here: what follows from the answer (`ask`). Invariant: a status that the protocol does not know is an error, never an
//! answer; nothing makes the client go to another server.

use std::io::Read as _;
use std::time::Duration;

use aegis_audit_chain::submission::Answer;
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Witnesses of the public network answer in some hundred milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Some signature lines, or a size.
const ANSWER_BYTES_MAX: u64 = 16 * 1_024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the certificate to trust is no PEM")]
    Certificate,
    #[error("no answer: {0}")]
    Http(#[source] Box<ureq::Error>),
    #[error("the answer is too long, or broke off")]
    Body,
    #[error("the answer has status {0}")]
    Status(u16),
    /// Of a witness that is reached without HTTP.
    #[error("no answer: {0}")]
    Here(String),
}

/// One witness, however it is reached.
pub trait Channel: Send {
    /// Brings the body of an `add-checkpoint`.
    fn add_checkpoint(&mut self, body: &str) -> Result<Answer, ChannelError>;
}

/// A witness behind a URL.
pub struct Http {
    url: String,
    /// What to trust instead of the public authorities, in PEM.
    ca: Option<String>,
    /// Made when it is first needed, for making it can fail.
    agent: Option<Agent>,
}

impl Http {
    /// The witness with this submission prefix.
    pub fn new(prefix: &str, ca: Option<String>) -> Self {
        Self { url: format!("{}/add-checkpoint", prefix.trim_end_matches('/')), ca, agent: None }
    }
}

impl Channel for Http {
    fn add_checkpoint(&mut self, body: &str) -> Result<Answer, ChannelError> {
        let agent = match &self.agent {
            Some(agent) => agent,
            None => self.agent.insert(agent(self.ca.as_deref())?),
        };
        let sent = agent.post(&self.url).content_type("text/plain; charset=utf-8").send(body);
        let answer = sent.map_err(|error| ChannelError::Http(Box::new(error)))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let read =
            answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|_| ChannelError::Body)?;
        Ok(match status {
            200 => Answer::Cosigned(text),
            409 => Answer::Seen(text.trim_end().parse().map_err(|_| ChannelError::Body)?),
            422 => Answer::NotProven,
            404 => Answer::UnknownLog,
            403 => Answer::UnknownKey,
            400 => Answer::Malformed,
            status => return Err(ChannelError::Status(status)),
        })
    }
}

pub(crate) fn agent(ca: Option<&str>) -> Result<Agent, ChannelError> {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = ca {
        let root = Certificate::from_pem(pem.as_bytes()).map_err(|_| ChannelError::Certificate)?;
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
