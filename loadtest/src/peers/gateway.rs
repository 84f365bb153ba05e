//! The real gateway, with a configuration and a policy of the load test's own.
//!
//! Not here: anything about its inside. Invariant: everything a production call meets is switched on.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aegis_domain::CallKind;
use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use super::{Peer, free_address};
use crate::call::{Call, Protocol, Target};
use crate::certificates::{Certificates, UPSTREAM_NAME};
use crate::connection::Connection;
use crate::token::{AUDIENCE, ISSUER, Issuer, ORG, TENANT};

const CONFIG: &str = include_str!("../../assets/aegis.yaml");
const POLICY: &str = include_str!("../../assets/policy.yaml");
/// Agents that call in turn, each with its own token, rates and budgets.
const AGENTS: usize = 8;
/// Size of every written body.
const BODY_BYTES: usize = 1_024;
const READY_MAX: Duration = Duration::from_secs(20);

/// A running gateway and who may call it.
pub(crate) struct Gateway {
    pub(crate) peer: Peer,
    issuer: Issuer,
    folder: PathBuf,
}

/// Where the gateway finds its upstream.
pub(crate) struct Behind<'a> {
    pub(crate) upstream: SocketAddr,
    pub(crate) tls: Option<&'a Certificates>,
}

impl Gateway {
    /// Lays out a data directory and starts the program on it.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        behind: &Behind<'_>,
    ) -> anyhow::Result<Self> {
        let issuer = Issuer::new()?;
        let (listen, metrics) = (free_address()?, free_address()?);
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("issuer.json"), issuer.jwks().to_string())?;
        std::fs::write(folder.join("policy.yaml"), POLICY)?;
        std::fs::write(folder.join("upstream.secret"), "loadtest-upstream-key\n")?;
        let config = folder.join("aegis.yaml");
        std::fs::write(&config, configuration(listen, metrics, behind)?)?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(&config);
        let peer = Peer::start("the gateway", &mut command, listen)?;
        until_ready(metrics)?;
        Ok(Self { peer, issuer, folder: folder.to_owned() })
    }

    /// Where the gateway writes what it decided.
    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.join("audit")
    }

    /// One call for each agent, with tokens that outlive a run: reads are GETs, writes POST 1 KB of JSON.
    pub(crate) fn calls(&self, kind: CallKind) -> anyhow::Result<Vec<Call>> {
        (1..=AGENTS).map(|number| self.call(kind, &agent(number))).collect()
    }

    /// The same call of the first agent as the upstream is to see it, and the token for its tunnel.
    pub(crate) fn call_in_tunnel(&self) -> anyhow::Result<(Call, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let path = PathAndQuery::from_static("/v1/payouts");
        let call = Call::new(Method::POST, path, headers, body());
        Ok((call, self.issuer.token(&agent(1))?))
    }

    /// The authority that tunnels are opened with.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.join("ca/authority.pem")
    }

    fn call(&self, kind: CallKind, agent: &str) -> anyhow::Result<Call> {
        let mut headers = HeaderMap::new();
        let bearer = format!("Bearer {}", self.issuer.token(agent)?);
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer)?);
        let path = |path: &'static str| PathAndQuery::from_static(path);
        Ok(match kind {
            CallKind::Read => Call::new(
                Method::GET,
                path("/payments/v1/payouts/po_1A2b3C4d5E"),
                headers,
                Bytes::new(),
            ),
            CallKind::Write => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Call::new(Method::POST, path("/payments/v1/payouts"), headers, body())
            }
        })
    }
}

fn agent(number: usize) -> String {
    format!("agent-{number}")
}

fn configuration(
    listen: SocketAddr,
    metrics: SocketAddr,
    behind: &Behind<'_>,
) -> anyhow::Result<String> {
    let mut agents = String::new();
    for number in 1..=AGENTS {
        writeln!(
            agents,
            "      {}:\n        groups: [finance]\n        attributes: {{ tier: gold }}\n        \
             budgets: {{ day_usd: \"100000\" }}\n        rates: {{ per_second: 1000000 }}",
            agent(number)
        )?;
    }
    let scheme = if behind.tls.is_some() { "https" } else { "http" };
    let upstream = format!("{scheme}://{UPSTREAM_NAME}:{}", behind.upstream.port());
    let ca = behind.tls.map(|tls| format!("        ca_file: {}", tls.ca.display()));
    let parts = [
        ("@listen@", listen.to_string()),
        ("@metrics@", metrics.to_string()),
        ("@audience@", AUDIENCE.to_owned()),
        ("@issuer@", ISSUER.to_owned()),
        ("@tenant@", TENANT.to_owned()),
        ("@org@", ORG.to_owned()),
        ("@agents@", agents),
        ("@upstream@", upstream),
        ("@ca@", ca.unwrap_or_default()),
    ];
    Ok(parts.iter().fold(CONFIG.to_owned(), |text, (mark, value)| text.replace(mark, value)))
}

/// A payout with a long memo, in which there is nothing to find: scanners must read all of it.
fn body() -> Bytes {
    const WORDS: &str = "settlement of the monthly invoice for office supplies and services ";
    let frame = r#"{"amount":4200,"currency":"USD","destination":"acct_1A2b3C4d5E","country":"US","reference":"inv-2026-11","instant":false,"memo":""}"#;
    let memo: String = WORDS.chars().cycle().take(BODY_BYTES.saturating_sub(frame.len())).collect();
    Bytes::from(frame.replace(r#""memo":"""#, &format!(r#""memo":"{memo}""#)))
}

fn until_ready(metrics: SocketAddr) -> anyhow::Result<()> {
    let mut connection = Connection::new(Target::new(metrics, Protocol::Http1)?)?;
    let path = PathAndQuery::from_static("/readyz");
    let probe = Call::new(Method::GET, path, HeaderMap::new(), Bytes::new());
    let deadline = Instant::now() + READY_MAX;
    while connection.exchange(&probe) != Ok(StatusCode::OK.as_u16()) {
        if Instant::now() > deadline {
            bail!("the gateway was not ready within {READY_MAX:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The gateway that was built together with this program.
pub(crate) fn beside_us() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().context("this program lies in no folder")?;
    let path = folder.join("aegis-gateway");
    if !path.exists() {
        bail!("there is no {}; build it, or name one with --gateway", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_body_is_one_kilobyte_of_json() {
        let body = body();
        assert_eq!(body.len(), BODY_BYTES);
        assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
    }

    #[test]
    fn no_mark_is_left_in_a_configuration() {
        let here = "127.0.0.1:1".parse().unwrap();
        let config = configuration(here, here, &Behind { upstream: here, tls: None }).unwrap();
        assert!(!config.contains('@'), "{config}");
        assert!(config.contains("upstream: http://api.payments.test:1\n"), "{config}");
    }
}
