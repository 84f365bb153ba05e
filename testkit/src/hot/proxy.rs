//! A wire that can be slow or dead without being cut: TCP passed on by threads, late or not at all.
//!
//! Not here: refusing connections, for which a server is killed. Invariant: what is held is passed on later or never,
//! but in order.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::server::Server;

/// Nothing passes.
const HELD: u64 = u64::MAX;

pub struct Proxy {
    port: u16,
    /// How late bytes are, in milliseconds.
    late_ms: Arc<AtomicU64>,
}

impl Proxy {
    pub fn before(server: &Server) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let late_ms = Arc::new(AtomicU64::new(0));
        let (ip, to, late) = (server.ip().to_owned(), server.port(), Arc::clone(&late_ms));
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((ip.as_str(), to)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let late = Arc::clone(&late);
                    std::thread::spawn(move || pass(from, to, &late));
                }
            }
        });
        Self { port, late_ms }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Each piece is passed on so much later.
    pub fn delay(&self, late: Duration) {
        self.late_ms.store(u64::try_from(late.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// Nothing passes in either direction, and nobody is told.
    pub fn hold(&self) {
        self.late_ms.store(HELD, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, late_ms: &AtomicU64) {
    let mut piece = vec![0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        while late_ms.load(Ordering::SeqCst) == HELD {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(late_ms.load(Ordering::SeqCst)));
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    drop(to.shutdown(Shutdown::Both));
}
