//! Cosignatures: what a witness says of a head it has seen, and when (<https://c2sp.org/tlog-cosignature>, Ed25519 form).
//!
//! Not here: which witnesses count (`trust`), and asking them (`audit/witness`). Invariant: a cosignature counts only under a
//! key the caller brought, and says no more than "this head extends all I saw of this log, up to that second".

use std::fmt;

use aegis_domain::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};

use crate::note::{NoteError, SecretKey, VkeyParts, check_bare, key_id, strict_key};

/// The signature type of Ed25519 cosignatures.
pub(crate) const COSIGNATURE: u8 = 4;

/// A witness' name and public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: Box<str>,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Witness {
    /// Reads a vkey of type 0x04.
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let VkeyParts { name, id, kind, key } = VkeyParts::read(vkey)?;
        let key = strict_key(&key).filter(|_| kind == COSIGNATURE).ok_or(NoteError::Key)?;
        let witness = Self { name: name.into(), id: key_id(name, COSIGNATURE, &key), key };
        if witness.id == id { Ok(witness) } else { Err(NoteError::Key) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether two witnesses are one, whatever they are called.
    pub fn has_key_of(&self, other: &Witness) -> bool {
        self.key == other.key
    }

    /// When this witness cosigned the text, by the signature lines of a note or of a witness' answer; `None` where none of
    /// them is by this key. Of several the latest counts; one that does not hold is an error, not passed over.
    pub fn cosigned_at(&self, text: &str, lines: &str) -> Result<Option<Timestamp>, NoteError> {
        let mut latest = None;
        for line in lines.lines() {
            let line = line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed)?;
            let (name, sig) = line.split_once(' ').ok_or(NoteError::Malformed)?;
            let bytes = STANDARD.decode(sig).map_err(|_| NoteError::Malformed)?;
            if name == self.name() && bytes.starts_with(&self.id) {
                latest = latest.max(Some(self.check(text, &bytes)?));
            }
        }
        Ok(latest)
    }

    fn check(&self, text: &str, blob: &[u8]) -> Result<Timestamp, NoteError> {
        let timed = blob.strip_prefix(&self.id).ok_or(NoteError::Malformed)?;
        let (time, signature) = timed.split_first_chunk::<8>().ok_or(NoteError::Malformed)?;
        let time = u64::from_be_bytes(*time);
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::Malformed)?;
        check_bare(&self.key, signed(time, text).as_bytes(), &signature)?;
        Ok(Timestamp::from_unix_s(time))
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = STANDARD.encode([&[COSIGNATURE][..], self.key.as_bytes()].concat());
        write!(f, "{}+{id}+{key}", self.name)
    }
}

/// A witness that can cosign.
#[derive(Clone, Debug)]
pub struct Cosigner {
    witness: Witness,
    key: SecretKey,
}

impl Cosigner {
    /// The name should be a URL without its scheme; a vkey has no room for white space or `+` in it.
    pub fn new(name: &str, key: SecretKey) -> Result<Self, NoteError> {
        if name.is_empty() || name.contains(|letter: char| letter.is_whitespace() || letter == '+')
        {
            return Err(NoteError::Key);
        }
        let public = key.public();
        let id = key_id(name, COSIGNATURE, &public);
        Ok(Self { witness: Witness { name: name.into(), id, key: public }, key })
    }

    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// The line that says of a head: at this time it was the largest I had seen of its log.
    pub fn line(&self, head: &str, at: Timestamp) -> String {
        let time = at.unix_s();
        let signature = self.key.sign(signed(time, head).as_bytes());
        let Witness { name, id, .. } = &self.witness;
        let blob = [&id[..], &time.to_be_bytes(), &signature].concat();
        format!("\u{2014} {name} {}\n", STANDARD.encode(blob))
    }
}

/// What a witness signs.
fn signed(unix_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {unix_s}\n{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "d/r/registry/1\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    fn cosigner(seed: u8, name: &str) -> Cosigner {
        Cosigner::new(name, SecretKey::from_seed(&[seed; 32])).unwrap()
    }

    fn s(unix_s: u64) -> Timestamp {
        Timestamp::from_unix_s(unix_s)
    }

    #[test]
    fn a_cosignature_counts_under_its_key_for_its_text_and_tells_when() {
        let (one, other) = (cosigner(1, "w.example/1"), cosigner(2, "w.example/2"));
        let lines = one.line(TEXT, s(100)) + &other.line(TEXT, s(300)) + &one.line(TEXT, s(200));
        let at = |unix_s| Ok(Some(s(unix_s)));
        assert_eq!(one.witness().cosigned_at(TEXT, &lines), at(200));
        assert_eq!(other.witness().cosigned_at(TEXT, &lines), at(300));
        assert_eq!(cosigner(3, "w.example/1").witness().cosigned_at(TEXT, &lines), Ok(None));
        let changed = TEXT.replace('7', "8");
        assert_eq!(one.witness().cosigned_at(&changed, &lines), Err(NoteError::Signature));
        assert_eq!(one.witness().cosigned_at(TEXT, "no line\n"), Err(NoteError::Malformed));
    }

    #[test]
    fn the_time_is_part_of_what_is_signed() {
        let one = cosigner(1, "w.example/1");
        let line = one.line(TEXT, s(100));
        let blob = STANDARD.decode(line.trim_end().rsplit(' ').next().unwrap()).unwrap();
        let mut later = blob.clone();
        later[11] = 101;
        let line = format!("\u{2014} w.example/1 {}\n", STANDARD.encode(later));
        assert_eq!(one.witness().cosigned_at(TEXT, &line), Err(NoteError::Signature));
        let cut = format!("\u{2014} w.example/1 {}\n", STANDARD.encode(&blob[..8]));
        assert_eq!(one.witness().cosigned_at(TEXT, &cut), Err(NoteError::Malformed));
    }

    #[test]
    fn a_witness_key_is_one_of_its_kind() {
        let one = cosigner(1, "w.example/1");
        assert_eq!(Witness::parse(&one.witness().to_string()).as_ref(), Ok(one.witness()));
        let log = crate::note::SecretKey::from_seed(&[1; 32]).verifier("w.example/1").to_string();
        assert_eq!(Witness::parse(&log), Err(NoteError::Key));
        assert_eq!(Witness::parse("x+00000000+"), Err(NoteError::Key));
        for name in ["", "a b", "a+b"] {
            assert!(Cosigner::new(name, SecretKey::from_seed(&[1; 32])).is_err(), "{name}");
        }
    }
}
