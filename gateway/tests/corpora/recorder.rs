//! An upstream that keeps every byte it is sent, and reads them as the most careless server would.
//!
//! Not here: what it should have been sent. Invariant: a message is on the list as soon as its head arrived, odd or not,
//! and bytes that belong to no message are a message that never became whole.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Listens on loopback, without TLS.
pub(crate) struct Recorder {
    pub(crate) port: u16,
    messages: Arc<Mutex<Vec<Message>>>,
}

/// One request as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) is_whole: bool,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let messages = Arc::new(Mutex::default());
        let shared = Arc::clone(&messages);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&shared)));
            }
        });
        Self { port, messages }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        self.messages.lock().clone()
    }
}

async fn serve(mut socket: TcpStream, messages: Arc<Mutex<Vec<Message>>>) {
    let mut bytes = Vec::new();
    while let Some(head) = more(&mut socket, &mut bytes, head_end).await {
        let head: Vec<u8> = bytes.drain(..head).collect();
        let framing = Framing::of(&head);
        let is_head = head.starts_with(b"HEAD ");
        let place = {
            let mut messages = messages.lock();
            messages.push(Message { head, ..Message::default() });
            messages.len() - 1
        };
        let end = more(&mut socket, &mut bytes, |bytes| framing.end(bytes)).await;
        let body: Vec<u8> = bytes.drain(..end.unwrap_or(bytes.len())).collect();
        {
            let message = &mut messages.lock()[place];
            message.body = body;
            message.is_whole = end.is_some();
        }
        let body = if is_head { "" } else { "ok" };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
        if end.is_none() || socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
    if !bytes.is_empty() {
        messages.lock().push(Message { head: bytes, ..Message::default() });
    }
}

/// Reads until `end` finds one; `None` when the other side hung up before.
async fn more(
    socket: &mut TcpStream,
    bytes: &mut Vec<u8>,
    end: impl Fn(&[u8]) -> Option<usize>,
) -> Option<usize> {
    loop {
        if let Some(end) = end(bytes) {
            return Some(end);
        }
        if socket.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

/// An empty line, however its ends are written.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(at, _)| at + 1).find_map(|at| match &bytes[at..] {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
}

impl Framing {
    /// Chunks win, as RFC 9112 §6.3 has it.
    fn of(head: &[u8]) -> Self {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if value("transfer-encoding:").is_some() {
            return Self::Chunked;
        }
        let length = value("content-length:").and_then(|value| value.trim().parse().ok());
        Self::Length(length.unwrap_or(0))
    }

    /// Where a body ends, if it does.
    fn end(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Length(length) => (bytes.len() >= length).then_some(length),
            Self::Chunked => chunked_end(bytes),
        }
    }
}

fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].iter().position(|byte| *byte == b'\n')?;
        let size = String::from_utf8_lossy(&bytes[at..at + line]).trim().to_owned();
        let size = usize::from_str_radix(&size, 16).ok()?;
        at += line + 1;
        if size == 0 {
            // Trailers end as a head does; without any there is the empty line alone.
            let rest = &bytes[at..];
            let end = if rest.starts_with(b"\r\n") { Some(2) } else { head_end(rest) };
            return end.map(|end| at + end);
        }
        at += size + 2;
        if at > bytes.len() {
            return None;
        }
    }
}

impl Message {
    /// The value of a header, however it is written.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.head);
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    }

    pub(crate) fn target(&self) -> String {
        let text = String::from_utf8_lossy(&self.head);
        text.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    /// Why nobody should ever have sent this head: two framings, one in disguise, or a line that is two.
    pub(crate) fn danger(&self) -> Option<&'static str> {
        let (mut lengths, mut codings) = (0, 0);
        for line in self.head.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = line.strip_suffix(b"\r\n") else { return Some("a line without CRLF") };
            if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
                return Some("CR or NUL inside a line");
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            let value = String::from_utf8_lossy(&line[colon + 1..]);
            let value = value.trim_matches([' ', '\t']);
            let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
            match (letters.as_str(), name.as_str()) {
                ("contentlength", "content-length") => lengths += 1,
                ("transferencoding", "transfer-encoding") => codings += 1,
                ("contentlength" | "transferencoding", _) => return Some("a framing in disguise"),
                _ => continue,
            }
            let is_plain = match name.as_str() {
                "content-length" => {
                    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
                }
                _ => value.eq_ignore_ascii_case("chunked"),
            };
            if !is_plain {
                return Some("a framing that is not plain");
            }
        }
        (lengths + codings > 1).then_some("two framings")
    }
}

#[test]
fn the_rule_itself_finds_what_it_is_for() {
    let danger = |lines: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
        Message { head, ..Message::default() }.danger()
    };
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5,5\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "X: a\nb: c\r\n",
        "X: a\0\r\n",
        "X: a\rb\r\n",
    ] {
        assert!(danger(lines).is_some(), "{lines:?}");
    }
    for lines in ["Content-Length: 5\r\n", "Transfer-Encoding: Chunked \r\n", "Content-Type: a\r\n"]
    {
        assert_eq!(danger(lines), None, "{lines:?}");
    }
}

#[test]
fn a_body_ends_where_its_framing_says() {
    assert_eq!(chunked_end(b"5\r\nhello\r\n0\r\n\r\nGET"), Some(15));
    assert_eq!(chunked_end(b"0\r\nx: y\r\n\r\n"), Some(11));
    assert_eq!(chunked_end(b"5\r\nhello\r\n0\r\n"), None);
    assert_eq!(head_end(b"GET / HTTP/1.1\r\n\r\nrest"), Some(18));
    assert_eq!(head_end(b"GET / HTTP/1.1\n\nrest"), Some(16));
}
