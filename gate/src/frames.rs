//! What an HTTP/2 client busies a connection with: frames that are not calls cost it something it must first earn.
//!
//! Not here: what frames say, which the h2 library reads, and its own bounds. Pure: elapsed times are arguments.
//! Invariant: however many frames of whatever type come, the work they make is bounded by time and by what calls earn.

use std::time::Duration;

/// What an HTTP/2 connection begins with (RFC 9113 §3.4), in bytes.
const PREFACE_BYTES: usize = 24;
/// The head of a frame: length, type, flags, stream (RFC 9113 §4.1).
const HEAD_BYTES: usize = 9;

/// What a connection begins with and can have at the most: room for the settings, windows and priorities that clients
/// begin with, and for giving up a hundred calls at once.
const CREDIT_MAX: u64 = 1_000;
/// Time earns a hundred a second: far above what keep-alives and windows of a quiet connection need.
const MS_PER_CREDIT: u64 = 10;
/// What opening a stream earns: its window and its priority.
const CREDIT_PER_CALL: u64 = 2;
/// For so many bytes that were written to the client it may say something: clients open two windows (stream and
/// connection) for each piece they take, and pieces of an event stream are small.
const BYTES_PER_CREDIT: u64 = 64;
/// A stream given up has cost a call's work (CVE-2023-44487); any other frame costs 1.
const RESET_COST: u64 = 5;

/// The frame types that matter here (RFC 9113 §6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A client that sent more frames than it had earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more frames that are no calls than the connection has earned")]
pub struct Flood;

/// Counts one client's frames, however its bytes are cut.
#[derive(Clone, Debug)]
pub struct FrameGate {
    preface_left: usize,
    /// The head of the frame that is coming, as far as it has come.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Of the frame whose head is whole.
    kind: u8,
    payload_left: usize,
    /// HEADERS came without the end of their block.
    is_block_open: bool,
    /// Parts that have come whole, to tell one that is open from the next.
    parts: u64,
    credit: u64,
    /// Up to when time has been credited.
    credited: Duration,
    /// Bytes written since the last credit for them.
    written: u64,
}

impl Default for FrameGate {
    fn default() -> Self {
        Self {
            preface_left: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_bytes: 0,
            kind: 0,
            payload_left: 0,
            is_block_open: false,
            parts: 0,
            credit: CREDIT_MAX,
            credited: Duration::ZERO,
            written: 0,
        }
    }
}

impl FrameGate {
    /// Takes what the client sent, `elapsed` after the connection began.
    pub fn read(&mut self, mut bytes: &[u8], elapsed: Duration) -> Result<(), Flood> {
        self.credit_time(elapsed);
        if self.preface_left > 0 {
            bytes = skip(bytes, &mut self.preface_left);
            if self.preface_left == 0 {
                self.part_ends();
            }
        }
        while !bytes.is_empty() {
            if self.payload_left == 0 {
                bytes = self.read_head(bytes)?;
            } else {
                bytes = skip(bytes, &mut self.payload_left);
                if self.payload_left == 0 {
                    self.frame_ends();
                }
            }
        }
        Ok(())
    }

    /// Takes how much was written to the client.
    pub fn wrote(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.earn(self.written.checked_div(BYTES_PER_CREDIT).unwrap_or_default());
        self.written = self.written.checked_rem(BYTES_PER_CREDIT).unwrap_or_default();
    }

    /// What has begun and is not whole: the preface, a head's block, or a frame other than DATA, whose pace is its
    /// body's. The same number means the same part.
    pub fn open(&self) -> Option<u64> {
        let is_frame = self.head_bytes > 0 || (self.payload_left > 0 && self.kind != DATA);
        let is_open = self.preface_left > 0 || self.is_block_open || is_frame;
        is_open.then_some(self.parts)
    }

    fn read_head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Flood> {
        let missing = HEAD_BYTES.saturating_sub(self.head_bytes).min(bytes.len());
        let (part, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        for (place, byte) in self.head.iter_mut().skip(self.head_bytes).zip(part) {
            *place = *byte;
        }
        self.head_bytes = self.head_bytes.saturating_add(missing);
        if self.head_bytes == HEAD_BYTES {
            self.head_bytes = 0;
            let [high, middle, low, kind, flags, ..] = self.head;
            self.frame_begins(kind, flags, u32::from_be_bytes([0, high, middle, low]))?;
        }
        Ok(rest)
    }

    fn frame_begins(&mut self, kind: u8, flags: u8, length: u32) -> Result<(), Flood> {
        self.kind = kind;
        self.payload_left = usize::try_from(length).unwrap_or(usize::MAX);
        let is_last = flags & END_STREAM != 0;
        match kind {
            // Bodies have bounds of their own; a piece that holds nothing and ends nothing is no body.
            DATA if length > 0 || is_last => {}
            HEADERS => {
                self.earn(CREDIT_PER_CALL);
                self.is_block_open = flags & END_HEADERS == 0;
            }
            RST_STREAM => self.spend(RESET_COST)?,
            CONTINUATION => {
                self.spend(1)?;
                self.is_block_open &= flags & END_HEADERS == 0;
            }
            _ => self.spend(1)?,
        }
        if self.payload_left == 0 {
            self.frame_ends();
        }
        Ok(())
    }

    fn frame_ends(&mut self) {
        if !self.is_block_open {
            self.part_ends();
        }
    }

    fn part_ends(&mut self) {
        self.parts = self.parts.saturating_add(1);
    }

    fn credit_time(&mut self, elapsed: Duration) {
        let since = elapsed.saturating_sub(self.credited);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let earned = millis.checked_div(MS_PER_CREDIT).unwrap_or_default();
        self.earn(earned);
        let paid = Duration::from_millis(earned.saturating_mul(MS_PER_CREDIT));
        self.credited = self.credited.saturating_add(paid);
    }

    fn earn(&mut self, more: u64) {
        self.credit = self.credit.saturating_add(more).min(CREDIT_MAX);
    }

    fn spend(&mut self, cost: u64) -> Result<(), Flood> {
        self.credit = self.credit.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }
}

/// Takes up to `left` bytes away.
fn skip<'a>(bytes: &'a [u8], left: &mut usize) -> &'a [u8] {
    let count = bytes.len().min(*left);
    *left = left.saturating_sub(count);
    bytes.get(count..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW_UPDATE: u8 = 0x8;
    const PING: u8 = 0x6;
    const S: Duration = Duration::from_secs(1);

    fn begun() -> FrameGate {
        let mut gate = FrameGate::default();
        gate.read(&[0; PREFACE_BYTES], Duration::ZERO).unwrap();
        gate
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [_, high, middle, low] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![0; payload]);
        bytes
    }

    /// How many of these frames pass, at one moment. What is behind the one that does not is never read.
    fn passing(gate: &mut FrameGate, frame: &[u8], at: Duration) -> usize {
        let mut probe = gate.clone();
        let count = (0..100_000).take_while(|_| probe.read(frame, at).is_ok()).count();
        for _ in 0..count {
            gate.read(frame, at).unwrap();
        }
        count
    }

    #[test]
    fn frames_that_are_no_calls_run_out() {
        for (kind, length) in
            [(0x2, 5), (0x4, 0), (PING, 8), (WINDOW_UPDATE, 4), (0xa, 0), (DATA, 0)]
        {
            assert_eq!(passing(&mut begun(), &frame(kind, 0, length), S), 1_000, "{kind:#x}");
        }
        assert_eq!(passing(&mut begun(), &frame(RST_STREAM, 0, 4), S), 200);
        assert_eq!(passing(&mut begun(), &frame(CONTINUATION, 0, 100), S), 1_000);
    }

    #[test]
    fn a_call_that_is_given_up_at_once_costs_more_than_it_earns() {
        let call = [frame(HEADERS, END_HEADERS | END_STREAM, 40), frame(RST_STREAM, 0, 4)].concat();
        assert_eq!(passing(&mut begun(), &call, S), 332);
    }

    #[test]
    fn bodies_cost_nothing_and_calls_earn() {
        let mut gate = begun();
        for length in [1, 100, 16_384] {
            assert_eq!(passing(&mut gate, &frame(DATA, 0, length), S), 100_000);
        }
        let call = [
            frame(HEADERS, END_HEADERS, 40),
            frame(DATA, END_STREAM, 0),
            frame(WINDOW_UPDATE, 0, 4),
        ];
        assert_eq!(passing(&mut gate, &call.concat(), S), 100_000);
    }

    #[test]
    fn a_client_that_takes_much_may_open_its_windows_often() {
        let mut gate = begun();
        let both = frame(WINDOW_UPDATE, 0, 4).repeat(2);
        for _ in 0..100_000 {
            gate.wrote(HEAD_BYTES + 120);
            assert_eq!(gate.read(&both, S), Ok(()));
        }
    }

    #[test]
    fn the_answers_to_a_flood_do_not_pay_for_it() {
        let mut gate = begun();
        let ping = frame(PING, 0, 8);
        let passed = (0..100_000).take_while(|_| {
            gate.wrote(ping.len());
            gate.read(&ping, S).is_ok()
        });
        assert!(passed.count() < 1_500);
    }

    #[test]
    fn time_pays_up_to_a_limit() {
        let mut gate = begun();
        let ping = frame(PING, 0, 8);
        assert_eq!(passing(&mut gate, &ping, S), 1_000);
        assert_eq!(passing(&mut gate, &ping, 2 * S), 100);
        assert_eq!(passing(&mut gate, &ping, 1_000 * S), 1_000);
        // A steady trickle of small steps is credited in full.
        let kept = (1..10_000_u32).all(|step| gate.read(&ping, 1_000 * S + step * S / 60).is_ok());
        assert!(kept);
    }

    #[test]
    fn what_has_begun_is_open_until_it_is_whole() {
        let mut gate = FrameGate::default();
        let preface = gate.open();
        assert!(preface.is_some());
        gate.read(&[0; PREFACE_BYTES], S).unwrap();
        assert_eq!(gate.open(), None);
        // A head in three frames, each of them cut.
        gate.read(&frame(HEADERS, 0, 10)[..5], S).unwrap();
        let block = gate.open();
        assert!(block.is_some() && block != preface);
        for bytes in [
            &frame(HEADERS, 0, 10)[5..],
            &frame(CONTINUATION, 0, 10),
            &frame(CONTINUATION, END_HEADERS, 10)[..12],
        ] {
            gate.read(bytes, S).unwrap();
            assert_eq!(gate.open(), block);
        }
        gate.read(&frame(CONTINUATION, END_HEADERS, 10)[12..], S).unwrap();
        assert_eq!(gate.open(), None);
        gate.read(&frame(DATA, 0, 10)[..12], S).unwrap();
        assert_eq!(gate.open(), None);
    }

    proptest! {
        #[test]
        fn how_frames_are_cut_changes_nothing(
            frames in prop::collection::vec((0..12_u8, any::<u8>(), 0..40_usize), 0..60),
            cuts in prop::collection::vec(1..50_usize, 1..200),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length)).collect();
            let (mut whole, mut cut) = (begun(), begun());
            whole.read(&bytes, S).unwrap();
            let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                cut.read(piece, S).unwrap();
                rest = behind;
            }
            prop_assert_eq!((whole.open(), whole.credit, whole.parts), (cut.open(), cut.credit, cut.parts));
        }
    }
}
