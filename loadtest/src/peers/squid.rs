//! squid with TLS bump as a peer: it opens tunnels as the gateway does, and judges and records nothing.
//!
//! Not here: installing it (Debian: `squid-openssl`). Invariant: it bumps at the CONNECT, so a tunnel alone makes no
//! connection upstream, and it verifies the upstream's certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{Peer, free_address};
use crate::certificates::{UPSTREAM_NAME, make_authority};
use crate::tunnel::Proxy;

const CONFIG: &str = include_str!("../../assets/squid.conf");
/// Where Debian and Fedora put the helper that signs certificates.
const SIGNERS: [&str; 2] =
    ["/usr/lib/squid/security_file_certgen", "/usr/lib64/squid/security_file_certgen"];

/// Whether this squid can bump: packages without OpenSSL have no signer.
pub(crate) fn signer() -> Option<&'static str> {
    SIGNERS.into_iter().find(|path| Path::new(path).exists())
}

/// Starts it; it trusts the upstream that this authority vouches for.
pub(crate) fn start(
    (program, signer): (&Path, &str),
    folder: &Path,
    upstream_ca: &Path,
) -> anyhow::Result<(Peer, Proxy)> {
    let listen = free_address()?;
    std::fs::create_dir_all(folder)?;
    let authority = folder.join("authority.pem");
    make_authority(&authority)?;
    std::fs::write(folder.join("hosts"), format!("127.0.0.1 {UPSTREAM_NAME}\n"))?;
    let config = folder.join("squid.conf");
    let parts = [
        ("@listen@", listen.to_string()),
        ("@folder@", folder.display().to_string()),
        ("@signer@", signer.to_owned()),
        ("@upstream_ca@", upstream_ca.display().to_string()),
    ];
    let text =
        parts.iter().fold(CONFIG.to_owned(), |text, (mark, value)| text.replace(mark, value));
    std::fs::write(&config, text)?;
    open_to_others(folder)?;
    let mut command = Command::new(program);
    command.arg("-N").arg("-f").arg(&config);
    let peer = Peer::start("squid", &mut command, listen)?;
    let proxy = Proxy::new(listen, &authority, None)?;
    Ok((peer, proxy))
}

/// Started by root, squid becomes another user, who must reach its folder.
fn open_to_others(folder: &Path) -> std::io::Result<()> {
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    set(folder, 0o777)?;
    folder.parent().map_or(Ok(()), |above| set(above, 0o755))
}
