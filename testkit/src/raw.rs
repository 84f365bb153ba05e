//! A connection on which a test may say anything, well formed or not.
//!
//! Not here: proper calls (`agent`). Invariant: waiting for an answer that does not come fails the test.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use crate::line::dial;

const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes out, bytes in.
pub struct Raw {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Raw {
    pub(crate) async fn open((to, source): (SocketAddr, IpAddr)) -> std::io::Result<Self> {
        let stream = dial(to, source).await?;
        Ok(Self { stream, heard: Vec::new() })
    }

    /// Says this; a peer that has hung up is part of many tests.
    pub async fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Listens until what was heard holds this text; returns everything heard since the last time.
    pub async fn until(&mut self, text: &str) -> String {
        while !self.heard_text().contains(text) {
            let count = self.hear().await;
            assert!(count > 0, "hung up before {text:?}: {:?}", self.heard_text());
        }
        let heard = self.heard_text();
        self.heard.clear();
        heard
    }

    /// Listens until the other side hangs up.
    pub async fn rest(self) -> String {
        String::from_utf8_lossy(&self.rest_bytes().await).into_owned()
    }

    /// The same for what is no text.
    pub async fn rest_bytes(mut self) -> Vec<u8> {
        while self.hear().await > 0 {}
        self.heard
    }

    /// Says this again and again, with pauses, until the other side hangs up; returns everything heard.
    pub async fn trickle(mut self, bytes: &[u8], pause: Duration) -> String {
        let mut turn = tokio::time::interval(pause);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // A reset is an end too.
                read = self.stream.read_buf(&mut self.heard) => match read {
                    Ok(count) if count > 0 => {}
                    _ => return self.heard_text(),
                },
                _ = turn.tick() => self.send(bytes).await,
            }
        }
    }

    /// Whether the other side hangs up within this time, without a word.
    pub async fn is_closed(&mut self, within: Duration) -> bool {
        let heard = tokio::time::timeout(within, self.stream.read_buf(&mut self.heard)).await;
        heard.is_ok_and(|count| count.unwrap_or(0) == 0)
    }

    async fn hear(&mut self) -> usize {
        let heard = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await;
        // A reset is an end too.
        heard.expect("the other side neither speaks nor hangs up").unwrap_or(0)
    }

    fn heard_text(&self) -> String {
        String::from_utf8_lossy(&self.heard).into_owned()
    }
}
