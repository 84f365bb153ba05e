//! The processes that are measured, started and stopped by us.
//!
//! Not here: load on them (`load`). Invariant: a peer ends with its handle; it is asked first and killed after
//! `STOP_MAX`.

pub mod bare_pingora;
pub(crate) mod gateway;
pub(crate) mod mitmproxy;
pub(crate) mod squid;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

const START_MAX: Duration = Duration::from_secs(20);
const STOP_MAX: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A running process of ours.
#[derive(Debug)]
pub(crate) struct Peer {
    name: &'static str,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    /// Starts a program and waits until it takes connections.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let program = Path::new(command.get_program()).display().to_string();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{program} cannot be started"))?;
        let mut peer = Self { name, child, address };
        peer.until_listening()?;
        Ok(peer)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn until_listening(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start: {status}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} took no connection within {START_MAX:?}", self.name);
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, Signal::INT)?;
        let deadline = Instant::now() + STOP_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Nothing is left to be done about a process that cannot be stopped.
        drop(self.stop());
    }
}

/// A loopback address that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?)
}
