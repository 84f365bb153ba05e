//! What becomes of a stream of events that uses more than was held for it: more is held, or it ends.
//!
//! Not here: counting tokens (`decide`), and how the end is told (the gateway's door). Invariants: no byte waits for the
//! hot state, so a stream may run on for as long as one answer takes; it is ended between two events, never inside one.

use std::sync::Arc;

use aegis_decide::{TokenPrice, Usage};
use aegis_domain::MicroUsd;
use aegis_state::{Extended, Hold, HotState, StateError};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::clock;

/// How much of one event may still pass once its stream is to end.
const LAST_EVENT_BYTES_MAX: usize = 1_024 * 1_024;

/// What is to become of a piece of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    On,
    /// So many bytes of the piece end an event; nothing behind them may pass.
    EndsAfter(usize),
    /// Nothing more may pass, though an event is not over.
    Breaks,
}

/// Watches what one stream uses.
pub(super) struct Overrun {
    state: Arc<dyn HotState>,
    runtime: Handle,
    hold: Hold,
    price: TokenPrice,
    held: MicroUsd,
    asked: Option<Asked>,
    /// No more can be held.
    is_exhausted: bool,
    place: EventPlace,
    /// Bytes that passed since.
    late_bytes: usize,
}

/// A question under way.
struct Asked {
    total: MicroUsd,
    answer: oneshot::Receiver<Result<Extended, StateError>>,
}

impl Overrun {
    pub(super) fn new(
        (state, runtime): (Arc<dyn HotState>, Handle),
        hold: Hold,
        price: TokenPrice,
    ) -> Self {
        Self {
            state,
            runtime,
            held: hold.estimate,
            hold,
            price,
            asked: None,
            is_exhausted: false,
            place: EventPlace::default(),
            late_bytes: 0,
        }
    }

    /// Looks at a piece before it passes.
    pub(super) fn piece(&mut self, piece: &[u8]) -> Flow {
        self.hear();
        if self.is_exhausted {
            if let Some(bytes) = self.place.rest_of_event(piece) {
                return Flow::EndsAfter(bytes);
            }
            self.late_bytes = self.late_bytes.saturating_add(piece.len());
            if self.late_bytes > LAST_EVENT_BYTES_MAX {
                return Flow::Breaks;
            }
        }
        piece.iter().for_each(|byte| self.place.pass(*byte));
        Flow::On
    }

    /// Asks for more once what was used is not covered any longer.
    pub(super) fn used(&mut self, usage: Usage) {
        let used = self.price.cost(usage);
        if used <= self.held || self.is_exhausted || self.asked.is_some() {
            return;
        }
        let total = in_steps(self.hold.estimate, used);
        let (sender, answer) = oneshot::channel();
        let (state, hold) = (Arc::clone(&self.state), self.hold.clone());
        drop(self.runtime.spawn(async move {
            let extended = state.extend(&hold, total, clock::now()).await;
            // Nobody hears it when the call has ended meanwhile.
            drop(sender.send(extended));
        }));
        self.asked = Some(Asked { total, answer });
    }

    /// What is held at the end, once the last question is answered.
    pub(super) async fn held(mut self) -> MicroUsd {
        if let Some(Asked { total, answer }) = self.asked.take()
            && let Ok(Ok(Extended::Granted)) = answer.await
        {
            return total;
        }
        self.held
    }

    fn hear(&mut self) {
        let Some(Asked { total, answer }) = &mut self.asked else { return };
        match answer.try_recv() {
            Err(TryRecvError::Empty) => return,
            Ok(Ok(Extended::Granted)) => self.held = *total,
            Ok(Ok(Extended::Refused { .. })) | Err(TryRecvError::Closed) => {
                self.is_exhausted = true;
            }
            Ok(Err(error)) => {
                tracing::warn!(decision = %self.hold.id, %error, "a stream ends: no more could be held for it");
                self.is_exhausted = true;
            }
        }
        self.asked = None;
    }
}

/// The least whole number of estimates that covers what was used, so that a long stream asks rarely.
fn in_steps(estimate: MicroUsd, used: MicroUsd) -> MicroUsd {
    let step = estimate.max(MicroUsd::new(1));
    let steps = used.micro_usd().div_ceil(step.micro_usd());
    step.saturating_times(steps)
}

/// Where in an event stream a byte stands (HTML Living Standard §9.2.6): an event ends with an empty line, and a line with
/// LF, CR or both.
#[derive(Clone, Copy, Debug)]
struct EventPlace {
    is_between: bool,
    is_line_empty: bool,
    is_behind_cr: bool,
}

impl Default for EventPlace {
    fn default() -> Self {
        Self { is_between: true, is_line_empty: true, is_behind_cr: false }
    }
}

impl EventPlace {
    fn pass(&mut self, byte: u8) {
        match byte {
            // The second half of a line's end.
            b'\n' if self.is_behind_cr => self.is_behind_cr = false,
            b'\n' | b'\r' => {
                self.is_between = self.is_line_empty;
                self.is_line_empty = true;
                self.is_behind_cr = byte == b'\r';
            }
            _ => *self = Self { is_between: false, is_line_empty: false, is_behind_cr: false },
        }
    }

    /// How many bytes of a piece belong to the event under way; `None` if it does not end in this piece.
    fn rest_of_event(self, piece: &[u8]) -> Option<usize> {
        let mut place = self;
        let mut bytes = piece.iter();
        let mut count = 0_usize;
        while !place.is_between {
            place.pass(*bytes.next()?);
            count = count.saturating_add(1);
        }
        Some(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rest(passed: &str, piece: &str) -> Option<usize> {
        let mut place = EventPlace::default();
        passed.bytes().for_each(|byte| place.pass(byte));
        place.rest_of_event(piece.as_bytes())
    }

    #[test]
    fn an_event_ends_with_an_empty_line_however_lines_end() {
        assert_eq!(rest("", "data: 1\n\n"), Some(0));
        for end in ["\n\n", "\r\r", "\r\n\r\n", "\n\r\n", "\r\n\n"] {
            assert_eq!(rest(&format!("data: 1{end}"), "data: 2\n\n"), Some(0), "{end:?}");
        }
        assert_eq!(rest("data: 1\n", "data: 2\n\ndata: 3\n\n"), Some(9));
        assert_eq!(rest("data: 1\n", "\ndata: 3\n\n"), Some(1));
        // CR and LF of one line's end are no empty line.
        assert_eq!(rest("data: 1\r", "\ndata: 2\n\n"), Some(10));
        assert_eq!(rest("data: 1", "23"), None);
    }

    #[test]
    fn more_is_asked_for_in_whole_estimates() {
        let of =
            |estimate, used| in_steps(MicroUsd::new(estimate), MicroUsd::new(used)).micro_usd();
        assert_eq!((of(100, 101), of(100, 200), of(100, 950)), (200, 200, 1_000));
        assert_eq!(of(0, 7), 7);
    }

    proptest! {
        #[test]
        fn lines_that_end_otherwise_mean_the_same(text in "[a\r\n]{0,40}") {
            let plain = text.replace("\r\n", "\n").replace('\r', "\n");
            let is_between = plain.is_empty() || plain == "\n" || plain.ends_with("\n\n");
            let mut place = EventPlace::default();
            text.bytes().for_each(|byte| place.pass(byte));
            prop_assert_eq!(place.is_between, is_between);
        }
    }
}
