//! Heads: how far a stream reaches and the root over it, as a C2SP checkpoint (<https://c2sp.org/tlog-checkpoint>).
//!
//! Not here: signatures in general (`note`). Invariant: a checkpoint has three lines and no extension, so every
//! kind of cosignature can cover it.

use crate::note::{NoteError, Signer, Verifier, assemble};
use crate::{Hash, Origin};

/// The size and root of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub origin: Origin,
    pub size: u64,
    pub root: Hash,
}

impl Head {
    /// The text that is signed.
    pub fn checkpoint(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root.standard())
    }

    /// The head as a signed note.
    pub fn note(&self, signer: &Signer) -> String {
        signer.note(&self.checkpoint())
    }

    /// The note, from a signature that stands in a record.
    pub fn note_with(&self, sig: &str) -> String {
        assemble(&self.checkpoint(), self.origin.as_str(), sig)
    }

    /// Reads a signed note under a key the caller brings; its name must be the origin's.
    pub fn open(note: &str, verifier: &Verifier) -> Result<Self, NoteError> {
        let head = Self::parse(verifier.open(note)?).ok_or(NoteError::Malformed)?;
        if head.origin.as_str() == verifier.name() { Ok(head) } else { Err(NoteError::Malformed) }
    }

    /// The same of a stream whose own key is gone: under the key of the region that found its end.
    pub fn open_of(origin: &Origin, note: &str, region: &Verifier) -> Result<Self, NoteError> {
        let head = Self::parse(region.open(note)?).ok_or(NoteError::Malformed)?;
        if head.origin == *origin { Ok(head) } else { Err(NoteError::Malformed) }
    }

    /// Reads a checkpoint's text, exactly.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.split('\n');
        let head = Self {
            origin: Origin::parse(lines.next()?).ok()?,
            size: lines.next()?.parse().ok()?,
            root: Hash::parse_standard(lines.next()?)?,
        };
        (head.checkpoint() == text).then_some(head)
    }
}

/// The signed birth note of a stream: its name and key, under the region key.
pub fn birth_note(stream: &Verifier, region: &Signer) -> String {
    region.note(&birth_text(stream))
}

/// The text of that note.
pub fn birth_text(stream: &Verifier) -> String {
    format!("aegis.dev/audit/genesis@v1\n{}\n{stream}\n", stream.name())
}

/// The stream key that such a text names.
pub fn born_stream(text: &str) -> Option<Verifier> {
    let stream = Verifier::parse(text.lines().nth(2)?).ok()?;
    (birth_text(&stream) == text).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::SecretKey;

    #[test]
    fn a_head_is_a_checkpoint_and_nothing_else() {
        let origin = Origin::parse("d/r/gw-1/3").unwrap();
        let signer = Signer::new(origin.as_str(), SecretKey::from_seed(&[1; 32]));
        let head = Head { origin, size: 7, root: Hash::leaf(b"") };
        assert_eq!(
            head.checkpoint(),
            "d/r/gw-1/3\n7\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n"
        );
        assert_eq!(Head::open(&head.note(&signer), signer.verifier()), Ok(head.clone()));
        for bad in [head.checkpoint().replace('7', "07"), format!("{}more\n", head.checkpoint())] {
            assert_eq!(Head::parse(&bad), None);
        }
        let elsewhere = Signer::new("d/r/gw-1/4", SecretKey::from_seed(&[1; 32]));
        assert!(Head::open(&head.note(&elsewhere), elsewhere.verifier()).is_err());

        let region = Signer::new("d/r/gw-1", SecretKey::from_seed(&[2; 32]));
        let by_region = head.note(&region);
        assert_eq!(Head::open_of(&head.origin, &by_region, region.verifier()), Ok(head.clone()));
        let other = Origin::parse("d/r/gw-1/4").unwrap();
        assert!(Head::open_of(&other, &by_region, region.verifier()).is_err(), "of another stream");
        assert!(Head::open_of(&head.origin, &by_region, elsewhere.verifier()).is_err());
        assert!(Head::open_of(&head.origin, &head.note(&signer), region.verifier()).is_err());
    }
}
