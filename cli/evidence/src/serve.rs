//! `aegisctl audit serve`: the streams of a log as C2SP tiles over HTTP, read only.
//!
//! Not here: tiles (`tiles`). Invariant: only what a stream's own key signed is served; a peer can neither hold a thread for
//! long nor open many.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use aegis_audit_chain::{Head, Origin};
use aegis_audit_ship::{Log, Staying};
use aegis_audit_trust::Trust;
use clap::Args;
use serde_json::{Value, json};

use crate::EvidenceError;
use crate::groups::Groups;
use crate::log::LogArgs;
use crate::records::streams;
use crate::tiles::{Asked, View};

const CONNECTIONS_MAX: usize = 32;
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1_024;
/// What is held of streams; the one that was asked for last is held whatever it takes.
const VIEWS_BYTES_MAX: usize = 64 * 1_024 * 1_024;
/// Listings are held with them.
const VIEWS_MAX: usize = 16;
/// A stream that is being written is read again after this long.
const VIEW_AGE_MAX: Duration = Duration::from_secs(10);

/// Serve the streams of a log as C2SP tiles.
#[derive(Debug, Args)]
#[command(after_help = "\
Below http://<listen>/<log>/ lie `checkpoint`, `tile/<level>/<index>` and `tile/entries/<index>`, as
https://c2sp.org/tlog-tiles has them; / lists the logs. A checkpoint is signed by the stream's own key, which its birth
note and the registry name.

A stream that is asked for is gone through once, a file or an index at a time; then 48 bytes are held of each 256 records, of all
streams 64 MiB at most (one that takes more is held alone), and records are read when they are asked for. A bucket's names are
held as well. Peers are 32 at a time, with four megabytes each at most.

There is no TLS and no login, and entries hold the records of all tenants: listen where only auditors are.

Examples:
  aegisctl audit serve
  aegisctl audit serve --from s3://audit --trust region.txt --listen 127.0.0.1:7500")]
pub struct ServeArgs {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7500")]
    pub listen: SocketAddr,
    #[command(flatten)]
    pub log: LogArgs,
}

/// A log that is being served.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    log: Log,
    trust: Trust,
}

struct Shelf<'l> {
    log: &'l Log,
    trust: &'l Trust,
    views: Mutex<BTreeMap<Origin, Shelved<'l>>>,
    connections: AtomicUsize,
}

/// A stream, and where its records are read.
type Book<'l> = (View, Staying<'l>);

#[derive(Clone)]
struct Shelved<'l> {
    read_at: Instant,
    used_at: Instant,
    book: Arc<Book<'l>>,
}

impl ServeArgs {
    /// Takes the address; nothing is answered yet.
    pub fn bind(&self, root: &Path) -> Result<Server, EvidenceError> {
        let (log, trust) = self.log.open(root)?;
        let failed = |source| {
            let path = self.listen.to_string().into();
            EvidenceError::File { what: "the address", path, source }
        };
        let listener = TcpListener::bind(self.listen).map_err(failed)?;
        Ok(Server { listener, log, trust })
    }
}

impl Server {
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub fn run(&self) {
        let (views, connections) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
        let shelf = &Shelf { log: &self.log, trust: &self.trust, views, connections };
        thread::scope(|scope| {
            for peer in self.listener.incoming().flatten() {
                if shelf.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                    shelf.connections.fetch_sub(1, Ordering::Relaxed);
                    continue;
                }
                scope.spawn(move || {
                    // A peer that went away is no concern of ours.
                    shelf.converse(peer).ok();
                    shelf.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
    }
}

/// Status line and body.
type Answer = (&'static str, Vec<u8>);

impl<'l> Shelf<'l> {
    fn converse(&self, mut peer: TcpStream) -> io::Result<()> {
        peer.set_read_timeout(Some(PEER_TIMEOUT))?;
        peer.set_write_timeout(Some(PEER_TIMEOUT))?;
        let Some(head) = read_head(&mut peer)? else { return Ok(()) };
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (status, body) = match (words.next(), words.next()) {
            (Some("GET"), Some(path)) => self.answer(path),
            _ => ("405 Method Not Allowed", Vec::new()),
        };
        let length = body.len();
        write!(peer, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
        peer.write_all(&body)?;
        peer.flush()
    }

    fn answer(&self, path: &str) -> Answer {
        let found = match path {
            "/" => self.names().map(Some),
            path => self.of_log(path),
        };
        match found {
            Ok(Some(body)) => ("200 OK", body),
            Ok(None) => ("404 Not Found", Vec::new()),
            Err(error) => ("500 Internal Server Error", format!("{error}\n").into_bytes()),
        }
    }

    fn names(&self) -> Result<Vec<u8>, EvidenceError> {
        let mut names = Vec::new();
        self.log.each(self.trust, &mut |source, trust| {
            for registry in trust.registries() {
                let all = streams(source, registry)?;
                names.extend(all.iter().map(|stream| Value::from(stream.born.origin.as_str())));
            }
            Ok::<(), EvidenceError>(())
        })?;
        Ok(format!("{:#}\n", json!({ "logs": names })).into_bytes())
    }

    /// A path below a log's name, which has four parts.
    fn of_log(&self, path: &str) -> Result<Option<Vec<u8>>, EvidenceError> {
        let path = path.strip_prefix('/').unwrap_or_default();
        let end = path.match_indices('/').nth(3).map(|(at, _)| at);
        let Some((name, below)) = end.and_then(|at| path.split_at_checked(at)) else {
            return Ok(None);
        };
        let asked = Asked::parse(below.strip_prefix('/').unwrap_or_default());
        let (Some(asked), Ok(origin)) = (asked, Origin::parse(name)) else { return Ok(None) };
        let Some(book) = self.book(&origin)? else { return Ok(None) };
        let (view, log) = book.as_ref();
        view.answer(log.source(), asked)
    }

    fn book(&self, origin: &Origin) -> Result<Option<Arc<Book<'l>>>, EvidenceError> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = views.get_mut(origin).map(|shelved| {
            shelved.used_at = now;
            shelved.clone()
        });
        if let Some(shelved) = &known
            && shelved.read_at.elapsed() < VIEW_AGE_MAX
        {
            return Ok(Some(Arc::clone(&shelved.book)));
        }
        let known = known.map(|shelved| shelved.book);
        let Some(book) = self.read(origin, known)? else { return Ok(None) };
        let shelved = Shelved { read_at: now, used_at: now, book: Arc::clone(&book) };
        views.insert(origin.clone(), shelved);
        make_room(&mut views);
        Ok(Some(book))
    }

    /// A stream up to its newest anchor; `None` where no registry names it, or nothing of it is signed.
    fn read(
        &self,
        origin: &Origin,
        known: Option<Arc<Book<'l>>>,
    ) -> Result<Option<Arc<Book<'l>>>, EvidenceError> {
        for log in self.log.stay(self.trust)? {
            for registry in self.trust.registries().filter(|(it, _)| it.vouches_for(origin)) {
                let all = streams(log.source(), registry)?;
                let stream = all.into_iter().find(|stream| stream.born.origin == *origin);
                let Some(anchor) = stream.and_then(|it| it.anchors.into_iter().next_back()) else {
                    continue;
                };
                let (size, root) = (anchor.size, anchor.root);
                let head = Head { origin: anchor.origin, size, root };
                if let Some(known) = known.as_ref().filter(|known| known.0.head == head) {
                    return Ok(Some(Arc::clone(known)));
                }
                let groups = Groups::of(log.source(), (&head, registry.1))?;
                let view = View { checkpoint: head.note_with(&anchor.sig), head, groups };
                return Ok(Some(Arc::new((view, log))));
            }
        }
        Ok(None)
    }
}

/// Lets go what was asked for longest ago, until the rest fits.
fn make_room(views: &mut BTreeMap<Origin, Shelved<'_>>) {
    let bytes = |views: &BTreeMap<Origin, Shelved<'_>>| {
        views.values().map(|it| it.book.0.groups.bytes()).fold(0, usize::saturating_add)
    };
    while views.len() > 1 && (views.len() > VIEWS_MAX || bytes(views) > VIEWS_BYTES_MAX) {
        let oldest = views.iter().min_by_key(|(_, shelved)| shelved.used_at);
        if let Some(origin) = oldest.map(|(origin, _)| origin.clone()) {
            views.remove(&origin);
        }
    }
}

/// A request's head; `None` when it does not end, or is longer than any of ours.
fn read_head(peer: &mut TcpStream) -> io::Result<Option<String>> {
    let (mut head, mut chunk) = (Vec::new(), [0; 1_024]);
    let begun = Instant::now();
    while head.len() < HEAD_BYTES_MAX && begun.elapsed() < PEER_TIMEOUT {
        let length = peer.read(&mut chunk)?;
        head.extend_from_slice(chunk.get(..length).unwrap_or_default());
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(String::from_utf8(head).ok());
        }
        if length == 0 {
            break;
        }
    }
    Ok(None)
}
