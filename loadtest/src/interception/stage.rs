//! Who takes part: an upstream over TLS, and before it the gateway, mitmproxy and squid, as far as they are installed.
//!
//! Not here: what they are asked (`mod`). Invariant: every proxy verifies the same upstream certificate, and each way was
//! shown to work before it is measured.

use std::path::Path;
use std::process::{Command, Stdio};

use aegis_domain::CallKind;
use anyhow::{Context as _, bail};
use serde::Serialize;
use tempfile::TempDir;

use super::{InterceptionOptions, Task};
use crate::call::{Call, Protocol, Target};
use crate::certificates::{Certificates, UPSTREAM_NAME};
use crate::connection;
use crate::peers::gateway::{Behind, Gateway};
use crate::peers::{Peer, mitmproxy, squid};
use crate::stage::start_upstream;
use crate::tunnel::{Proxy, Secured};

/// How a call gets to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// TLS to the upstream itself.
    Direct,
    /// The gateway's base URL, without TLS.
    ToolRoute,
    /// A tunnel that the gateway opens.
    Tunnel,
    Mitmproxy,
    Squid,
}

impl Way {
    pub(super) fn name(self) -> &'static str {
        match self {
            Way::Direct => "direct",
            Way::ToolRoute => "aegis-gateway, tool route",
            Way::Tunnel => "aegis-gateway, tunnel",
            Way::Mitmproxy => "mitmproxy",
            Way::Squid => "squid, TLS bump",
        }
    }
}

/// Everything running.
pub(super) struct Stage {
    gateway: Gateway,
    mitmproxy: Option<(Peer, Proxy)>,
    squid: Option<(Peer, Proxy)>,
    upstream: Peer,
    certificates: Certificates,
    pub(super) absent: Vec<String>,
    _folder: TempDir,
}

impl Stage {
    pub(super) fn start(options: &InterceptionOptions) -> anyhow::Result<Self> {
        let (program, folder) = options.place.prepare()?;
        let certificates = Certificates::make(folder.path())?;
        let upstream = start_upstream(Some(&certificates))?;
        let behind = Behind { upstream: upstream.address, tls: Some(&certificates) };
        let gateway = Gateway::start(&program, &folder.path().join("gateway"), &behind)?;
        let mut absent = Vec::new();
        let mitmproxy = if is_there(&options.mitmdump, "--version") {
            let folder = folder.path().join("mitmproxy");
            Some(mitmproxy::start(&options.mitmdump, &folder, &certificates.ca)?)
        } else {
            let how = "`pip install mitmproxy`, or --mitmdump";
            absent.push(format!("mitmproxy ({} cannot be run: {how})", options.mitmdump.display()));
            None
        };
        let signer = squid::signer().filter(|_| is_there(&options.squid, "-v"));
        let squid = if let Some(signer) = signer {
            let folder = folder.path().join("squid");
            Some(squid::start((&options.squid, signer), &folder, &certificates.ca)?)
        } else {
            let how = "`apt-get install squid-openssl`, or --squid";
            absent.push(format!("squid ({} with OpenSSL: {how})", options.squid.display()));
            None
        };
        let stage =
            Self { gateway, mitmproxy, squid, upstream, certificates, absent, _folder: folder };
        stage.rehearse()?;
        Ok(stage)
    }

    /// Those who can do a task.
    pub(super) fn ways(&self, task: Task) -> impl Iterator<Item = Way> {
        let tunnels = [
            Some(Way::Tunnel),
            self.mitmproxy.as_ref().map(|_| Way::Mitmproxy),
            self.squid.as_ref().map(|_| Way::Squid),
        ];
        let others: &[Way] = match task {
            Task::Handshake { .. } => &[],
            Task::Call { .. } => &[Way::Direct, Way::ToolRoute],
        };
        others.iter().copied().chain(tunnels.into_iter().flatten())
    }

    fn peer(&self, way: Way) -> anyhow::Result<&Peer> {
        let peer = match way {
            Way::Direct => Some(&self.upstream),
            Way::ToolRoute | Way::Tunnel => Some(&self.gateway.peer),
            Way::Mitmproxy => self.mitmproxy.as_ref().map(|(peer, _)| peer),
            Way::Squid => self.squid.as_ref().map(|(peer, _)| peer),
        };
        peer.with_context(|| format!("{} is not running", way.name()))
    }

    pub(super) fn pid(&self, way: Way) -> anyhow::Result<u32> {
        Ok(self.peer(way)?.pid())
    }

    /// The proxy of a way that has one; the gateway's with a fresh token.
    pub(super) fn proxy(&self, way: Way) -> anyhow::Result<Proxy> {
        let proxy = match way {
            Way::Direct | Way::ToolRoute => None,
            Way::Tunnel => {
                let (_, token) = self.gateway.call_in_tunnel()?;
                let authority = self.gateway.authority();
                Some(Proxy::new(self.gateway.peer.address, &authority, Some(&token))?)
            }
            Way::Mitmproxy => self.mitmproxy.as_ref().map(|(_, proxy)| proxy.clone()),
            Way::Squid => self.squid.as_ref().map(|(_, proxy)| proxy.clone()),
        };
        proxy.with_context(|| format!("{} opens no tunnels", way.name()))
    }

    /// The same call, as it is said on a way.
    pub(super) fn call(&self, way: Way) -> anyhow::Result<(Target, Call)> {
        let target = Target::new(self.peer(way)?.address, Protocol::Http1)?;
        let port = self.upstream.address.port();
        let (call, _) = self.gateway.call_in_tunnel()?;
        Ok(match way {
            Way::Direct => {
                let ca = &self.certificates.ca;
                (target.secured(Secured::straight(ca, UPSTREAM_NAME, port)?), call)
            }
            Way::ToolRoute => {
                let calls = self.gateway.calls(CallKind::Write)?;
                (target, calls.into_iter().next().context("the gateway has calls")?)
            }
            Way::Tunnel | Way::Mitmproxy | Way::Squid => {
                (target.secured(self.proxy(way)?.to(UPSTREAM_NAME, port)?), call)
            }
        })
    }

    /// A figure made of refusals says nothing, so each way must carry a call before any is measured.
    fn rehearse(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let pace = crate::load::Pace::Closed;
        for way in self.ways(Task::Call { pace }) {
            let (target, call) = self.call(way)?;
            let exchanged = runtime.block_on(connection::exchange(&target, &mut None, &call));
            let (status, body) = exchanged.with_context(|| way.name())?;
            if !(200..300).contains(&status) {
                bail!("{}: {status}: {}", way.name(), String::from_utf8_lossy(&body));
            }
        }
        Ok(())
    }
}

fn is_there(program: &Path, version: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(version).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
