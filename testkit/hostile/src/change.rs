//! One change to an artefact, of the sorts that readers get wrong: bits, lengths, numbers, lines, encodings.
//!
//! Not here: which artefacts, and what follows (`attack`). Invariant: a change of any bytes gives bytes, and no more than a few
//! megabytes of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// No change makes an artefact longer than this.
const BYTES_MAX: usize = 4 << 20;

/// Numbers about which types, formats and arithmetic change their minds.
const NUMBERS: [&str; 24] = [
    "0",
    "1",
    "2",
    "63",
    "64",
    "65",
    "255",
    "65535",
    "65536",
    "65537",
    "2147483647",
    "2147483648",
    "4294967295",
    "4294967296",
    "9007199254740992",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "+1",
    "-1",
    "007",
    "",
];

/// Pieces of the grammars that are attacked, and letters that texts are split and trimmed at.
const PIECES: [&str; 36] = [
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    "\0",
    " ",
    "  ",
    "\t",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{1b}[2J",
    "\u{2014} ",
    "\u{2014}",
    "=",
    "==",
    "+",
    "/",
    "-",
    "_",
    "#",
    "{",
    "}",
    "[",
    "]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    ",",
    ":",
    "null",
    "1e999",
    "\"a\":1,\"a\":2",
    "quorum none\n",
];

/// Lengths and counts as binary formats have them.
const WORDS: [u64; 14] = [
    0,
    1,
    0x7f,
    0xff,
    0x4000,
    0x4001,
    0xffff,
    0x1_0000,
    0x1_0001,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 63,
    u64::MAX,
];

#[derive(Clone, Debug)]
pub enum Change {
    Flip {
        at: Index,
        bit: u8,
    },
    /// Puts a piece in, over some bytes.
    Put {
        at: Index,
        piece: &'static str,
        over: usize,
    },
    Bytes {
        at: Index,
        bytes: Vec<u8>,
    },
    Cut {
        at: Index,
        length: usize,
    },
    Truncate {
        at: Index,
    },
    Repeat {
        at: Index,
        length: usize,
        times: usize,
    },
    /// Replaces one of the decimal numbers.
    Number {
        nth: Index,
        with: &'static str,
    },
    /// Overwrites two, four or eight bytes with a big-endian number.
    Word {
        at: Index,
        width: usize,
        value: u64,
    },
    DropLine {
        nth: Index,
    },
    RepeatLine {
        nth: Index,
        times: usize,
    },
    SwapLines {
        nth: Index,
        other: Index,
    },
    /// Replaces one base64 text by another spelling, or by one of other bytes.
    Base64 {
        nth: Index,
        how: Spelling,
    },
    /// Replaces the rest by the rest of another artefact.
    Splice {
        at: Index,
        other: Index,
        from: Index,
    },
}

/// How a base64 text is spelled anew.
#[derive(Clone, Copy, Debug)]
pub enum Spelling {
    Unpadded,
    Padded,
    /// Of the URL's alphabet, or back.
    OtherAlphabet,
    /// With bits set that stand for nothing.
    Loose,
    Flipped(usize),
    Longer,
    Shorter,
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    let few = || prop_oneof![4 => 1_usize..9, 2 => 9_usize..100, 1 => 100_usize..5_000];
    prop_oneof![
        3 => (index(), 0..8_u8).prop_map(|(at, bit)| Change::Flip { at, bit }),
        4 => (index(), select(&PIECES[..]), 0..3_usize)
            .prop_map(|(at, piece, over)| Change::Put { at, piece, over }),
        1 => (index(), any::<Vec<u8>>()).prop_map(|(at, bytes)| Change::Bytes { at, bytes }),
        2 => (index(), few()).prop_map(|(at, length)| Change::Cut { at, length }),
        1 => index().prop_map(|at| Change::Truncate { at }),
        2 => (index(), few(), few())
            .prop_map(|(at, length, times)| Change::Repeat { at, length, times }),
        4 => (index(), select(&NUMBERS[..])).prop_map(|(nth, with)| Change::Number { nth, with }),
        3 => (index(), select(&[2, 4, 8][..]), select(&WORDS[..]))
            .prop_map(|(at, width, value)| Change::Word { at, width, value }),
        1 => index().prop_map(|nth| Change::DropLine { nth }),
        2 => (index(), few()).prop_map(|(nth, times)| Change::RepeatLine { nth, times }),
        1 => (index(), index()).prop_map(|(nth, other)| Change::SwapLines { nth, other }),
        3 => (index(), spelling()).prop_map(|(nth, how)| Change::Base64 { nth, how }),
        1 => (index(), index(), index())
            .prop_map(|(at, other, from)| Change::Splice { at, other, from }),
    ]
}

fn spelling() -> impl Strategy<Value = Spelling> {
    prop_oneof![
        Just(Spelling::Unpadded),
        Just(Spelling::Padded),
        Just(Spelling::OtherAlphabet),
        Just(Spelling::Loose),
        (0..4_096_usize).prop_map(Spelling::Flipped),
        Just(Spelling::Longer),
        Just(Spelling::Shorter),
    ]
}

impl Change {
    /// Makes the change, where there is something to change.
    pub fn apply(&self, bytes: &mut Vec<u8>, artefacts: &[Vec<u8>]) {
        match self {
            Self::Flip { at, bit } => {
                let at = place(at, bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Put { at, piece, over } => {
                replace(bytes, (place(at, bytes.len()), *over), piece.as_bytes());
            }
            Self::Bytes { at, bytes: others } => {
                replace(bytes, (place(at, bytes.len()), others.len()), others);
            }
            Self::Cut { at, length } => replace(bytes, (place(at, bytes.len()), *length), &[]),
            Self::Truncate { at } => bytes.truncate(place(at, bytes.len())),
            Self::Repeat { at, length, times } => {
                let at = place(at, bytes.len());
                let piece: Vec<u8> = bytes.iter().skip(at).take(*length).copied().collect();
                replace(bytes, (at, 0), &repeated(&piece, *times));
            }
            Self::Number { nth, with } => {
                if let Some(number) = pick(nth, &runs(bytes, 1, u8::is_ascii_digit)) {
                    replace(bytes, number, with.as_bytes());
                }
            }
            Self::Word { at, width, value } => {
                let word = value.to_be_bytes();
                let low = word.get(word.len().saturating_sub(*width)..).unwrap_or_default();
                replace(bytes, (place(at, bytes.len()), *width), low);
            }
            Self::DropLine { .. } | Self::RepeatLine { .. } | Self::SwapLines { .. } => {
                self.apply_to_lines(bytes);
            }
            Self::Base64 { nth, how } => {
                if let Some((at, length)) = pick(nth, &runs(bytes, 20, is_base64)) {
                    let text: Vec<u8> = bytes.iter().skip(at).take(length).copied().collect();
                    replace(bytes, (at, length), &how.spell(text));
                }
            }
            Self::Splice { at, other, from } => {
                let other = artefacts.get(place(other, artefacts.len()));
                let other = other.map_or(&[][..], Vec::as_slice);
                bytes.truncate(place(at, bytes.len()));
                bytes.extend(other.iter().skip(place(from, other.len())));
            }
        }
    }

    fn apply_to_lines(&self, bytes: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let count = lines.len();
        match self {
            Self::DropLine { nth } if count > 0 => drop(lines.remove(place(nth, count))),
            Self::RepeatLine { nth, times } => {
                if let Some(line) = lines.get_mut(place(nth, count)) {
                    *line = repeated(line, *times);
                }
            }
            Self::SwapLines { nth, other } if count > 0 => {
                lines.swap(place(nth, count), place(other, count));
            }
            _ => {}
        }
        *bytes = lines.concat();
    }
}

impl Spelling {
    fn spell(self, mut text: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Unpadded => text.retain(|byte| *byte != b'='),
            Self::Padded => text.push(b'='),
            Self::OtherAlphabet => {
                for byte in &mut text {
                    *byte = match *byte {
                        b'+' => b'-',
                        b'/' => b'_',
                        b'-' => b'+',
                        b'_' => b'/',
                        same => same,
                    };
                }
            }
            Self::Loose => {
                let letters = text.iter().rposition(|byte| *byte != b'=');
                if let Some(last) = letters.and_then(|at| text.get_mut(at)) {
                    *last = last.saturating_add(1);
                }
            }
            Self::Flipped(bit) => {
                return recoded(text, |bytes| {
                    let at = bit / 8 % bytes.len().max(1);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << (bit % 8);
                    }
                });
            }
            Self::Longer => return recoded(text, |bytes| bytes.push(0)),
            Self::Shorter => return recoded(text, |bytes| bytes.truncate(bytes.len() / 2)),
        }
        text
    }
}

/// The text of other bytes, where it is one.
fn recoded(text: Vec<u8>, edit: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let Ok(mut bytes) = STANDARD.decode(&text) else { return text };
    edit(&mut bytes);
    STANDARD.encode(bytes).into_bytes()
}

fn is_base64(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(byte)
}

/// A place in something of that length; 0 where it is empty.
fn place(index: &Index, length: usize) -> usize {
    if length == 0 { 0 } else { index.index(length) }
}

fn pick(index: &Index, runs: &[(usize, usize)]) -> Option<(usize, usize)> {
    runs.get(place(index, runs.len())).copied()
}

/// Where bytes of one sort stand together, `least` or more of them, and how many.
fn runs(bytes: &[u8], least: usize, is_one: impl Fn(&u8) -> bool) -> Vec<(usize, usize)> {
    let (mut runs, mut at) = (Vec::new(), 0_usize);
    for run in bytes.chunk_by(|a, b| is_one(a) == is_one(b)) {
        if run.len() >= least && run.first().is_some_and(&is_one) {
            runs.push((at, run.len()));
        }
        at = at.saturating_add(run.len());
    }
    runs
}

fn replace(bytes: &mut Vec<u8>, (at, length): (usize, usize), with: &[u8]) {
    let at = at.min(bytes.len());
    let end = at.saturating_add(length).min(bytes.len());
    bytes.splice(at..end, with.iter().copied());
    bytes.truncate(BYTES_MAX);
}

fn repeated(piece: &[u8], times: usize) -> Vec<u8> {
    let most = BYTES_MAX.checked_div(piece.len()).unwrap_or(0);
    piece.repeat(times.min(most))
}
