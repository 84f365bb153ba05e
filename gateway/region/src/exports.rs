//! Exports of releases in a store: the voter that leads writes them as releases change, and gateways begin with them.
//!
//! Not here: the store's client (`audit/ship`), and believing an export (`policies/follow`). Invariant: an object is created
//! and never replaced, and its number is the revision of what it holds, so a voter that lags cannot have the newest.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_ship::{Address, Bucket, BucketError};
use aegis_control::Control;
use aegis_domain::Region;
use aegis_policy_follow::{Generations, Scope};
use anyhow::Context as _;

const LOOK_EVERY: Duration = Duration::from_millis(500);
const ENDING: &str = ".jsonl";

/// Where a region's exports lie.
fn folder(region: &Region) -> String {
    format!("releases/{region}")
}

fn key(region: &Region, revision: u64) -> String {
    // As many digits as the largest number has, so that names sort as numbers do.
    format!("{}/{revision:020}{ENDING}", folder(region))
}

/// Exports as a gateway reads them.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) address: Address,
    pub(crate) region: Region,
}

impl Stored {
    /// On a thread of its own: the store's client has a runtime, and whoever asks may be in one.
    fn ask<T: Send>(
        &self,
        ask: impl FnOnce(&Bucket) -> Result<T, BucketError> + Send,
    ) -> Result<T, String> {
        let asked =
            thread::scope(|scope| scope.spawn(|| ask(&Bucket::open(&self.address)?)).join());
        asked.map_err(|_| "its client failed".to_owned())?.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        })
    }
}

impl Generations for Stored {
    fn numbers(&self) -> Result<Vec<u64>, String> {
        let names = self.ask(|bucket| bucket.names(&folder(&self.region)))?;
        let number = |name: &String| name.strip_suffix(ENDING)?.parse().ok();
        Ok(names.iter().filter_map(number).collect())
    }

    fn read(&self, number: u64) -> Result<String, String> {
        let bytes = self.ask(|bucket| bucket.read(&key(&self.region, number)))?;
        let bytes = bytes.ok_or_else(|| "it is gone".to_owned())?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Writes exports until it is dropped.
#[derive(Debug)]
pub(crate) struct Exporter {
    _stop: Sender<()>,
}

impl Exporter {
    pub(crate) fn start(
        control: Arc<Control>,
        region: Region,
        (address, every): (Address, Duration),
    ) -> anyhow::Result<Self> {
        let (stop, stopped) = channel();
        let bucket =
            Bucket::open_to_write(&address).context("the store of exports cannot be used")?;
        let writer = Writer { control, region, bucket, every };
        let spawned = thread::Builder::new().name("aegis-export".to_owned());
        spawned.spawn(move || writer.run(&stopped)).context("exports cannot be written")?;
        Ok(Self { _stop: stop })
    }
}

struct Writer {
    control: Arc<Control>,
    region: Region,
    bucket: Bucket,
    every: Duration,
}

impl Writer {
    fn run(self, stopped: &Receiver<()>) {
        let (mut written, mut tried) = (0, None::<Instant>);
        loop {
            match stopped.recv_timeout(LOOK_EVERY) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            let status = self.control.node().status();
            let is_due = tried.is_none_or(|tried| tried.elapsed() >= self.every);
            let is_new = *self.control.node().released().borrow() > written;
            if !(is_due && is_new && status.leader == Some(status.node)) {
                continue;
            }
            tried = Some(Instant::now());
            match self.write() {
                Ok(revision) => written = revision,
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "releases are not exported; it is tried again");
                }
            }
        }
    }

    fn write(&self) -> anyhow::Result<u64> {
        let scope = Scope { region: self.region.clone(), tenants: Default::default() };
        let (revision, lines) = self.control.exported(&scope)?;
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        self.bucket.create(&key(&self.region, revision), text.into_bytes())?;
        tracing::info!(revision, releases = lines.len(), "releases were exported");
        Ok(revision)
    }
}
