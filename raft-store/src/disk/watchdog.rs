//! Notices that the disk has stopped.
//!
//! Not here: what to do about it (whoever started the voter). Invariant: a write that takes too long is told of while it
//! hangs, not after.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use super::{Fatal, OnFatal};

/// Where a write is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pulse {
    Begun,
    Ended,
}

/// Watches until the sender is dropped.
pub(super) fn start(max: Duration, on_fatal: &OnFatal) -> io::Result<Sender<Pulse>> {
    let (pulse, pulses) = mpsc::channel();
    let on_fatal = Arc::clone(on_fatal);
    let named = std::thread::Builder::new().name("ledger-watchdog".into());
    named.spawn(move || watch(&pulses, max, &on_fatal))?;
    Ok(pulse)
}

fn watch(pulses: &Receiver<Pulse>, max: Duration, on_fatal: &OnFatal) {
    while let Ok(pulse) = pulses.recv() {
        match pulse {
            Pulse::Ended => {}
            Pulse::Begun => match pulses.recv_timeout(max) {
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => on_fatal(&Fatal::Stalled),
                Err(RecvTimeoutError::Disconnected) => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_hangs_is_told_of_while_it_hangs() {
        let (told, heard) = mpsc::channel();
        let on_fatal: OnFatal = Arc::new(move |fatal| told.send(fatal.clone()).unwrap());
        let pulse = start(Duration::from_millis(20), &on_fatal).unwrap();
        for step in [Pulse::Begun, Pulse::Ended, Pulse::Begun] {
            pulse.send(step).unwrap();
        }
        assert_eq!(heard.recv(), Ok(Fatal::Stalled));
        drop(pulse);
    }
}
