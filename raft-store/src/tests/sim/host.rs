//! A machine of the simulation: its tasks stand still while it is paused and end when its power fails, its clock is its own,
//! and its chance comes from the seed.
//!
//! Not here: its disk (`disk`) and its network (`network`). Invariant: a task belongs to the machine of the task that
//! spawned it; where no machine is simulated, everything is tokio's.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use aegis_domain::Timestamp;
use openraft::{AsyncRuntime, OptionalSend, TokioRuntime};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::oracle::Oracle;
use crate::tests::dice::Dice;

thread_local! {
    /// The machine whose task is being polled.
    static HERE: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// When the simulation begins, in seconds of the epoch.
pub(crate) const MORNING_S: u64 = 1_800_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Host(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: u64,
    begun: Instant,
    /// The epoch by its clock when the simulation began.
    morning_ns: AtomicU64,
    dice: Mutex<Dice>,
    power: Mutex<Power>,
    oracle: Oracle,
}

#[derive(Debug)]
enum Power {
    On,
    /// With the tasks that would have gone on.
    Paused(Vec<Waker>),
    Off,
}

impl Host {
    pub(crate) fn new(node: u64, begun: Instant, dice: Dice, oracle: Oracle) -> Self {
        Self(Arc::new(Inner {
            node,
            begun,
            morning_ns: AtomicU64::new(MORNING_S * 1_000_000_000),
            dice: Mutex::new(dice),
            power: Mutex::new(Power::On),
            oracle,
        }))
    }

    pub(crate) fn node(&self) -> u64 {
        self.0.node
    }

    pub(crate) fn set_clock(&self, ahead: Duration, behind: Duration) {
        let morning = Duration::from_secs(MORNING_S) + ahead - behind;
        self.0.morning_ns.store(morning.as_nanos().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn pause(&self) {
        let mut power = self.0.power.lock();
        if matches!(*power, Power::On) {
            *power = Power::Paused(Vec::new());
        }
    }

    pub(crate) fn resume(&self) {
        let mut power = self.0.power.lock();
        if let Power::Paused(wakers) = &mut *power {
            let wakers = std::mem::take(wakers);
            *power = Power::On;
            drop(power);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// For good: another life is another host.
    pub(crate) fn power_off(&self) {
        let before = std::mem::replace(&mut *self.0.power.lock(), Power::Off);
        if let Power::Paused(wakers) = before {
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn is_off(&self) -> bool {
        matches!(*self.0.power.lock(), Power::Off)
    }

    pub(crate) fn is_on(&self) -> bool {
        matches!(*self.0.power.lock(), Power::On)
    }

    /// Runs as one of its tasks. Never ends if the machine does.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        tokio::spawn(Gate { host: self.clone(), task: Some(Box::pin(task)) })
    }
}

struct Gate<F> {
    host: Host,
    task: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for Gate<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let host = self.host.clone();
        if let Power::Paused(wakers) = &mut *host.0.power.lock() {
            wakers.push(context.waker().clone());
            return Poll::Pending;
        }
        if host.is_off() {
            drop(self.task.take());
            return Poll::Pending;
        }
        let Some(task) = &mut self.task else { return Poll::Pending };
        let before = HERE.replace(Some(host.clone()));
        let polled = catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context)));
        HERE.set(before);
        polled.unwrap_or_else(|panic| {
            host.0.oracle.object(&format!("voter {} does not panic", host.0.node));
            resume_unwind(panic)
        })
    }
}

/// The time of the machine whose task is running.
pub(crate) fn now() -> Option<Timestamp> {
    HERE.with_borrow(|here| {
        let host = here.as_ref()?;
        let morning = host.0.morning_ns.load(Ordering::Relaxed);
        let since: u64 = host.0.begun.elapsed().as_nanos().try_into().ok()?;
        Some(Timestamp::from_unix_ns(morning + since))
    })
}

/// tokio, with the tasks of simulated machines behind a gate.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Runtime;

/// The chance of the machine whose task is running.
pub(crate) struct Chance(Option<Host>);

impl rand::RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        u32::try_from(self.next_u64() >> 32).unwrap()
    }

    fn next_u64(&mut self) -> u64 {
        match &self.0 {
            Some(host) => host.0.dice.lock().next(),
            None => rand::thread_rng().next_u64(),
        }
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl AsyncRuntime for Runtime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = Instant;
    type TimeoutError = tokio::time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = Chance;
    type OneshotSender<T: OptionalSend> = <TokioRuntime as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: OptionalSend> = tokio::sync::oneshot::Receiver<T>;
    type OneshotReceiverError = tokio::sync::oneshot::error::RecvError;

    fn spawn<T>(future: T) -> JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        match HERE.with_borrow(Clone::clone) {
            Some(host) => host.spawn(future),
            None => tokio::spawn(future),
        }
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(error: &Self::JoinError) -> bool {
        error.is_panic()
    }

    fn thread_rng() -> Chance {
        Chance(HERE.with_borrow(Clone::clone))
    }

    fn oneshot<T: OptionalSend>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>) {
        TokioRuntime::oneshot()
    }
}
