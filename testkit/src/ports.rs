//! Ports that nobody else has, also not another test in another process.
//!
//! Not here: listening on them. Invariant: a port stays reserved for as long as its `Port` lives, so that a gateway can
//! be killed and started again on it.

use std::fs::File;
use std::net::TcpListener;

/// Below the ports that systems give to outgoing connections.
const FIRST: u16 = 12_000;
const COUNT: u16 = 18_000;

/// One reserved port on 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    /// Held while the port is; the lock goes with the process, however it ends.
    _reservation: File,
}

impl Port {
    pub(crate) fn reserve() -> Self {
        let folder = std::env::temp_dir().join("aegis-test-ports");
        std::fs::create_dir_all(&folder).unwrap();
        let random = u16::from_ne_bytes(crate::building::random());
        for step in 0..COUNT {
            let number = FIRST + (random % COUNT + step) % COUNT;
            let file = File::create(folder.join(number.to_string())).unwrap();
            if file.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Self { number, _reservation: file };
            }
        }
        unreachable!("all ports are taken");
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}
