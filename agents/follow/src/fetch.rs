//! One GET over HTTP or HTTPS: bounded in time and size, and never redirected.
//!
//! Not here: what is fetched. Invariant: the address is one that somebody configured; nothing that was received names
//! another.

use std::io::Read as _;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// A host that is gone says nothing at all; whoever asks goes on to the next.
const CONNECT: Duration = Duration::from_secs(3);

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the certificate to trust is no PEM")]
    Certificate,
    #[error("no answer")]
    Http(#[source] Box<ureq::Error>),
    #[error("the answer has status {0}")]
    Status(u16),
    #[error("the answer is longer than {bytes_max} bytes, or broke off")]
    Body { bytes_max: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    agent: Agent,
    bytes_max: u64,
}

impl Fetch {
    /// `ca` replaces the public authorities.
    pub(crate) fn new(
        ca: Option<&str>,
        timeout: Duration,
        bytes_max: u64,
    ) -> Result<Self, FetchError> {
        let mut tls = TlsConfig::builder();
        if let Some(pem) = ca {
            let root =
                Certificate::from_pem(pem.as_bytes()).map_err(|_| FetchError::Certificate)?;
            tls = tls.root_certs(RootCerts::from([root]));
        }
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .timeout_connect(Some(CONNECT))
            .max_redirects(0)
            .http_status_as_error(false)
            .tls_config(tls.build())
            .build();
        Ok(Self { agent: config.into(), bytes_max })
    }

    pub(crate) fn get(&self, url: &str, bearer: Option<&str>) -> Result<Vec<u8>, FetchError> {
        let mut request = self.agent.get(url);
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| FetchError::Http(Box::new(error)))?;
        if answer.status() != 200 {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let mut bytes = Vec::new();
        let too_long = FetchError::Body { bytes_max: self.bytes_max };
        let mut body = answer.into_body().into_reader().take(self.bytes_max.saturating_add(1));
        let read = body.read_to_end(&mut bytes).map(|len| u64::try_from(len).unwrap_or(u64::MAX));
        match read {
            Ok(len) if len <= self.bytes_max => Ok(bytes),
            Ok(_) | Err(_) => Err(too_long),
        }
    }
}
