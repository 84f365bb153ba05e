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

use aegis_audit_chain::source::LogSource;
use aegis_audit_chain::{Hash, Head, Origin, tree};
use aegis_audit_ship::Log;
use aegis_audit_trust::Trust;
use clap::Args;
use serde_json::{Value, json};

use crate::EvidenceError;
use crate::log::LogArgs;
use crate::records::{changed, stream_records, streams};
use crate::tiles::{Asked, View};

const CONNECTIONS_MAX: usize = 32;
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 * 1_024;
/// Streams held in memory.
const VIEWS_MAX: usize = 4;
/// A stream that is being written is read again after this long.
const VIEW_AGE_MAX: Duration = Duration::from_secs(10);

/// Serve the streams of a log as C2SP tiles.
#[derive(Debug, Args)]
#[command(after_help = "\
Below http://<listen>/<log>/ lie `checkpoint`, `tile/<level>/<index>` and `tile/entries/<index>`, as
https://c2sp.org/tlog-tiles has them; / lists the logs. A checkpoint is signed by the stream's own key, which its birth
note and the registry name. A stream that is asked for is held in memory, four at most.

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
    shelf: Arc<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    log: Log,
    trust: Trust,
    views: Mutex<BTreeMap<Origin, (Instant, Arc<View>)>>,
    connections: AtomicUsize,
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
        let (views, connections) = (Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
        Ok(Server { listener, shelf: Arc::new(Shelf { log, trust, views, connections }) })
    }
}

impl Server {
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until the process ends.
    pub fn run(&self) {
        for peer in self.listener.incoming().flatten() {
            let shelf = Arc::clone(&self.shelf);
            if shelf.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                shelf.connections.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            thread::spawn(move || {
                // A peer that went away is no concern of ours.
                shelf.converse(peer).ok();
                shelf.connections.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

/// Status line and body.
type Answer = (&'static str, Vec<u8>);

impl Shelf {
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
        self.log.each(&self.trust, &mut |source, trust| {
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
        Ok(self.view(&origin)?.and_then(|view| view.answer(asked)))
    }

    fn view(&self, origin: &Origin) -> Result<Option<Arc<View>>, EvidenceError> {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, view)) = views.get(origin)
            && read_at.elapsed() < VIEW_AGE_MAX
        {
            return Ok(Some(Arc::clone(view)));
        }
        let mut found = None;
        self.log.each(&self.trust, &mut |source, trust| {
            found = found.take().or(load(source, trust, origin)?);
            Ok::<(), EvidenceError>(())
        })?;
        let Some(view) = found.map(Arc::new) else { return Ok(None) };
        if views.len() >= VIEWS_MAX && !views.contains_key(origin) {
            views.pop_first();
        }
        views.insert(origin.clone(), (Instant::now(), Arc::clone(&view)));
        Ok(Some(view))
    }
}

/// A stream up to its newest anchor; `None` where no registry names it, or nothing of it is signed.
fn load(
    source: &dyn LogSource,
    trust: &Trust,
    origin: &Origin,
) -> Result<Option<View>, EvidenceError> {
    let mut anchor = None;
    for registry in trust.registries() {
        let all = streams(source, registry)?;
        let stream = all.into_iter().find(|stream| stream.born.origin == *origin);
        anchor = anchor.or(stream.and_then(|stream| stream.anchors.into_iter().next_back()));
    }
    let Some(anchor) = anchor else { return Ok(None) };
    let mut records = Vec::new();
    stream_records(
        source,
        (origin, Some((anchor.size, anchor.root))),
        (&mut |_| {}, &mut |_, it| {
            records.push(it.to_vec());
            Ok(())
        }),
    )?;
    records.truncate(usize::try_from(anchor.size).unwrap_or(usize::MAX));
    let leaves: Vec<Hash> = records.iter().map(|record| Hash::leaf(record)).collect();
    if tree::root(&leaves) != anchor.root {
        return Err(changed(origin));
    }
    let head = Head { origin: anchor.origin, size: anchor.size, root: anchor.root };
    Ok(Some(View { checkpoint: head.note_with(&anchor.sig), leaves, records }))
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
