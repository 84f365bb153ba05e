//! Two connections made one: what either side sends, the other gets, and both ways are counted.
//!
//! Not here: whether they may be joined, and what the bytes mean; nobody looks. Invariant: a way that has ended is ended
//! on the other side too, and a splice on which nothing moves for too long is over.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

/// How much is carried at a time, each way.
const PIECE_BYTES: usize = 16 * 1_024;

/// What was carried, also while it still goes on.
#[derive(Debug, Default)]
pub struct Carried {
    sent: AtomicU64,
    received: AtomicU64,
}

impl Carried {
    /// Bytes from the near side to the far side.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes from the far side to the near side.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

/// How a splice ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides said that they had no more.
    Closed,
    /// Nothing moved for the given time.
    Idle,
    /// The near side broke.
    Near(io::Error),
    /// The far side broke.
    Far(io::Error),
}

/// Which side an error is of.
enum Side {
    Source(io::Error),
    Target(io::Error),
}

/// Carries bytes both ways until either side breaks, both end, or nothing has moved for `idle`.
pub async fn splice<N, F>(near: N, far: F, idle: Duration, carried: &Carried) -> Ended
where
    N: AsyncRead + AsyncWrite,
    F: AsyncRead + AsyncWrite,
{
    let (near_out, near_in) = tokio::io::split(near);
    let (far_out, far_in) = tokio::io::split(far);
    let up = carry(near_out, far_in, &carried.sent);
    let down = carry(far_out, near_in, &carried.received);
    let both = async {
        let up = async {
            up.await.map_err(|side| match side {
                Side::Source(error) => Ended::Near(error),
                Side::Target(error) => Ended::Far(error),
            })
        };
        let down = async {
            down.await.map_err(|side| match side {
                Side::Source(error) => Ended::Far(error),
                Side::Target(error) => Ended::Near(error),
            })
        };
        match tokio::try_join!(up, down) {
            Ok(((), ())) => Ended::Closed,
            Err(ended) => ended,
        }
    };
    tokio::select! {
        ended = both => ended,
        () = stillness(idle, carried) => Ended::Idle,
    }
}

/// One way, to its end. Bytes are counted once the other side has them.
async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> Result<(), Side> {
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let length = from.read(&mut piece).await.map_err(Side::Source)?;
        if length == 0 {
            return to.shutdown().await.map_err(Side::Target);
        }
        let bytes = piece.get(..length).unwrap_or_default();
        to.write_all(bytes).await.map_err(Side::Target)?;
        to.flush().await.map_err(Side::Target)?;
        count.fetch_add(u64::try_from(length).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Returns once nothing has moved for a whole `idle`.
async fn stillness(idle: Duration, carried: &Carried) {
    let mut before = (carried.sent(), carried.received());
    loop {
        sleep_until(Instant::now() + idle).await;
        let now = (carried.sent(), carried.received());
        if now == before {
            return;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn what_either_side_sends_the_other_gets_and_both_ways_are_counted() {
        let ((mut agent, near), (mut server, far)) = (duplex(100), duplex(100));
        let carried = Carried::default();
        let talk = async {
            agent.write_all(&[1; 1_000]).await.unwrap();
            agent.shutdown().await.unwrap();
            let mut heard = Vec::new();
            agent.read_to_end(&mut heard).await.unwrap();
            heard
        };
        let answer = async {
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            // The agent has ended its way; the other goes on.
            server.write_all(&heard[..300]).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let (ended, heard, ()) = tokio::join!(splice(near, far, LONG, &carried), talk, answer);
        assert!(matches!(ended, Ended::Closed), "{ended:?}");
        assert_eq!((heard.len(), carried.sent(), carried.received()), (300, 1_000, 300));
    }

    #[tokio::test]
    async fn a_splice_on_which_nothing_moves_is_over_and_not_before() {
        let ((mut agent, near), (_server, far)) = (duplex(100), duplex(100));
        let carried = Carried::default();
        let busy = async {
            for _ in 0..4 {
                agent.write_all(b"x").await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await
        };
        let ended = tokio::select! {
            ended = splice(near, far, Duration::from_millis(300), &carried) => ended,
            () = busy => unreachable!(),
        };
        assert!(matches!(ended, Ended::Idle), "{ended:?}");
        assert_eq!(carried.sent(), 4, "it went on for as long as something moved");
    }

    #[tokio::test]
    async fn a_side_that_breaks_is_named() {
        let ((mut agent, near), (server, far)) = (duplex(100), duplex(100));
        drop(server);
        let carried = Carried::default();
        let (ended, _) = tokio::join!(splice(near, far, LONG, &carried), agent.write_all(b"hello"));
        assert!(matches!(ended, Ended::Far(_)), "{ended:?}");
    }
}
