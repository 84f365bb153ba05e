//! A proxy before a store that does what networks, stores and intruders do, and holds still while a process is killed.
//!
//! Not here: the stores (`moto`, `azurite`, `google`). Invariant: each fault happens once; without one, what is asked and answered goes by unchanged but
//! for a header that Moto needs.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use parking_lot::Mutex;

use crate::moto::{ask, put_other};

/// <https://learn.microsoft.com/rest/api/storageservices/get-container-properties>
const IMMUTABLE: &str = "x-ms-has-immutability-policy";

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
    /// The store takes half of the body for the whole, and says that all is well.
    StoredCut,
    /// The answer ends in the middle.
    ReplyCut,
    /// The answer takes its time.
    Slow,
    /// The store does not know conditions, as some that speak S3.
    Unconditional,
    /// The store says that an immutability policy holds what is in a container, which Azurite never does.
    Immutable,
    /// The store does it, and somebody puts a delete marker over the object.
    Hidden,
    /// The store does it, and somebody writes another object over it.
    Shadowed,
}

/// When a process is killed that meets a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// While it waits for the answer.
    Within,
    /// When it asks for the next thing.
    Behind,
}

/// What is still to happen.
#[derive(Debug)]
struct Plan {
    method: &'static str,
    /// Requests of that method that are passed on first.
    skip: usize,
    faults: VecDeque<Fault>,
    crash: Option<(Crash, Sender<String>)>,
    /// The path that met the fault.
    struck: Option<String>,
    /// The heads of all requests.
    heard: Vec<String>,
}

impl Plan {
    /// What becomes of this request.
    fn next(&mut self, head: &str) -> Option<Fault> {
        self.heard.push(head.to_ascii_lowercase());
        if !head.starts_with(self.method) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        let fault = self.faults.pop_front();
        if fault.is_some() {
            self.struck = path(head).map(str::to_owned);
        }
        fault
    }

    /// Says that the process may be killed now, if this is the moment.
    fn crash(&mut self, at: Crash) -> bool {
        let Some(struck) = self.struck.clone() else { return false };
        let is_now = self.crash.as_ref().is_some_and(|(when, _)| *when == at);
        if is_now && let Some((_, sender)) = &self.crash {
            drop(sender.send(struck));
        }
        is_now
    }
}

/// Stands before a store.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
    is_over: Arc<AtomicBool>,
    crashes: Mutex<Receiver<String>>,
}

impl Proxy {
    /// Stands before `port`; each fault happens once, to the next request of that method.
    pub fn before(port: u16, method: &'static str, faults: &[Fault]) -> Self {
        let faults = faults.iter().copied().collect();
        let plan = Plan { method, skip: 0, faults, crash: None, struck: None, heard: Vec::new() };
        Self::with(&Arc::new(AtomicU16::new(port)), plan, channel().1)
    }

    /// Stands before whatever listens on the port that stands here when somebody asks.
    pub(crate) fn before_what_comes(port: &Arc<AtomicU16>) -> Self {
        let plan = Plan {
            method: "PUT",
            skip: 0,
            faults: VecDeque::new(),
            crash: None,
            struck: None,
            heard: Vec::new(),
        };
        Self::with(port, plan, channel().1)
    }

    /// Lets the fault happen to the `nth` request of that method, from 0; holds still for the kill, if there is to be one.
    pub fn at(
        port: u16,
        (method, nth): (&'static str, usize),
        (fault, crash): (Fault, Option<Crash>),
    ) -> Self {
        let (sender, crashes) = channel();
        let (faults, crash) = (VecDeque::from([fault]), crash.map(|crash| (crash, sender)));
        let plan = Plan { method, skip: nth, faults, crash, struck: None, heard: Vec::new() };
        Self::with(&Arc::new(AtomicU16::new(port)), plan, crashes)
    }

    fn with(port: &Arc<AtomicU16>, plan: Plan, crashes: Receiver<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new(plan));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over, port) = (Arc::clone(&plan), Arc::clone(&is_over), Arc::clone(port));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (plan, stream) = (Arc::clone(&shared), stream.unwrap());
                let port = port.load(Ordering::Relaxed);
                std::thread::spawn(move || pass(stream, port, &plan));
            }
        });
        Self { port: own, plan, is_over, crashes: Mutex::new(crashes) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Faults that have not happened yet.
    pub fn left(&self) -> usize {
        self.plan.lock().faults.len()
    }

    /// The heads of the requests since it was asked last, in lower case.
    pub fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.plan.lock().heard)
    }

    /// Waits for the moment to kill; hands out the path that met the fault.
    pub fn moment(&self) -> String {
        self.crashes.lock().recv_timeout(Duration::from_secs(60)).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Passes one request on, and its answer back; each connection carries one.
fn pass(mut client: TcpStream, port: u16, plan: &Mutex<Plan>) {
    let Some((head, body)) = request(&client) else { return };
    if plan.lock().crash(Crash::Behind) {
        return outlive(&mut client);
    }
    let fault = plan.lock().next(&head);
    let reply = match fault {
        Some(Fault::Refused(_)) => Vec::new(),
        Some(Fault::RequestCut) => {
            send(port, &head, &body[..body.len() / 2], true);
            Vec::new()
        }
        Some(Fault::StoredCut) => {
            let (whole, half) = (body.len(), body.len() / 2);
            let lengths = [whole, half].map(|length| format!("content-length: {length}\r\n"));
            send(port, &head.replace(&lengths[0], &lengths[1]), &body[..half], false)
        }
        Some(Fault::Unconditional) => send(port, &unconditional(&head), &body, false),
        _ => send(port, &head, &body, false),
    };
    let object = path(&head).unwrap_or_default();
    match fault {
        Some(Fault::Hidden) => assert_eq!(ask(port, ("DELETE", object), &[], ""), 204),
        Some(Fault::Shadowed) => assert_eq!(put_other(port, object), 200),
        _ => {}
    }
    if fault.is_some() && plan.lock().crash(Crash::Within) {
        return outlive(&mut client);
    }
    match fault {
        Some(Fault::ReplyLost | Fault::RequestCut) => {}
        Some(Fault::DoneButRefused(status) | Fault::Refused(status)) => answer(&mut client, status),
        Some(Fault::ReplyCut) => drop(client.write_all(&reply[..reply.len() - 7])),
        Some(Fault::Slow) => {
            std::thread::sleep(Duration::from_secs(1));
            drop(client.write_all(&reply));
        }
        Some(Fault::Immutable) => {
            let reply = String::from_utf8(reply).unwrap();
            let (no, yes) = ["false", "true"].map(|is| format!("{IMMUTABLE}: {is}\r\n")).into();
            assert!(reply.contains(&no), "{reply}");
            drop(client.write_all(reply.replace(&no, &yes).as_bytes()));
        }
        Some(Fault::StoredCut | Fault::Unconditional | Fault::Hidden | Fault::Shadowed) | None => {
            drop(client.write_all(&reply));
        }
    }
}

/// Sends a request to the store; hands out its answer, unless the connection is cut before or nobody is there.
fn send(port: u16, head: &str, body: &[u8], is_cut: bool) -> Vec<u8> {
    let Ok(mut store) = TcpStream::connect(("127.0.0.1", port)) else { return Vec::new() };
    store.write_all(head.as_bytes()).unwrap();
    drop(store.write_all(body));
    let mut reply = Vec::new();
    if is_cut {
        drop(store.shutdown(Shutdown::Both));
    } else {
        drop(store.read_to_end(&mut reply));
    }
    reply
}

/// Says nothing until the other side is gone.
fn outlive(client: &mut TcpStream) {
    drop(client.read(&mut [0; 1]));
}

/// The head without its condition.
fn unconditional(head: &str) -> String {
    let conditions = ["if-none-match:", "x-goog-if-generation-match:"];
    let is_one =
        |line: &str| conditions.iter().any(|one| line.to_ascii_lowercase().starts_with(one));
    head.split_inclusive("\r\n").filter(|line| !is_one(line)).collect()
}

/// The object's path, without a query.
fn path(head: &str) -> Option<&str> {
    head.split(' ').nth(1)?.split('?').next()
}

fn answer(client: &mut TcpStream, status: u16) {
    let text = format!("HTTP/1.1 {status} Fault\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    drop(client.write_all(text.as_bytes()));
}

/// The head, which asks for the connection to be closed afterwards, and the body.
pub(crate) fn request(client: &TcpStream) -> Option<(String, Vec<u8>)> {
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
