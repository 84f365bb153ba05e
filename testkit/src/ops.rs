//! What the operators' door says.
//!
//! Not here: what a test makes of it. Invariant: every question has a connection of its own.

use serde_json::Value;

use crate::{Building, Raw};

/// An answer of the operators' door.
#[derive(Clone, Debug)]
pub struct OpsReply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl OpsReply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The value of a header; its name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.to_ascii_lowercase() == name).map(|(_, value)| value)
    }
}

impl Building {
    /// Asks the operators' door.
    pub async fn ops(&self, method: &str, path: &str) -> OpsReply {
        self.ops_with(method, path, "").await
    }

    /// The same with more header lines, each ended by CRLF.
    pub async fn ops_with(&self, method: &str, path: &str, headers: &str) -> OpsReply {
        let mut line = Raw::open(self.way_to(self.ops_port())).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: ops\r\ncontent-length: 0\r\nconnection: close\r\n{headers}\r\n"
        );
        line.send(head.as_bytes()).await;
        let heard = line.rest_bytes().await;
        let end = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(heard[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        OpsReply { status, head, body: heard[end + 4..].to_vec() }
    }

    /// Asks for the policies to be read again; returns when that is done.
    pub async fn reload(&self) -> OpsReply {
        self.ops("POST", "/policies/reload").await
    }

    /// The value of a counter or gauge, written as it stands in `/metrics`; zero when it is not there.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.ops("GET", "/metrics").await.text();
        let mut values =
            text.lines().filter_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        values.next().map_or(0, |value| value.parse().unwrap())
    }
}
