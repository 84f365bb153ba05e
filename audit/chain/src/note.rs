//! C2SP signed notes: a text, a blank line, signatures (<https://c2sp.org/signed-note>).
//!
//! Not here: what the text says (`head`). Invariant: a signature counts only under a key the caller brought; keys
//! and signatures are checked strictly (`verify_strict`, canonical base64, one line per key).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::Hash;

/// The signature type of Ed25519 log keys.
const ED25519: u8 = 1;
/// No checkpoint is longer; more is refused before it is looked at.
const NOTE_MAX: usize = 65_536;
/// The same, of one with a line for each tenant or each life of a gateway.
const TABLE_MAX: usize = 64 * 1_024 * 1_024;

/// Why a key or a note is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a verifier key is not name+hash+base64 of an Ed25519 key")]
    Key,
    #[error("the note is not text, a blank line and signature lines")]
    Malformed,
    #[error("the note bears no signature of the expected key")]
    Unsigned,
    #[error("the signature does not verify")]
    Signature,
}

/// A private Ed25519 key; its bytes are wiped when it goes.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// Takes 32 random bytes, which the caller brings.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    pub(crate) fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }

    /// The verifier key that goes with it, under the name its notes will bear.
    pub fn verifier(&self, name: &str) -> Verifier {
        Verifier::new(name, self.public())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A name and its public key: what signed-note calls a vkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: Box<str>,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Verifier {
    fn new(name: &str, key: VerifyingKey) -> Self {
        Self { name: name.into(), id: key_id(name, ED25519, &key), key }
    }

    /// Reads `name+hash+base64`; the hash must be that of the key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let VkeyParts { name, id, kind, key } = VkeyParts::read(vkey)?;
        let key = strict_key(&key).filter(|_| kind == ED25519).ok_or(NoteError::Key)?;
        let verifier = Self::new(name, key);
        if verifier.id == id { Ok(verifier) } else { Err(NoteError::Key) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether two names stand for one key.
    pub fn has_key_of(&self, other: &Verifier) -> bool {
        self.key == other.key
    }

    fn id_hex(&self) -> String {
        self.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Checks one signature blob (base64 of key id and signature) over `text`.
    pub fn check(&self, text: &str, sig: &str) -> Result<(), NoteError> {
        let bytes = STANDARD.decode(sig).map_err(|_| NoteError::Malformed)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Malformed)?;
        if *id != self.id {
            return Err(NoteError::Unsigned);
        }
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::Malformed)?;
        check_bare(&self.key, text.as_bytes(), &signature)
    }

    /// Checks that this key signed the note, and hands out its text.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        self.open_within(NOTE_MAX, note)
    }

    /// The same of a note with a table in it, out of a file of one's own.
    pub fn open_table<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        self.open_within(TABLE_MAX, note)
    }

    fn open_within<'n>(&self, bytes: usize, note: &'n str) -> Result<&'n str, NoteError> {
        let (text, signatures) = split_within(bytes, note)?;
        let mut found = None;
        for line in signatures.lines() {
            let signature = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed)?;
            let (name, sig) = signature.split_once(' ').ok_or(NoteError::Malformed)?;
            let bytes = STANDARD.decode(sig).map_err(|_| NoteError::Malformed)?;
            if name == self.name() && bytes.starts_with(&self.id) && found.replace(sig).is_some() {
                return Err(NoteError::Malformed);
            }
        }
        self.check(text, found.ok_or(NoteError::Unsigned)?)?;
        Ok(text)
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![ED25519];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.id_hex(), STANDARD.encode(bytes))
    }
}

/// A vkey, taken apart and not yet believed.
pub(crate) struct VkeyParts<'v> {
    pub(crate) name: &'v str,
    pub(crate) id: [u8; 4],
    pub(crate) kind: u8,
    pub(crate) key: [u8; 32],
}

impl<'v> VkeyParts<'v> {
    /// Reads `name+hash+base64`, each in its one spelling.
    pub(crate) fn read(vkey: &'v str) -> Result<Self, NoteError> {
        let mut parts = vkey.splitn(3, '+');
        let (name, id, key) = (parts.next(), parts.next(), parts.next());
        let (Some(name), Some(id_hex), Some(key)) = (name, id, key) else {
            return Err(NoteError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (kind, key) = bytes.split_first().ok_or(NoteError::Key)?;
        let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key)?;
        let id = u32::from_str_radix(id_hex, 16).map_err(|_| NoteError::Key)?;
        let is_exact = format!("{id:08x}") == id_hex;
        let is_named = !name.is_empty() && !name.contains(char::is_whitespace);
        let parts = Self { name, id: id.to_be_bytes(), kind: *kind, key };
        if is_exact && is_named { Ok(parts) } else { Err(NoteError::Key) }
    }
}

/// The first four bytes of a hash over name, kind and key.
pub(crate) fn key_id(name: &str, kind: u8, key: &VerifyingKey) -> [u8; 4] {
    let mut text = name.as_bytes().to_vec();
    text.extend_from_slice(&[b'\n', kind]);
    text.extend_from_slice(key.as_bytes());
    let [a, b, c, d, ..] = *Hash::of(&text).as_bytes();
    [a, b, c, d]
}

/// A key of full order in its one encoding, so that two names never stand for one key.
pub(crate) fn strict_key(bytes: &[u8; 32]) -> Option<VerifyingKey> {
    let key = VerifyingKey::from_bytes(bytes).ok()?;
    let canonical = key.to_edwards().compress().to_bytes() == *bytes;
    (canonical && !key.is_weak()).then_some(key)
}

/// The only place in this crate where a signature is checked, and as strictly as `identity` checks its own.
pub(crate) fn check_bare(
    key: &VerifyingKey,
    message: &[u8],
    signature: &Signature,
) -> Result<(), NoteError> {
    key.verify_strict(message, signature).map_err(|_| NoteError::Signature)
}

/// A private key under a name: signs notes.
#[derive(Clone, Debug)]
pub struct Signer {
    key: SecretKey,
    verifier: Verifier,
}

impl Signer {
    pub fn new(name: &str, key: SecretKey) -> Self {
        Self { verifier: key.verifier(name), key }
    }

    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signature blob over `text`: base64 of key id and signature.
    pub fn sign(&self, text: &str) -> String {
        let mut bytes = self.verifier.id.to_vec();
        bytes.extend_from_slice(&self.key.0.sign(text.as_bytes()).to_bytes());
        STANDARD.encode(bytes)
    }

    /// The note of `text`, which must end in a newline.
    pub fn note(&self, text: &str) -> String {
        assemble(text, self.verifier.name(), &self.sign(text))
    }
}

/// Puts a note together from a text and a signature blob made earlier.
pub fn assemble(text: &str, name: &str, sig: &str) -> String {
    format!("{text}\n\u{2014} {name} {sig}\n")
}

/// The text of a note and its signature lines, none of them checked.
pub fn split(note: &str) -> Result<(&str, &str), NoteError> {
    split_within(NOTE_MAX, note)
}

fn split_within(bytes: usize, note: &str) -> Result<(&str, &str), NoteError> {
    let odd = |letter: char| letter.is_control() && letter != '\n';
    if note.len() > bytes || note.contains(odd) {
        return Err(NoteError::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
    let (text, signatures) = note.split_at(at.saturating_add(1));
    let signatures = signatures.strip_prefix('\n').unwrap_or_default();
    let whole = signatures.ends_with('\n') && !signatures.is_empty();
    if whole { Ok((text, signatures)) } else { Err(NoteError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of golang.org/x/mod/sumdb/note, whose keys and note are public.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn a_note_of_the_go_reference_implementation_opens() {
        let peter = Verifier::parse(PETER).unwrap();
        assert!(peter.open(NOTE).unwrap().starts_with("If you think"));
        assert_eq!(peter.to_string(), PETER);
        assert_eq!(peter.open(&NOTE.replace("think", "thank")), Err(NoteError::Signature));
    }

    #[test]
    fn a_signature_counts_only_under_the_key_the_caller_brought() {
        let signer = Signer::new("log", SecretKey::from_seed(&[1; 32]));
        let other = Signer::new("log", SecretKey::from_seed(&[2; 32]));
        let note = signer.note("text\n");
        assert_eq!(signer.verifier().open(&note), Ok("text\n"));
        assert_eq!(other.verifier().open(&note), Err(NoteError::Unsigned));
        let twice = format!("{note}{}\n", note.lines().last().unwrap());
        assert_eq!(signer.verifier().open(&twice), Err(NoteError::Malformed));
        assert_eq!(signer.verifier().open("text\n"), Err(NoteError::Malformed));
    }

    #[test]
    fn a_key_whose_hash_or_form_is_off_is_refused() {
        let wrong_id = PETER.replace("c74f20a3", "c74f20a4");
        let small_order = format!("x+00000000+{}", STANDARD.encode([&[1][..], &[0; 32]].concat()));
        for bad in ["", "a+b", wrong_id.as_str(), &small_order, &PETER.replace("TW", "TX=")] {
            assert_eq!(Verifier::parse(bad), Err(NoteError::Key), "{bad}");
        }
    }

    #[test]
    fn a_key_has_one_encoding() {
        // y = p + 3 names the point that y = 3 names (RFC 8032 §5.1.3 refuses it).
        let mut bytes = [0xff; 32];
        (bytes[0], bytes[31]) = (0xf0, 0x7f);
        assert!(VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak()));
        assert_eq!(strict_key(&bytes), None);
        bytes = [0; 32];
        bytes[0] = 3;
        assert!(strict_key(&bytes).is_some());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the corpora are files, and this is a test")]
    #[expect(clippy::print_stderr, reason = "a skipped test says so, and the others their counts")]
    fn ed25519_speccheck_is_answered_like_dalek_strict() {
        use std::path::PathBuf;
        let beside =
            || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpora"));
        let corpora = std::env::var_os("AEGIS_CORPORA").map_or_else(beside, PathBuf::from);
        let corpora = corpora.join("ed25519-speccheck");
        let read = |name: &str| std::fs::read_to_string(corpora.join(name)).ok();
        let (Some(cases), Some(results)) = (read("cases.json"), read("results.md")) else {
            eprintln!("skipped: corpora absent (ed25519-speccheck)");
            return;
        };
        let cases: Vec<serde_json::Value> = serde_json::from_str(&cases).unwrap();
        let row = results.lines().find(|line| line.contains("Dalek strict")).unwrap();
        let expected: Vec<_> = row.split('|').skip(2).map(|cell| cell.trim() == "V").collect();
        let verdicts: Vec<_> = cases.iter().map(speccheck).collect();
        assert_eq!(verdicts.len(), 12);
        assert_eq!(verdicts, expected[..12]);
        eprintln!("ed25519-speccheck: 12 cases answered like Dalek strict");
    }

    fn speccheck(case: &serde_json::Value) -> bool {
        let bytes = |name: &str| -> Vec<u8> {
            let text = case[name].as_str().unwrap();
            let digits = (0..text.len()).step_by(2);
            digits.map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = strict_key(&bytes("pub_key").try_into().unwrap());
        let signature = Signature::from_slice(&bytes("signature")).unwrap();
        key.is_some_and(|key| check_bare(&key, &bytes("message"), &signature).is_ok())
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_fail(note in "\\PC{0,40}\n{0,2}(\u{2014} PeterNeumann [A-Za-z0-9+/=]{0,40}\n)?") {
            let _result = Verifier::parse(PETER).unwrap().open(&note);
            let _result = Verifier::parse(&note);
        }
    }
}
