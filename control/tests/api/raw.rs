//! Requests as no client of ours would send them.
//!
//! Not here: the calls of good clients (`node`). Invariant: what is sent is what was given, header by header.

use serde_json::Value;

use crate::node::Node;

pub(crate) const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Sent {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }

    /// The error of OAuth, or the last part of the problem's type.
    pub(crate) fn kind(&self) -> &str {
        let text = |name: &str| self.body[name].as_str();
        text("error").or(text("type").and_then(|kind| kind.rsplit('/').next())).unwrap_or_default()
    }
}

impl Node {
    pub(crate) fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Sent {
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request = ureq::Agent::from(config).post(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).unwrap();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()));
        let headers = headers.collect();
        let text = answer.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap();
        Sent { status: answer.status().as_u16(), headers, body }
    }
}

/// A form as it goes over the wire.
pub(crate) fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
    let encoded = aegis_control_client::encoded;
    let pairs = pairs.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&").into_bytes()
}
