//! Finds runs of base64 and hex in a text, decodes them, and encodes them again the same way.
//!
//! Not here: what is inside (`inspect`). Invariant: a run that is encoded again keeps its alphabet, its case
//! and whether it was padded.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::DlpError;
use crate::inflate::{gunzip, unzlib};

/// The shortest run looked at: an SSN, eleven characters, is 15 of base64 without padding.
pub(crate) const RUN_MIN: usize = 15;

/// The shortest run of hex looked at.
const HEX_MIN: usize = 16;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD_BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const URL_SAFE_BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const UNPADDED: GeneralPurposeConfig = LENIENT.with_encode_padding(false);
const STANDARD_UNPADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, UNPADDED);
const URL_SAFE_UNPADDED: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, UNPADDED);

/// How a run was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    HexLower,
    HexUpper,
    Standard,
    StandardUnpadded,
    UrlSafe,
    UrlSafeUnpadded,
}

/// A decoded run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) span: Range<usize>,
    pub(crate) code: Code,
    pub(crate) content: Vec<u8>,
}

impl Run {
    /// `content` in the code of this run.
    pub(crate) fn encode(&self, content: &[u8]) -> String {
        match self.code {
            Code::HexLower => content.iter().map(|byte| format!("{byte:02x}")).collect(),
            Code::HexUpper => content.iter().map(|byte| format!("{byte:02X}")).collect(),
            Code::Standard => STANDARD_BASE64.encode(content),
            Code::StandardUnpadded => STANDARD_UNPADDED.encode(content),
            Code::UrlSafe => URL_SAFE_BASE64.encode(content),
            Code::UrlSafeUnpadded => URL_SAFE_UNPADDED.encode(content),
        }
    }
}

/// Every run of `text` that decodes to something worth a look.
pub(crate) fn runs(text: &str) -> Vec<Run> {
    let bytes = text.as_bytes();
    let (mut found, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let end = run_end(bytes, at);
        if end.saturating_sub(at) >= RUN_MIN {
            decode_run(text, at..end, &mut found);
        }
        at = end.saturating_add(1);
    }
    found
}

/// The end of the run that starts at `start`; a line break inside is taken for MIME wrapping (RFC 2045 §6.8).
fn run_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut line) = (start, start);
    loop {
        match bytes.get(at) {
            Some(byte) if is_base64(*byte) => at += 1,
            Some(b'\r' | b'\n') if is_wrap(bytes, line, at) => {
                at += bytes.get(at..).map_or(1, |rest| 1 + usize::from(rest.starts_with(b"\r\n")));
                line = at;
            }
            _ => break,
        }
    }
    let padding = bytes.get(at..).unwrap_or_default().iter().take(2);
    at.saturating_add(padding.take_while(|byte| **byte == b'=').count())
}

fn is_wrap(bytes: &[u8], line: usize, at: usize) -> bool {
    let length = at.saturating_sub(line);
    let after = bytes.get(at..).unwrap_or_default();
    let next = after.iter().find(|byte| !matches!(byte, b'\r' | b'\n'));
    length >= 16 && length.is_multiple_of(4) && next.is_some_and(|byte| is_base64(*byte))
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Decodes the run and, unless it is plainly one text, its pieces between `/`, `+`, `-` and `_`: these are
/// often only separators, as in a path.
fn decode_run(text: &str, span: Range<usize>, found: &mut Vec<Run>) {
    let run = text.get(span.clone()).unwrap_or_default();
    if let Some((code, content)) = decode(run) {
        let is_one_text = std::str::from_utf8(&content).is_ok() || is_compressed(&content);
        found.push(Run { span: span.clone(), code, content });
        if is_one_text {
            return;
        }
    }
    let mut at = span.start;
    for piece in run.split(['/', '+', '-', '_']) {
        let end = at.saturating_add(piece.len());
        if piece.len() >= RUN_MIN
            && piece.len() < run.len()
            && let Some((code, content)) = decode(piece)
        {
            found.push(Run { span: at..end, code, content });
        }
        at = end.saturating_add(1);
    }
}

fn decode(run: &str) -> Option<(Code, Vec<u8>)> {
    decode_hex(run).or_else(|| decode_base64(run)).filter(|(_, content)| is_worth_a_look(content))
}

fn decode_hex(run: &str) -> Option<(Code, Vec<u8>)> {
    let is_hex = run.len() >= HEX_MIN
        && run.len().is_multiple_of(2)
        && run.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return None;
    }
    let pair =
        |pair: &[u8]| crate::json::hex_value(pair).and_then(|value| u8::try_from(value).ok());
    let content = run.as_bytes().chunks_exact(2).map(pair).collect::<Option<Vec<u8>>>()?;
    let is_upper = run.bytes().any(|byte| byte.is_ascii_uppercase());
    is_worth_a_look(&content)
        .then_some((if is_upper { Code::HexUpper } else { Code::HexLower }, content))
}

fn decode_base64(run: &str) -> Option<(Code, Vec<u8>)> {
    let is_url_safe = run.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let is_padded = run.ends_with('=') || (!is_url_safe && run.len().is_multiple_of(4));
    let symbols: Vec<u8> =
        run.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n' | b'=')).collect();
    // One symbol too many encodes nothing; decoders that are lenient drop it, so this one does too.
    let surplus = usize::from(symbols.len() % 4 == 1);
    let symbols = symbols.get(..symbols.len().saturating_sub(surplus))?;
    let engine = if is_url_safe { URL_SAFE_BASE64 } else { STANDARD_BASE64 };
    let code = match (is_url_safe, is_padded) {
        (true, true) => Code::UrlSafe,
        (true, false) => Code::UrlSafeUnpadded,
        (false, true) => Code::Standard,
        (false, false) => Code::StandardUnpadded,
    };
    Some((code, engine.decode(symbols).ok()?))
}

/// Compressed data, or bytes of which at least half are printable; random bytes have 37 %.
fn is_worth_a_look(content: &[u8]) -> bool {
    let printable =
        content.iter().filter(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    is_compressed(content)
        || printable.count().saturating_mul(2) >= content.len()
        || std::str::from_utf8(content).is_ok()
}

fn is_compressed(content: &[u8]) -> bool {
    matches!(content, [0x1f, 0x8b, ..] | [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..])
}

/// What a gzip or zlib stream holds, also if it is damaged further on; `None` for other bytes.
pub(crate) fn inflated(content: &[u8], limit: usize) -> Option<(Vec<u8>, Result<(), DlpError>)> {
    let mut inside = Vec::new();
    let outcome = match content {
        [0x1f, 0x8b, ..] => gunzip(content, limit, &mut inside),
        _ if is_compressed(content) => unzlib(content, limit, &mut inside),
        _ => return None,
    };
    Some((inside, outcome))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;
    use proptest::prelude::*;

    use super::*;

    fn contents(text: &str) -> Vec<String> {
        runs(text).into_iter().filter_map(|run| String::from_utf8(run.content).ok()).collect()
    }

    #[test]
    fn runs_are_found_in_either_alphabet_padded_or_not() {
        let secret = "My SSN is 460-89-9847>>??";
        for code in [
            general_purpose::STANDARD.encode(secret),
            general_purpose::STANDARD_NO_PAD.encode(secret),
            general_purpose::URL_SAFE.encode(secret),
            general_purpose::URL_SAFE_NO_PAD.encode(secret),
        ] {
            assert_eq!(contents(&format!("see \"{code}\".")), [secret], "{code}");
        }
    }

    #[test]
    fn a_run_behind_a_path_or_over_several_lines_is_found() {
        let code = general_purpose::STANDARD.encode("460-89-9847 is the number of the person");
        assert_eq!(contents(&format!("/api/v1/{code}")).len(), 1);
        let (head, tail) = code.split_at(20);
        assert_eq!(contents(&format!("{head}\r\n{tail}")).len(), 1);
    }

    #[test]
    fn hex_is_decoded_and_digests_are_not() {
        assert_eq!(contents("3436302d38392d39383437"), ["460-89-9847"]);
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(runs(digest), []);
    }

    proptest! {
        #[test]
        fn a_run_is_encoded_again_as_it_was(content in "[ -~]{12,40}") {
            let plain = content.as_bytes();
            for code in [
                general_purpose::STANDARD.encode(plain),
                general_purpose::URL_SAFE_NO_PAD.encode(plain),
            ] {
                for run in runs(&code).into_iter().filter(|run| run.span == (0..code.len())) {
                    if run.content == plain && code.len() % 4 != 0 {
                        prop_assert_eq!(&run.encode(plain), &code);
                    }
                }
            }
        }
    }
}
