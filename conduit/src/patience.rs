//! How many calls of nobody's a connection may bring: each costs a record on disk, and the sender nothing.
//!
//! Not here: whose a call is (`corridor`). Invariant: patience that is lost stays lost, for HTTP/1 and HTTP/2 alike and for
//! a connection together with its tunnel.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::Notify;

/// One connection's.
#[derive(Debug)]
pub struct Patience {
    strikes: AtomicU32,
    /// From here on the connection takes no further call.
    strikes_max: u32,
    /// From here on it is cut off: a client that was asked to stop goes on.
    strikes_last: u32,
    lost: Notify,
    end: Notify,
}

impl Patience {
    pub fn new(strikes_max: u32, strikes_last: u32) -> Self {
        let (lost, end) = (Notify::new(), Notify::new());
        Self { strikes: AtomicU32::new(0), strikes_max, strikes_last, lost, end }
    }

    /// One more call of nobody's. Whether the connection may carry on.
    pub fn strike(&self) -> bool {
        let strikes = self.strikes.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if strikes == self.strikes_max {
            self.lost.notify_one();
        }
        if strikes == self.strikes_last {
            self.end.notify_one();
        }
        strikes < self.strikes_max
    }

    /// Returns once the connection should take no further call, to the one who asks.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Returns once the client went on all the same, to the one who asks.
    pub async fn at_end(&self) {
        self.end.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn patience_is_lost_first_and_at_its_end_later() {
        let patience = Patience::new(2, 3);
        assert!(patience.strike());
        assert!(!patience.strike());
        patience.lost().await;
        assert!(patience.at_end().now_or_never().is_none());
        assert!(!patience.strike());
        patience.at_end().await;
    }
}
