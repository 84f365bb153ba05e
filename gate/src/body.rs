//! Watches a message body pass, and says where the message ends.
//!
//! Not here: collecting or limiting the content, and how slow it may be (`pace`). Invariant: the verdict on a body is
//! the same however its bytes are split, and no byte behind its end is ever counted to it.

use crate::chunks::Chunks;
use crate::{Framing, Refusal};

/// Checks one body while its bytes arrive.
#[derive(Clone, Debug)]
pub struct BodyGate(Body);

#[derive(Clone, Debug)]
enum Body {
    Length { left: u64, content_bytes: u64 },
    Chunked(Box<Chunks>),
    Ended { content_bytes: u64 },
}

/// What a piece of a body led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of the piece belongs to the body, and more must come.
    More,
    /// The message ended, and the rest of the piece from here on is not part of it.
    Ends { at: usize },
}

impl BodyGate {
    pub fn new(framing: Framing) -> Self {
        Self(match framing {
            Framing::None | Framing::Length(0) => Body::Ended { content_bytes: 0 },
            Framing::Length(left) => Body::Length { left, content_bytes: 0 },
            Framing::Chunked => Body::Chunked(Box::new(Chunks::new())),
        })
    }

    /// Takes the next bytes off the wire.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Progress, Refusal> {
        let progress = match &mut self.0 {
            Body::Ended { .. } => return Ok(Progress::Ends { at: 0 }),
            Body::Length { left, content_bytes } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                let taken_bytes = u64::try_from(taken).unwrap_or(*left);
                *left = left.saturating_sub(taken_bytes);
                *content_bytes = content_bytes.saturating_add(taken_bytes);
                if *left == 0 { Progress::Ends { at: taken } } else { Progress::More }
            }
            Body::Chunked(chunks) => chunks.push(bytes)?,
        };
        if progress != Progress::More {
            self.0 = Body::Ended { content_bytes: self.content_bytes() };
        }
        Ok(progress)
    }

    /// Whether the whole body has passed: only then may another message follow on the connection.
    pub fn has_ended(&self) -> bool {
        matches!(self.0, Body::Ended { .. })
    }

    /// The bytes of content that have passed, framing not counted.
    pub fn content_bytes(&self) -> u64 {
        match &self.0 {
            Body::Length { content_bytes, .. } | Body::Ended { content_bytes } => *content_bytes,
            Body::Chunked(chunks) => chunks.content_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(text: &str) -> Result<Progress, Refusal> {
        BodyGate::new(Framing::Chunked).push(text.as_bytes())
    }

    #[test]
    fn a_length_body_ends_after_its_last_byte() {
        let mut gate = BodyGate::new(Framing::Length(5));
        assert_eq!(gate.push(b"abc"), Ok(Progress::More));
        assert_eq!(gate.push(b"deGET /"), Ok(Progress::Ends { at: 2 }));
        assert_eq!(gate.push(b"more"), Ok(Progress::Ends { at: 0 }));
        assert_eq!((gate.has_ended(), gate.content_bytes()), (true, 5));
        for framing in [Framing::None, Framing::Length(0)] {
            assert_eq!(BodyGate::new(framing).push(b"GET /"), Ok(Progress::Ends { at: 0 }));
        }
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        let mut gate = BodyGate::new(Framing::Chunked);
        let body = b"5\r\nhello\r\n00A\r\n0123456789\r\n000\r\nX-Sum: 1\r\n\r\n";
        assert_eq!(
            gate.push(&[body, &b"GET /"[..]].concat()),
            Ok(Progress::Ends { at: body.len() })
        );
        assert_eq!((gate.has_ended(), gate.content_bytes()), (true, 15));
        assert_eq!(chunked("0\r\n\r\nGET"), Ok(Progress::Ends { at: 5 }));
        assert_eq!(chunked("5\r\nhello\r\n0\r\n"), Ok(Progress::More));
        assert_eq!(chunked("ffffffffffffffff\r\nx"), Ok(Progress::More));
    }

    #[test]
    fn a_chunk_that_two_readers_could_end_differently_is_refused() {
        for (text, refusal) in [
            ("5\nhello", Refusal::ChunkSize),
            ("5\rhello", Refusal::LineEnd),
            ("5 \r\n", Refusal::ChunkSize),
            (" 5\r\n", Refusal::ChunkSize),
            ("0x5\r\n", Refusal::ChunkSize),
            ("+5\r\n", Refusal::ChunkSize),
            ("-5\r\n", Refusal::ChunkSize),
            ("\r\n", Refusal::ChunkSize),
            ("g\r\n", Refusal::ChunkSize),
            ("00000000000000001\r\n", Refusal::ChunkSize),
            ("5;a=b\r\n", Refusal::ChunkExtension),
            ("5;\n", Refusal::ChunkExtension),
            ("5\r\nhelloXX", Refusal::ChunkEnd),
            ("5\r\nhello\n", Refusal::ChunkEnd),
            ("5\r\nhello0\r\n", Refusal::ChunkEnd),
            ("5\r\nhello\r0", Refusal::ChunkEnd),
        ] {
            assert_eq!(chunked(text), Err(refusal), "{text:?}");
        }
    }

    #[test]
    fn trailers_neither_frame_nor_route_nor_grow() {
        for (trailers, refusal) in [
            ("Content-Length: 5\r\n\r\n", Refusal::TrailerName),
            ("Transfer-Encoding: chunked\r\n\r\n", Refusal::TrailerName),
            ("Host: a\r\n\r\n", Refusal::TrailerName),
            ("Authorization: x\r\n\r\n", Refusal::TrailerName),
            ("Content-Encoding: gzip\r\n\r\n", Refusal::TrailerName),
            ("content_length: 5\r\n\r\n", Refusal::LookAlike),
            ("X : a\r\n\r\n", Refusal::HeaderName),
            ("X: a\r\n b\r\n\r\n", Refusal::Fold),
            ("X: a\n\r\n", Refusal::LineEnd),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::HeaderName),
        ] {
            assert_eq!(chunked(&format!("0\r\n{trailers}")), Err(refusal), "{trailers:?}");
        }
        assert_eq!(
            chunked(&format!("0\r\n{}", "x: y\r\n".repeat(33))),
            Err(Refusal::TooManyHeaders)
        );
        let endless = format!("0\r\nx: {}", "y".repeat(9_000));
        assert_eq!(chunked(&endless), Err(Refusal::LineTooLong));
        let line = format!("x: {}\r\n", "y".repeat(2_000));
        assert_eq!(chunked(&format!("0\r\n{}", line.repeat(5))), Err(Refusal::HeadTooLarge));
    }
}
