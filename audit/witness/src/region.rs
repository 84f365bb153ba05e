//! Where a log is made known to the voters of its region, and who they are.
//!
//! Not here: showing them heads (`anchors`). Invariant: a log that another key has the name of is refused for good.

use std::io::Read as _;

use aegis_audit_chain::cosignature::Witness;
use serde_json::{Value, json};
use ureq::Agent;

use crate::channel::{ChannelError, agent};

/// As long as a list of a few voters.
const ANSWER_BYTES_MAX: u64 = 1_024 * 1_024;

/// One voter, as its region names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    pub key: Witness,
    /// The base URL of its own control API, where it has one.
    pub url: Option<String>,
}

/// Why a log is not known to the voters.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    #[error("another key has this log's name in the region: give each gateway a `name` of its own")]
    Taken,
    #[error("no voter has said yet what it cosigns with")]
    Voterless,
    #[error("the region does not take this log: {0}")]
    Refused(String),
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// Who makes a log known.
pub trait Registrar: Send {
    /// Says who the voters are; may be asked again.
    fn register(&mut self, key: &str) -> Result<Vec<Voter>, RegistrarError>;
}

/// A region's control API.
pub struct HttpRegistrar {
    url: String,
    /// The whole value of `Authorization`.
    authorization: String,
    ca: Option<String>,
    agent: Option<Agent>,
}

impl HttpRegistrar {
    pub fn new(url: &str, token: &str, ca: Option<String>) -> Self {
        let url = format!("{}/v1/audit/logs", url.trim_end_matches('/'));
        Self { url, authorization: format!("Bearer {}", token.trim()), ca, agent: None }
    }
}

impl Registrar for HttpRegistrar {
    fn register(&mut self, key: &str) -> Result<Vec<Voter>, RegistrarError> {
        let agent = match &self.agent {
            Some(agent) => agent,
            None => self.agent.insert(agent(self.ca.as_deref())?),
        };
        let request = agent.put(&self.url).header("authorization", &self.authorization);
        let sent = request.content_type("application/json").send(json!({ "key": key }).to_string());
        let answer = sent.map_err(|error| ChannelError::Http(Box::new(error)))?;
        let status = answer.status().as_u16();
        let mut text = String::new();
        let body =
            answer.into_body().into_reader().take(ANSWER_BYTES_MAX).read_to_string(&mut text);
        body.map_err(|_| ChannelError::Body)?;
        let value: Value = serde_json::from_str(&text).map_err(|_| ChannelError::Status(status))?;
        let detail = || value.get("detail").and_then(Value::as_str).unwrap_or_default().to_owned();
        match status {
            200 => match voters(&value) {
                none if none.is_empty() => Err(RegistrarError::Voterless),
                voters => Ok(voters),
            },
            409 => Err(RegistrarError::Taken),
            400 | 401 | 403 => Err(RegistrarError::Refused(detail())),
            status => Err(ChannelError::Status(status).into()),
        }
    }
}

/// Those who cosign now.
fn voters(answer: &Value) -> Vec<Voter> {
    let listed = answer.get("witnesses").and_then(Value::as_array).into_iter().flatten();
    let cosigning = listed.filter(|one| one.get("until").is_some_and(Value::is_null));
    let voter = |one: &Value| {
        let key = Witness::parse(one.get("key")?.as_str()?).ok()?;
        Some(Voter { key, url: one.get("url").and_then(Value::as_str).map(str::to_owned) })
    };
    cosigning.filter_map(voter).collect()
}
