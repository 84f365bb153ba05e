//! An upstream that says whatever a test tells it to, HTTP or not.
//!
//! Not here: proper answers (`serve`). Invariant: it reads one whole call before it says anything, unless it is told to
//! speak first; what was said, and on which connection, is written down.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Gate;

/// What is done, word by word, once a call has arrived.
#[derive(Clone, Debug)]
pub enum Word {
    Say(Bytes),
    /// Says this again and again, until the other side has had enough or `times` are over.
    Repeat(Bytes, usize),
    /// Goes on when the gate lets it.
    Wait(Gate),
    HangUp,
}

/// A running one. Clones are the same one.
#[derive(Clone)]
pub struct Puppet {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<HashMap<String, Vec<Word>>>,
    greeting: Mutex<Option<Bytes>>,
    calls: Mutex<Vec<(usize, String)>>,
    connections: AtomicUsize,
    ended: watch::Sender<usize>,
    said_bytes: AtomicUsize,
}

impl Puppet {
    pub async fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_task = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let number = of_task.connections.fetch_add(1, Ordering::AcqRel);
                let shared = Arc::clone(&of_task);
                tokio::spawn(async move {
                    // That the other side has had enough is part of many tests.
                    drop(converse(socket, number, &shared).await);
                    shared.ended.send_modify(|ended| *ended += 1);
                });
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, calls of this path are answered so; others get `own:<path>`.
    pub fn on(&self, path: &str, words: impl IntoIterator<Item = Word>) {
        self.shared.scripts.lock().insert(path.to_owned(), words.into_iter().collect());
    }

    /// What new connections are told before they say anything.
    pub fn greet(&self, greeting: Option<&'static [u8]>) {
        *self.shared.greeting.lock() = greeting.map(Bytes::from_static);
    }

    /// The calls so far: on which connection, and the path.
    pub fn calls(&self) -> Vec<(usize, String)> {
        self.shared.calls.lock().clone()
    }

    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Waits until this many connections have ended.
    pub async fn ended(&self, count: usize) {
        self.shared.ended.subscribe().wait_for(|ended| *ended >= count).await.unwrap();
    }

    /// How much was said in all, as far as anybody took it.
    pub fn said_bytes(&self) -> usize {
        self.shared.said_bytes.load(Ordering::Acquire)
    }
}

impl Shared {
    async fn say(&self, socket: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
        socket.write_all(bytes).await?;
        self.said_bytes.fetch_add(bytes.len(), Ordering::AcqRel);
        Ok(())
    }
}

/// Until one side hangs up.
async fn converse(mut socket: TcpStream, number: usize, shared: &Shared) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let greeting = shared.greeting.lock().clone();
    if let Some(greeting) = greeting {
        shared.say(&mut socket, &greeting).await?;
    }
    let mut heard = Vec::new();
    while let Some(path) = call(&mut socket, &mut heard).await? {
        shared.calls.lock().push((number, path.clone()));
        let script = shared.scripts.lock().get(&path).cloned();
        for word in script.unwrap_or_else(|| own(&path)) {
            match word {
                Word::Say(bytes) => shared.say(&mut socket, &bytes).await?,
                Word::Repeat(bytes, times) => {
                    for _ in 0..times {
                        shared.say(&mut socket, &bytes).await?;
                    }
                }
                Word::Wait(gate) => gate.pass().await,
                Word::HangUp => return Ok(()),
            }
        }
    }
    Ok(())
}

fn own(path: &str) -> Vec<Word> {
    let body = format!("own:{path}");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    vec![Word::Say(Bytes::from(head + &body))]
}

/// Takes one call off the wire and says its path; `None` when the other side has hung up.
async fn call(socket: &mut TcpStream, heard: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    let end = loop {
        if let Some(at) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(heard).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let whole = end + length.unwrap_or(0);
    while heard.len() < whole {
        if socket.read_buf(heard).await? == 0 {
            return Ok(None);
        }
    }
    heard.drain(..whole);
    Ok(head.split(' ').nth(1).map(str::to_owned))
}
