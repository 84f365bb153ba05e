//! How an answer that uses up its budget ends: with an event that says why, and a body that is whole.
//!
//! Not here: when it must end (`corridor::rooms::overrun`). Sources: event streams, HTML Living Standard §9.2; the SDKs of
//! OpenAI and Anthropic raise what stands in the `error` member of an event named `error`. Invariant: the agent gets every
//! byte that came before the end, in its order.

use aegis_corridor::refusal::Refusal;
use aegis_corridor::rooms::settle::Flow;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;

use crate::door::answer::Answer;

/// Follows an answer that may have to end early.
#[derive(Debug, Default)]
pub(super) struct LastEvent {
    /// The body's length was announced, so nothing can be added.
    is_measured: bool,
    passed_bytes: usize,
    /// What passed and may not be written yet: Pingora filters several pieces before it writes them, and drops them when
    /// one is refused.
    unwritten: Vec<Bytes>,
    ending: Option<Bytes>,
}

impl LastEvent {
    pub(super) fn begin(&mut self, headers: &HeaderMap) {
        self.is_measured = headers.contains_key(CONTENT_LENGTH);
    }

    /// Takes note of a piece; false when it is the end. `written_bytes` is how much of the body the agent was sent.
    pub(super) fn piece(
        &mut self,
        (piece, flow): (&Bytes, Flow),
        written_bytes: usize,
        refusal: impl FnOnce() -> Refusal,
    ) -> bool {
        if written_bytes >= self.passed_bytes {
            self.unwritten.clear();
        }
        let rest = match flow {
            Flow::On => {
                self.passed_bytes = self.passed_bytes.saturating_add(piece.len());
                self.unwritten.push(piece.clone());
                return true;
            }
            Flow::EndsAfter(bytes) if !self.is_measured => piece.get(..bytes).unwrap_or(piece),
            Flow::EndsAfter(_) | Flow::Breaks => return false,
        };
        let mut ending = self.unwritten.concat();
        ending.extend_from_slice(rest);
        ending.extend_from_slice(b"event: error\ndata: ");
        ending.extend_from_slice(&Answer::to(&refusal()).body);
        ending.extend_from_slice(b"\n\n");
        self.ending = Some(Bytes::from(ending));
        false
    }

    /// What is still to be written, once; `None` where the answer breaks off.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.ending.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_were_not_written_yet_come_before_the_last_event() {
        let mut last = LastEvent::default();
        let piece = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert!(last.piece((&piece("data: 1\n\n"), Flow::On), 0, Refusal::nameless));
        assert!(last.piece((&piece("data: 2\n\n"), Flow::On), 9, Refusal::nameless));
        assert!(last.piece((&piece("data: 3"), Flow::On), 9, Refusal::nameless));
        let end = (&piece("4\n\ndata: 5\n\n"), Flow::EndsAfter(3));
        assert!(!last.piece(end, 9, Refusal::nameless));
        let ending = last.take().unwrap();
        let text = std::str::from_utf8(&ending).unwrap();
        assert!(text.starts_with("data: 2\n\ndata: 34\n\nevent: error\ndata: {"), "{text}");
        assert!(text.ends_with("}\n\n") && text.lines().count() == 7, "{text}");
        assert!(last.take().is_none());
    }

    #[test]
    fn an_answer_of_announced_length_breaks_off() {
        let mut last = LastEvent::default();
        last.begin(&HeaderMap::from_iter([(CONTENT_LENGTH, 9.into())]));
        let piece = Bytes::from_static(b"data: 1\n\n");
        assert!(!last.piece((&piece, Flow::EndsAfter(0)), 0, Refusal::nameless));
        assert!(last.take().is_none());
    }
}
