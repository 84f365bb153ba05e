//! Closes a gateway that has drained: the last settlements, the hot state, the journal, the region, the shipper.
//!
//! Not here: when a gateway stops, and its drain (`serve`). Invariant: the journal is closed once nothing is changed or called any
//! more; a disk that hangs does not keep the process, for what it did not take the next start finds or lacks as after a power cut.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use aegis_gateway_region::Running;
use aegis_telemetry::Follower;
use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::wire::Gateway;

/// What the last settlements get once nothing moves any more.
const LAST_SETTLEMENTS: Duration = Duration::from_secs(5);
/// What the last segments get to reach their bucket; the next start ships what is left.
const LAST_SHIPMENT: Duration = Duration::from_secs(10);
/// What each step gets: more than any of them takes by itself where the disk answers.
const STEP: Duration = Duration::from_secs(20);

/// What is open when the last listener has closed.
pub(crate) struct Open {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) control: Runtime,
    pub(crate) region: Running,
    /// Dropped after the journal is closed, so that it tells all of it.
    pub(crate) follower: Follower,
}

/// Closes it all, or says at which step the disk left it waiting.
pub(crate) fn close(open: Open) -> anyhow::Result<()> {
    let (steps, taken) = channel();
    let closing = thread::Builder::new()
        .name("closing".to_owned())
        .spawn(move || open.close(&steps))
        .context("no thread to close the gateway")?;
    let mut step = "starting to close";
    loop {
        match taken.recv_timeout(STEP) {
            Ok(next) => step = next,
            // Its sender is gone, so it is through, one way or the other.
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => anyhow::bail!(
                "{step} has taken more than {} s, so the process ends without it: a disk may hang; \
                 the next start goes on from what reached it",
                STEP.as_secs()
            ),
        }
    }
    closing.join().map_err(|_| anyhow::anyhow!("{step} panicked"))?
}

impl Open {
    fn close(self, steps: &Sender<&'static str>) -> anyhow::Result<()> {
        let Self { gateway, control, mut region, follower } = self;
        // Nobody listens any more once it has taken too long, and the process ends.
        let begin = |step| steps.send(step).unwrap_or_default();
        begin("settling the last calls");
        // Calls that were cut have been handed to this runtime; their ends are still to be written down.
        let corridor = &gateway.corridor;
        let settled =
            control.block_on(async { timeout(LAST_SETTLEMENTS, corridor.drain.settled()).await });
        if settled.is_err() {
            tracing::error!("some calls could not be settled; the next start does it");
        }
        begin("closing the hot state");
        if let Err(error) = control.block_on(corridor.state.close(aegis_corridor::clock::now())) {
            tracing::error!(%error, "the hot state could not be closed; the next start settles what is held");
        }
        begin("closing the control door");
        control.block_on(region.close_door());
        begin("closing the audit journal");
        let closed = corridor.journal.close();
        begin("showing the last head to its witnesses");
        // The voter of this process hears it last of all, and what is said of it is shipped.
        if let Some(anchors) = &corridor.anchors {
            anchors.stop();
        }
        if let Some(witnesses) = &corridor.witnesses {
            witnesses.stop();
        }
        begin("leaving the region");
        control.block_on(region.stop());
        begin("shipping the last segments");
        if let Some(shipper) = &corridor.shipper {
            shipper.stop(LAST_SHIPMENT);
        }
        begin("telling the last records");
        drop(follower);
        closed.context("the audit journal could not be closed in order")
    }
}
