//! mitmproxy as a peer: it opens tunnels as the gateway does, and judges and records nothing.
//!
//! Not here: installing it (`pip install mitmproxy`). Invariant: as much as it can be told is told: the upstream's
//! certificate is verified, nothing is printed, and a tunnel alone makes no connection upstream.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Peer, free_address};
use crate::tunnel::Proxy;

/// Leads every tunnel to this machine, whatever DNS would say; its name stays the one in the handshake.
const ROUTE: &str = "def http_connect(flow):\n    flow.request.host = \"127.0.0.1\"\n";
const AUTHORITY_MAX: Duration = Duration::from_secs(10);

/// Starts it; it trusts the upstream that this authority vouches for.
pub(crate) fn start(
    program: &Path,
    folder: &Path,
    upstream_ca: &Path,
) -> anyhow::Result<(Peer, Proxy)> {
    std::fs::create_dir_all(folder)?;
    let route = folder.join("route.py");
    std::fs::write(&route, ROUTE)?;
    let listen = free_address()?;
    let mut command = Command::new(program);
    command.args(["--quiet", "--listen-host"]).arg(listen.ip().to_string());
    command.arg("--listen-port").arg(listen.port().to_string());
    command.arg("--set").arg(setting("confdir", folder));
    command.args(["--set", "connection_strategy=lazy", "--set"]);
    command
        .arg(setting("ssl_verify_upstream_trusted_ca", upstream_ca))
        .arg("--scripts")
        .arg(&route);
    let peer = Peer::start("mitmproxy", &mut command, listen)?;
    let authority = until_there(folder.join("mitmproxy-ca-cert.pem"))?;
    let proxy = Proxy::new(listen, &authority, None)?;
    Ok((peer, proxy))
}

fn setting(name: &str, value: &Path) -> String {
    format!("{name}={}", value.display())
}

/// It writes its authority down when it first starts.
fn until_there(file: PathBuf) -> anyhow::Result<PathBuf> {
    let deadline = Instant::now() + AUTHORITY_MAX;
    while !file.exists() {
        if Instant::now() > deadline {
            bail!("mitmproxy wrote no {}", file.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(file)
}
