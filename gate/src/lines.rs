//! Finds the end of a head, line by line, while its bytes arrive.
//!
//! Not here: what the lines say. Invariant: each byte is looked at once however it arrives, offences are found in the
//! order of the bytes, and what completes has CRLF at the end of each line and no other control byte but HTAB.

use crate::{Limits, Refusal};

/// Where the scan of one head stands.
#[derive(Clone, Debug)]
pub(crate) struct LineScan {
    limits: Limits,
    first: FirstLine,
    /// The first byte that was not looked at.
    at: usize,
    line_start: usize,
    lines: usize,
}

/// What the first line is, which decides how long it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstLine {
    Request,
    Status,
    /// A trailer section has none.
    Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    Partial,
    /// Ends in an empty line; this many bytes with it.
    Complete {
        bytes: usize,
    },
}

/// Room for the method, the version and the two spaces beside the target.
const AROUND_TARGET: usize = 64;

impl LineScan {
    pub(crate) fn new(first: FirstLine, limits: Limits) -> Self {
        Self { limits, first, at: 0, line_start: 0, lines: 0 }
    }

    /// Goes on where the last call stopped. `bytes` begins with all that it was given before.
    pub(crate) fn scan(&mut self, bytes: &[u8]) -> Result<Scanned, Refusal> {
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let run = run_of_text(rest);
            self.at = self.at.saturating_add(run);
            self.check_sizes()?;
            match rest.get(run..).unwrap_or_default() {
                [] | [b'\r'] => return Ok(Scanned::Partial),
                [b'\r', b'\n', ..] => {
                    let is_last = self.at == self.line_start;
                    self.end_line()?;
                    if is_last {
                        return Ok(Scanned::Complete { bytes: self.at });
                    }
                }
                [b'\r' | b'\n', ..] => return Err(Refusal::LineEnd),
                [_, ..] => return Err(Refusal::ControlByte),
            }
        }
    }

    fn end_line(&mut self) -> Result<(), Refusal> {
        let is_empty = self.at == self.line_start;
        self.at = self.at.saturating_add(2);
        self.line_start = self.at;
        if self.at > self.limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        if !is_empty {
            self.lines = self.lines.saturating_add(1);
        }
        let most = match self.first {
            FirstLine::Request | FirstLine::Status => self.limits.headers_max.saturating_add(1),
            FirstLine::Field => self.limits.headers_max,
        };
        if self.lines > most { Err(Refusal::TooManyHeaders) } else { Ok(()) }
    }

    /// Of two limits that are passed, the one that was passed first counts.
    fn check_sizes(&self) -> Result<(), Refusal> {
        let (line_max, refusal) = if self.lines == 0 && self.first == FirstLine::Request {
            (self.limits.target_bytes_max.saturating_add(AROUND_TARGET), Refusal::TargetTooLong)
        } else {
            (self.limits.line_bytes_max, Refusal::LineTooLong)
        };
        let line_end = self.line_start.saturating_add(line_max);
        if self.at > line_end && line_end < self.limits.head_bytes_max {
            return Err(refusal);
        }
        if self.at > self.limits.head_bytes_max {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }
}

/// The lines of a head that was scanned to its end, without the empty one.
pub(crate) fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|&byte| byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).take_while(|line| !line.is_empty())
}

/// How many bytes come before the first control byte. Without an early exit the compiler tests a block at once.
fn run_of_text(bytes: &[u8]) -> usize {
    let has_control = |block: &[u8]| block.iter().fold(false, |has, &byte| has | is_control(byte));
    let blocks = bytes.chunks_exact(BLOCK).take_while(|block| !has_control(block)).count();
    let start = blocks.saturating_mul(BLOCK);
    let rest = bytes.get(start..).unwrap_or_default();
    let more = rest.iter().position(|&byte| is_control(byte)).unwrap_or(rest.len());
    start.saturating_add(more)
}

const BLOCK: usize = 16;

/// Bytes that no line may hold: C0 controls but HTAB, and DEL (RFC 9110 §5.5).
pub(crate) fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Result<Scanned, Refusal> {
        LineScan::new(FirstLine::Request, Limits::REQUEST).scan(text.as_bytes())
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(scan("a\r\nb\r\n\r\nrest"), Ok(Scanned::Complete { bytes: 8 }));
        assert_eq!(scan("a\r\nb\r\n\r"), Ok(Scanned::Partial));
        for text in ["a\nb", "a\r\nb\n", "a\rb", "a\r\r\n", "a\r\n\rb"] {
            assert_eq!(scan(text), Err(Refusal::LineEnd), "{text:?}");
        }
        for text in ["a\0", "a\u{b}", "a\u{c}", "a\u{7f}", "a\r\nb: \u{1b}"] {
            assert_eq!(scan(text), Err(Refusal::ControlByte), "{text:?}");
        }
    }

    #[test]
    fn limits_hold_before_the_head_ends() {
        let limits = Limits {
            head_bytes_max: 100,
            headers_max: 2,
            line_bytes_max: 20,
            target_bytes_max: 10,
        };
        let scan = |text: &str| LineScan::new(FirstLine::Request, limits).scan(text.as_bytes());
        assert_eq!(scan(&"a".repeat(75)), Err(Refusal::TargetTooLong));
        assert_eq!(scan(&format!("a\r\n{}", "b".repeat(21))), Err(Refusal::LineTooLong));
        assert_eq!(scan("a\r\nb\r\nc\r\nd\r\n"), Err(Refusal::TooManyHeaders));
        assert_eq!(scan("a\r\nb\r\nc\r\n\r\n"), Ok(Scanned::Complete { bytes: 11 }));
        let wide = Limits { line_bytes_max: 200, ..limits };
        let mut scan = LineScan::new(FirstLine::Request, wide);
        assert_eq!(
            scan.scan(format!("a\r\n{}", "b".repeat(98)).as_bytes()),
            Err(Refusal::HeadTooLarge)
        );
    }
}
