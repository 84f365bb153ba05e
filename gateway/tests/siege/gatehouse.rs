//! What stands before the voters, as a load balancer would: one address, behind which any voter that answers.
//!
//! Not here: TLS, which passes through. Invariant: whoever is turned away by one voter is led to the next; a connection stays
//! with the voter it was led to.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const DIAL_MAX: Duration = Duration::from_millis(500);

#[derive(Clone)]
pub(crate) struct Gatehouse {
    address: SocketAddr,
    voters: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Gatehouse {
    /// Listens until the process ends.
    pub(crate) fn open(ip: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let gatehouse = Self { address, voters: Arc::default() };
        let inside = gatehouse.clone();
        std::thread::spawn(move || {
            for (nth, agent) in listener.incoming().flatten().enumerate() {
                let inside = inside.clone();
                std::thread::spawn(move || inside.lead(nth, agent));
            }
        });
        gatehouse
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn meet(&self, voter: SocketAddr) {
        self.voters.lock().unwrap().push(voter);
    }

    pub(crate) fn forget(&self, voter: SocketAddr) {
        self.voters.lock().unwrap().retain(|known| *known != voter);
    }

    fn lead(&self, nth: usize, agent: TcpStream) -> io::Result<()> {
        let mut voters = self.voters.lock().unwrap().clone();
        let count = voters.len().max(1);
        voters.rotate_left(nth % count);
        let mut dialled =
            voters.iter().filter_map(|it| TcpStream::connect_timeout(it, DIAL_MAX).ok());
        let Some(voter) = dialled.next() else { return Ok(()) };
        let (back, home) = (voter.try_clone()?, agent.try_clone()?);
        std::thread::spawn(move || carry(back, home));
        carry(agent, voter)
    }
}

/// Until one side ends; then both have.
fn carry(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let carried = io::copy(&mut from, &mut to);
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
    carried.map(drop)
}
