//! A proxy before an S3 that does to requests what networks and stores do.
//!
//! Not here: the S3 (`moto`). Invariant: each fault happens once; without one, what is asked and answered goes by unchanged but
//! for a header that Moto needs.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store does it, and the answer is lost.
    ReplyLost,
    /// The store does it, and says that it failed.
    DoneButRefused(u16),
    /// The store never hears of it.
    Refused(u16),
    /// The store hears half of it.
    RequestCut,
    /// The answer ends in the middle.
    ReplyCut,
    /// The answer takes its time.
    Slow,
}

/// Stands before an S3.
pub struct Proxy {
    port: u16,
    faults: Arc<Mutex<VecDeque<Fault>>>,
    is_over: Arc<AtomicBool>,
}

impl Proxy {
    /// Stands before `port`; each fault happens once, to the next request of that method.
    pub fn before(port: u16, method: &'static str, faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let faults = Arc::new(Mutex::new(faults.iter().copied().collect()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (queue, over) = (Arc::clone(&faults), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let queue = Arc::clone(&queue);
                let stream = stream.unwrap();
                std::thread::spawn(move || pass(stream, port, (method, &queue)));
            }
        });
        Self { port: own, faults, is_over }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Faults that have not happened yet.
    pub fn left(&self) -> usize {
        self.faults.lock().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Passes one request on, and its answer back; each connection carries one.
fn pass(mut client: TcpStream, port: u16, (method, faults): (&str, &Mutex<VecDeque<Fault>>)) {
    let Some((head, body)) = request(&client) else { return };
    let is_meant = head.starts_with(method);
    let fault = if is_meant { faults.lock().pop_front() } else { None };
    if let Some(Fault::Refused(status)) = fault {
        return answer(&mut client, status);
    }
    let Ok(mut store) = TcpStream::connect(("127.0.0.1", port)) else { return };
    store.write_all(head.as_bytes()).unwrap();
    if fault == Some(Fault::RequestCut) {
        drop(store.write_all(&body[..body.len() / 2]));
        drop(store.shutdown(Shutdown::Both));
        return;
    }
    store.write_all(&body).unwrap();
    let mut reply = Vec::new();
    drop(store.read_to_end(&mut reply));
    match fault {
        Some(Fault::ReplyLost) => {}
        Some(Fault::DoneButRefused(status)) => answer(&mut client, status),
        Some(Fault::ReplyCut) => drop(client.write_all(&reply[..reply.len() - 7])),
        Some(Fault::Slow) => {
            std::thread::sleep(Duration::from_secs(1));
            drop(client.write_all(&reply));
        }
        Some(Fault::Refused(_) | Fault::RequestCut) | None => drop(client.write_all(&reply)),
    }
}

fn answer(client: &mut TcpStream, status: u16) {
    let text = format!("HTTP/1.1 {status} Fault\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    drop(client.write_all(text.as_bytes()));
}

/// The head, which asks for the connection to be closed afterwards, and the body.
fn request(client: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(client);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            // Moto 5.2 knows the SDKs' header only, where S3 is content with the checksum itself.
            if head.contains("x-amz-checksum-sha256") {
                head.push_str("x-amz-sdk-checksum-algorithm: SHA256\r\n");
            }
            head.push_str("connection: close\r\n\r\n");
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}
