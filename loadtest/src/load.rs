//! Makes load and measures it: open loop (calls are due by a schedule) or closed loop (each waits for the one before).
//!
//! Not here: what is called (`call`). Invariant: open-loop latency counts from when a call was due, not from when it
//! could be sent; it is the closed loop that hides a stalled server, and is for throughput only.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use serde::Serialize;

use crate::call::{Call, Target};
use crate::connection::{CALL_MAX, Connection};
use crate::process;
use crate::schedule::Schedule;
use crate::tally::{Failure, Quantiles, Tally};

/// How calls follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pace {
    /// So many calls a second over all connections, whatever becomes of them.
    Open(NonZeroU32),
    /// Every connection sends as soon as it has its answer.
    Closed,
}

/// One run of load.
#[derive(Clone, Debug)]
pub struct Load {
    pub target: Target,
    /// Sent in turn, so that one run can mix agents and methods.
    pub calls: Arc<[Call]>,
    pub pace: Pace,
    /// Each has a thread of its own and one call under way at most.
    pub connections: usize,
    /// Load before anything is counted.
    pub warm_up: Duration,
    pub duration: Duration,
    /// The process whose CPU time is charged to the calls.
    pub pid: Option<u32>,
}

/// What a run measured, after its warm-up.
#[derive(Clone, Debug)]
pub struct Measured {
    pub tally: Tally,
    /// From the end of the warm-up to the last answer.
    pub elapsed: Duration,
    pub cpu: Option<Duration>,
}

/// A run in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub calls_per_s: f64,
    pub cpu_us_per_call: Option<f64>,
    pub errors: u64,
    pub latency: Quantiles,
    /// How late the generator was: what a latency holds that is not the server's.
    pub generator_late: Quantiles,
}

impl Measured {
    pub fn summary(&self) -> Summary {
        let answered = self.tally.answered() as f64;
        Summary {
            calls_per_s: answered / self.elapsed.as_secs_f64().max(1e-9),
            cpu_us_per_call: self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / answered.max(1.0)),
            errors: self.tally.errors(),
            latency: self.tally.latencies.quantiles(),
            generator_late: self.tally.lateness.quantiles(),
        }
    }
}

/// What the threads of a run share.
#[derive(Clone)]
struct Plan {
    load: Load,
    start: Instant,
}

/// Runs the load to its end; `tick` is called now and then, for whoever watches.
pub fn generate(load: &Load, mut tick: impl FnMut(Duration)) -> anyhow::Result<Measured> {
    // Threads get their connections up before the first call is due.
    let plan = Plan { load: load.clone(), start: Instant::now() + Duration::from_millis(50) };
    let threads = (0..load.connections).map(|lane| plan.spawn(lane)).collect::<Result<_, _>>()?;
    let counted_from = plan.start + load.warm_up;
    watch(plan.start, counted_from, &mut tick);
    let cpu_before = load.pid.map(process::cpu_time).transpose()?;
    watch(plan.start, counted_from + load.duration, &mut tick);
    let tally = gather(threads)?;
    let elapsed = counted_from.elapsed();
    let cpu_after = load.pid.map(process::cpu_time).transpose()?;
    let cpu = cpu_before.zip(cpu_after).map(|(before, after)| after.saturating_sub(before));
    Ok(Measured { tally, elapsed, cpu })
}

pub(crate) fn watch(start: Instant, until: Instant, tick: &mut impl FnMut(Duration)) {
    const STEP: Duration = Duration::from_millis(200);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STEP));
        tick(start.elapsed());
    }
}

pub(crate) fn gather(threads: Vec<JoinHandle<anyhow::Result<Tally>>>) -> anyhow::Result<Tally> {
    let mut whole = Tally::new()?;
    for thread in threads {
        let tally = thread.join().map_err(|_| anyhow!("a load thread panicked"))??;
        whole.merge(&tally)?;
    }
    Ok(whole)
}

impl Plan {
    fn spawn(&self, lane: usize) -> anyhow::Result<JoinHandle<anyhow::Result<Tally>>> {
        let plan = self.clone();
        let thread = std::thread::Builder::new().name(format!("load-{lane}"));
        let run = move || match plan.load.pace {
            Pace::Open(rate) => plan.run_open(rate, lane),
            Pace::Closed => plan.run_closed(lane),
        };
        thread.spawn(run).context("no thread for a connection")
    }

    fn run_open(&self, rate: NonZeroU32, lane: usize) -> anyhow::Result<Tally> {
        sleep_precisely()?;
        let mut connection = Connection::new(self.load.target.clone())?;
        let mut tally = Tally::new()?;
        let length = self.load.warm_up + self.load.duration;
        let give_up = self.start + length + CALL_MAX;
        for (number, due) in Schedule::new(rate, length).lane(lane, self.load.connections) {
            let due_at = self.start + due;
            let was_free = sleep_until(due_at);
            let sent_at = Instant::now();
            let outcome = match sent_at < give_up {
                true => connection.exchange(self.call(number)?),
                false => Err(Failure::NeverSent),
            };
            if due >= self.load.warm_up {
                tally.record(outcome, due_at.elapsed());
                if was_free {
                    tally.lateness.record(sent_at.saturating_duration_since(due_at));
                }
            }
        }
        Ok(tally)
    }

    fn run_closed(&self, lane: usize) -> anyhow::Result<Tally> {
        let mut connection = Connection::new(self.load.target.clone())?;
        let mut tally = Tally::new()?;
        let counted_from = self.start + self.load.warm_up;
        let until = counted_from + self.load.duration;
        sleep_until(self.start);
        for number in (0..u64::MAX).skip(lane) {
            let sent_at = Instant::now();
            if sent_at >= until {
                break;
            }
            let outcome = connection.exchange(self.call(number)?);
            if sent_at >= counted_from {
                tally.record(outcome, sent_at.elapsed());
            }
        }
        Ok(tally)
    }

    fn call(&self, number: u64) -> anyhow::Result<&Call> {
        let kinds = u64::try_from(self.load.calls.len())?;
        let at = number.checked_rem(kinds).context("a load needs a call to make")?;
        self.load.calls.get(usize::try_from(at)?).context("a load needs a call to make")
    }
}

/// Sleeps until then; false when it was past already, so the connection was not free in time.
pub(crate) fn sleep_until(instant: Instant) -> bool {
    let left = instant.saturating_duration_since(Instant::now());
    std::thread::sleep(left);
    !left.is_zero()
}

/// Linux may wake a sleeper 50 µs late to save power (timer slack, prctl(2)); that would show as latency.
fn sleep_precisely() -> anyhow::Result<()> {
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000))
        .context("the timer slack cannot be set")
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::call::Protocol;

    const STALL: Duration = Duration::from_millis(400);

    /// Answers every call at once, but stalls before the tenth.
    fn stalling_server() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut bytes = [0; 4_096];
            for call in 0.. {
                if socket.read(&mut bytes).unwrap_or(0) == 0 {
                    return;
                }
                if call == 10 {
                    std::thread::sleep(STALL);
                }
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
            }
        });
        address
    }

    fn load(pace: Pace) -> Load {
        let target = Target::new(stalling_server(), Protocol::Http1).unwrap();
        let call = Call::new(
            http::Method::GET,
            http::uri::PathAndQuery::from_static("/"),
            http::HeaderMap::new(),
            bytes::Bytes::new(),
        );
        Load {
            target,
            calls: [call].into(),
            pace,
            connections: 1,
            warm_up: Duration::ZERO,
            duration: Duration::from_millis(1_000),
            pid: Some(std::process::id()),
        }
    }

    #[test]
    fn a_stalled_server_shows_in_every_call_that_was_due_meanwhile() {
        let open = load(Pace::Open(NonZeroU32::new(100).unwrap()));
        let measured = generate(&open, |_| ()).unwrap();
        assert_eq!((measured.tally.answered(), measured.tally.errors()), (100, 0));
        // 40 of 100 calls were due during the stall; the 20 due in its first half waited for half of it or longer.
        let slow = measured.tally.latencies.quantiles();
        assert!(slow.max_ms >= 399.0, "{slow:?}");
        assert!(slow.p90_ms >= 200.0, "{slow:?}");
        assert!(measured.cpu.is_some());
    }

    #[test]
    fn a_closed_loop_goes_on_after_a_stall() {
        let measured = generate(&load(Pace::Closed), |_| ()).unwrap();
        let seen = measured.tally.latencies.quantiles();
        assert!(seen.count > 11 && seen.max_ms >= 399.0, "{seen:?}");
        assert_eq!(measured.tally.errors(), 0);
    }

    #[test]
    fn a_dead_server_is_counted_as_failures() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let target = Target::new(unused, Protocol::Http2).unwrap();
        let open = load(Pace::Open(NonZeroU32::new(50).unwrap()));
        let measured = generate(&Load { target, ..open }, |_| ()).unwrap();
        assert_eq!(measured.tally.failures.get(&Failure::Connect), Some(&50));
    }
}
