//! Changes that are under way, from before they are proposed until their record is written.
//!
//! Not here: the record (`chronicle`). Invariant: once the close is done, no change is under way and none begins.

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::chronicle::ChronicleError;

/// Counts the changes that a log has taken on, so that it is not closed under one.
#[derive(Clone, Debug, Default)]
pub struct UnderWay(TaskTracker);

/// A change that is under way for as long as this is held.
#[derive(Debug)]
pub struct Begun {
    _counted: TaskTrackerToken,
}

impl UnderWay {
    /// Takes a change on, unless the log is being closed.
    pub fn begin(&self) -> Result<Begun, ChronicleError> {
        // Counted first: a close that is not seen here waits for this one.
        let counted = self.0.token();
        if self.0.is_closed() { Err(ChronicleError) } else { Ok(Begun { _counted: counted }) }
    }

    /// Takes on no more, and returns when every change that was taken on has ended.
    pub async fn close(&self) {
        self.0.close();
        self.0.wait().await;
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_close_waits_for_what_is_under_way_and_takes_on_no_more() {
        let under_way = UnderWay::default();
        let first = under_way.begin().unwrap();
        let second = under_way.begin().unwrap();
        assert_eq!(under_way.count(), 2);

        let closing = under_way.clone();
        let mut closed = tokio::spawn(async move { closing.close().await });
        assert!(timeout(Duration::from_secs(60), &mut closed).await.is_err());
        under_way.begin().unwrap_err();
        drop(first);
        assert!(timeout(Duration::from_secs(60), &mut closed).await.is_err());
        drop(second);
        timeout(Duration::from_secs(60), closed).await.unwrap().unwrap();
        under_way.begin().unwrap_err();
        assert_eq!(under_way.count(), 0);
    }
}
