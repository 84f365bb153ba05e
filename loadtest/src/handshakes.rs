//! Tunnels opened one after the other: CONNECT, a full TLS handshake, and nothing inside.
//!
//! Not here: calls (`load`). Invariant: no handshake resumes another, and a host that is to be new was never named before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::connection::CALL_MAX;
use crate::load::{Measured, gather, sleep_until, watch};
use crate::process;
use crate::tally::{Failure, Tally};
use crate::tunnel::Proxy;

/// The port of hosts that nothing is sent to.
const PORT: u16 = 443;
/// What a handshake counts as: the answer to CONNECT that went before it.
const ESTABLISHED: u16 = 200;

/// Whose certificates are asked for.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// One host, whose certificate was made long ago.
    Known,
    /// Each time another one; the count goes on from run to run.
    New(Arc<AtomicU64>),
}

/// One run of handshakes, in a closed loop.
#[derive(Clone, Debug)]
pub(crate) struct Handshakes {
    pub(crate) proxy: Proxy,
    pub(crate) hosts: Hosts,
    pub(crate) lanes: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// The process whose CPU time is charged.
    pub(crate) pid: u32,
}

impl Hosts {
    fn next(&self) -> String {
        match self {
            Hosts::Known => "known.handshakes.test".to_owned(),
            Hosts::New(count) => {
                format!("new-{}.handshakes.test", count.fetch_add(1, Ordering::Relaxed))
            }
        }
    }
}

/// Opens tunnels for as long as asked.
pub(crate) fn open(run: &Handshakes) -> anyhow::Result<Measured> {
    let start = Instant::now() + Duration::from_millis(50);
    let counted_from = start + run.warm_up;
    let threads = (0..run.lanes).map(|lane| {
        let run = run.clone();
        let thread = std::thread::Builder::new().name(format!("handshakes-{lane}"));
        thread.spawn(move || run.lane(start)).context("no thread for handshakes")
    });
    let threads = threads.collect::<Result<_, _>>()?;
    watch(start, counted_from, &mut |_| ());
    let before = process::cpu_time(run.pid)?;
    let tally = gather(threads)?;
    let elapsed = counted_from.elapsed();
    let cpu = process::cpu_time(run.pid)?.saturating_sub(before);
    Ok(Measured { tally, elapsed, cpu: Some(cpu) })
}

impl Handshakes {
    fn lane(&self, start: Instant) -> anyhow::Result<Tally> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut tally = Tally::new()?;
        let counted_from = start + self.warm_up;
        let until = counted_from + self.duration;
        sleep_until(start);
        loop {
            let begun = Instant::now();
            if begun >= until {
                return Ok(tally);
            }
            let outcome = self.one(&runtime)?;
            if begun >= counted_from {
                tally.record(outcome, begun.elapsed());
            }
        }
    }

    fn one(&self, runtime: &Runtime) -> anyhow::Result<Result<u16, Failure>> {
        let tunnel = self.proxy.to(&self.hosts.next(), PORT)?;
        let opening = async {
            let stream = TcpStream::connect(self.proxy.address).await?;
            stream.set_nodelay(true)?;
            tunnel.open(stream).await
        };
        let opened = runtime.block_on(async { timeout(CALL_MAX, opening).await });
        Ok(match opened {
            Ok(Ok(_)) => Ok(ESTABLISHED),
            Ok(Err(_)) => Err(Failure::Connect),
            Err(_) => Err(Failure::TimedOut),
        })
    }
}
