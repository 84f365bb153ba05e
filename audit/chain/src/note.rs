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

    /// The verifier key that goes with it, under the name its notes will bear.
    pub fn verifier(&self, name: &str) -> Verifier {
        Verifier::new(name, self.0.verifying_key())
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
        let mut text = name.as_bytes().to_vec();
        text.extend_from_slice(&[b'\n', ED25519]);
        text.extend_from_slice(key.as_bytes());
        let [a, b, c, d, ..] = *Hash::of(&text).as_bytes();
        Self { name: name.into(), id: [a, b, c, d], key }
    }

    /// Reads `name+hash+base64`; the hash must be that of the key.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let mut parts = vkey.splitn(3, '+');
        let (name, id, key) = (parts.next(), parts.next(), parts.next());
        let (Some(name), Some(id), Some(key)) = (name, id, key) else { return Err(NoteError::Key) };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (kind, key) = bytes.split_first().ok_or(NoteError::Key)?;
        let key = <[u8; 32]>::try_from(key).map_err(|_| NoteError::Key)?;
        let key = VerifyingKey::from_bytes(&key).map_err(|_| NoteError::Key)?;
        let named = !name.is_empty() && !name.contains(char::is_whitespace);
        if *kind != ED25519 || !named || key.is_weak() {
            return Err(NoteError::Key);
        }
        let verifier = Self::new(name, key);
        if verifier.id_hex() == id { Ok(verifier) } else { Err(NoteError::Key) }
    }

    pub fn name(&self) -> &str {
        &self.name
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
        self.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::Signature)
    }

    /// Checks that this key signed the note, and hands out its text.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteError> {
        let (text, signatures) = split(note)?;
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

fn split(note: &str) -> Result<(&str, &str), NoteError> {
    let odd = |letter: char| letter.is_control() && letter != '\n';
    if note.len() > NOTE_MAX || note.contains(odd) {
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

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_fail(note in "\\PC{0,40}\n{0,2}(\u{2014} PeterNeumann [A-Za-z0-9+/=]{0,40}\n)?") {
            let _result = Verifier::parse(PETER).unwrap().open(&note);
            let _result = Verifier::parse(&note);
        }
    }
}
