//! The voters of a region, reached over HTTP or HTTPS: one at a time, and the next where one does not answer.
//!
//! Not here: what its answers are worth (`follow`). Invariant: every answer is bounded in time and size, and none leads to
//! another address than the one that somebody configured.

use std::io::Read as _;
use std::time::Duration;

use aegis_audit_chain::Hash;
use aegis_domain::{Secret, VoterUrls};
use ureq::Agent;
use ureq::http::Response;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::source::{Scope, Source, SourceError};
use crate::wire::Report;

/// Longer than the feed lets a question wait.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A host that is gone says nothing at all; then the next is asked.
const CONNECT: Duration = Duration::from_secs(3);
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
    voters: VoterUrls,
    token: Secret<String>,
}

impl Http {
    /// `ca`, in PEM, replaces the public authorities.
    pub fn new(
        voters: VoterUrls,
        token: Secret<String>,
        ca: Option<&str>,
    ) -> Result<Self, SourceError> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let root =
                Certificate::from_pem(pem.as_bytes()).map_err(|_| SourceError::Certificate)?;
            tls = tls.root_certs(RootCerts::from([root]));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .timeout_connect(Some(CONNECT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        Ok(Self { agent: config.into(), voters, token })
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token.expose().trim())
    }

    fn get(&self, path: &str, bytes_max: u64) -> Result<Vec<u8>, SourceError> {
        self.voters.ask(|url| {
            let asked = self.agent.get(format!("{url}{path}"));
            read(asked.header("authorization", self.bearer()).call(), bytes_max)
        })
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
        let mut path = format!("/v1/releases?region={}", scope.region);
        if let Some(after) = after {
            path.push_str(&format!("&after={after}"));
        }
        if (1..=TENANTS_NAMED_MAX).contains(&scope.tenants.len()) {
            let names: Vec<_> = scope.tenants.iter().map(|tenant| tenant.as_str()).collect();
            path.push_str(&format!("&tenants={}", names.join(",")));
        }
        let page = self.get(&path, PAGE_BYTES_MAX)?;
        Ok(String::from_utf8_lossy(&page).into_owned())
    }

    fn content(&self, digest: Hash) -> Result<Vec<u8>, SourceError> {
        self.get(&format!("/v1/contents/{digest}"), CONTENT_BYTES_MAX)
    }

    fn report(&self, gateway: &str, report: &Report) -> Result<(), SourceError> {
        // Its members are texts and numbers.
        let body = serde_json::to_vec(report).unwrap_or_default();
        self.voters.ask(|url| {
            let asked = self.agent.post(format!("{url}/v1/fleet/{gateway}"));
            let asked = asked.header("authorization", self.bearer());
            let told = asked.header("content-type", "application/json").send(&body);
            read(told, CONTENT_BYTES_MAX).map(drop)
        })
    }
}
