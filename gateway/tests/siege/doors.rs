//! The voters that people and agents can turn to, as they come and go.
//!
//! Not here: the way of gateways to voters (`gatehouse`). Invariant: a voter is here from its promotion until it is taken out,
//! whether it answers or not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aegis_control_client::Client;

/// One voter's two doors.
#[derive(Clone)]
pub(crate) struct Doors {
    pub(crate) id: u64,
    /// Where people command.
    pub(crate) client: Client,
    /// Where agents call.
    pub(crate) agents: SocketAddr,
}

/// All of them. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Street(Arc<Mutex<Vec<Doors>>>);

impl Street {
    pub(crate) fn open(&self, doors: Doors) {
        self.0.lock().unwrap().push(doors);
    }

    pub(crate) fn close(&self, id: u64) {
        self.0.lock().unwrap().retain(|doors| doors.id != id);
    }

    /// One of them, the next for the next number.
    pub(crate) fn pick(&self, number: usize) -> Doors {
        let all = self.0.lock().unwrap();
        all[number % all.len()].clone()
    }
}
