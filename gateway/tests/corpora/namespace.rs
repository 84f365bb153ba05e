//! A network of a test's own, in which every address is this machine's.
//!
//! A connect to any address at all arrives at a listener here, so that nothing has to be trusted about where a gateway
//! dials. The test runs once more inside, as a process of its own in new network and mount namespaces, whose one name
//! server is the test's. It takes root, or a system that lets users make namespaces, and `ip` of iproute2.
//! Not here: who listens (`canary`, `name_server`). Invariant: a test that cannot have its network says so, and fails where
//! `CI` is set.

use std::process::{Command, Stdio};

const INSIDE: &str = "AEGIS_TEST_NAMESPACE";

/// `$1` is a resolv.conf; the rest is the test to run. Loopback routes make foreign addresses local ("AnyIP").
const SETUP: &str = "set -e
    ip link set lo up
    ip route add local 0.0.0.0/0 dev lo
    ip -6 route add local ::/0 dev lo
    mount --bind \"$1\" /etc/resolv.conf
    shift
    exec \"$@\"";

/// Whether this is the run inside; if not, the test of this name has been run there by the time this returns.
pub(crate) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !can_enter() {
        let wanted = std::env::var_os("CI").is_some();
        assert!(!wanted, "no network namespace can be had: it takes root, unshare and ip");
        println!("skipped: no network namespace can be had; it takes root, unshare and ip");
        return false;
    }
    let folder = tempfile::tempdir().unwrap();
    let resolv = folder.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 127.0.0.1\n").unwrap();
    let mut inside = unshare();
    inside.args(["sh", "-c", SETUP, "sh"]).arg(&resolv).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let status = inside.stdin(Stdio::null()).status().unwrap();
    assert!(status.success(), "the run of {test} inside failed: {status}");
    false
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    // Users who are not root become root of what they make.
    command.args(["--net", "--mount"]);
    if !is_root() {
        command.arg("--map-root-user");
    }
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn can_enter() -> bool {
    let mut probe = unshare();
    probe.args(["ip", "link", "set", "lo", "up"]).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}
