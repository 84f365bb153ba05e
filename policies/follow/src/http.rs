//! A voter that is reached over HTTP or HTTPS.
//!
//! Not here: what its answers are worth (`follow`). Invariant: every answer is bounded in time and size, and none leads to
//! another address than the one that somebody configured.

use std::io::Read as _;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_domain::Secret;
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::source::{Scope, Source, SourceError};
use crate::wire::Report;

/// Longer than the feed lets a question wait.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Ten thousand statements of a few kilobytes.
const PAGE_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// As much as the ledger holds in one content.
const CONTENT_BYTES_MAX: u64 = 700 * 1_024;
/// More are not named in a question: then everything is asked for.
const TENANTS_NAMED_MAX: usize = 64;

/// A control API, and the right to follow it.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    url: String,
    token: Secret<String>,
}

impl Http {
    /// `ca`, in PEM, replaces the public authorities.
    pub fn new(url: &str, token: Secret<String>, ca: Option<&str>) -> Result<Self, SourceError> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let root =
                Certificate::from_pem(pem.as_bytes()).map_err(|_| SourceError::Certificate)?;
            tls = tls.root_certs(RootCerts::from([root]));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        Ok(Self { agent: config.into(), url: url.trim_end_matches('/').to_owned(), token })
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose().trim())
    }

    fn get(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        let asked = self.agent.get(url).header("authorization", self.bearer()).call();
        read(asked, bytes_max)
    }
}

fn read(
    answer: Result<Response<ureq::Body>, ureq::Error>,
    bytes_max: u64,
) -> Result<Vec<u8>, SourceError> {
    let answer = answer.map_err(|error| SourceError::Http(Box::new(error)))?;
    if !answer.status().is_success() {
        return Err(SourceError::Status(answer.status().as_u16()));
    }
    let mut bytes = Vec::new();
    let mut body = answer.into_body().into_reader().take(bytes_max.saturating_add(1));
    let length = body.read_to_end(&mut bytes).ok().and_then(|length| u64::try_from(length).ok());
    match length {
        Some(length) if length <= bytes_max => Ok(bytes),
        Some(_) | None => Err(SourceError::Body { bytes_max }),
    }
}

impl Source for Http {
    fn page(&self, scope: &Scope, after: Option<u64>) -> Result<String, SourceError> {
        // Names of regions and tenants need no escaping.
        let mut url = format!("{}/v1/releases?region={}", self.url, scope.region);
        if let Some(after) = after {
            url.push_str(&format!("&after={after}"));
        }
        if (1..=TENANTS_NAMED_MAX).contains(&scope.tenants.len()) {
            let names: Vec<_> = scope.tenants.iter().map(|tenant| tenant.as_str()).collect();
            url.push_str(&format!("&tenants={}", names.join(",")));
        }
        let page = self.get(&url, PAGE_BYTES_MAX)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    fn content(&self, digest: Hash) -> Result<Vec<u8>, SourceError> {
        self.get(&format!("{}/v1/contents/{digest}", self.url), CONTENT_BYTES_MAX)
    }

    fn report(&self, gateway: &str, report: &Report) -> Result<(), SourceError> {
        let url = format!("{}/v1/fleet/{gateway}", self.url);
        let asked = self.agent.post(&url).header("authorization", self.bearer());
        // Its members are texts and numbers.
        let body = serde_json::to_vec(report).unwrap_or_default();
        read(asked.header("content-type", "application/json").send(&body), CONTENT_BYTES_MAX)
            .map(drop)
    }
}
