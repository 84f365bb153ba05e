//! What a log brings to a witness: a head, and the proof that it extends the one before (`add-checkpoint` of
//! <https://c2sp.org/tlog-witness>).
//!
//! Pure. Not here: whether the witness takes it (`control`, over the ledger), and bringing it (`audit/witness`). Invariant: a
//! submission has one spelling, and what is read is written back byte for byte.

use std::fmt;

use crate::Hash;

/// As many lines as a proof may have (tlog-witness, `add-checkpoint`).
const PROOF_MAX: usize = 63;

/// The body of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission<'b> {
    /// The size that the witness is thought to have cosigned last.
    pub old: u64,
    pub proof: Vec<Hash>,
    /// The signed head; nothing of it is checked yet.
    pub note: &'b str,
}

impl<'b> Submission<'b> {
    pub fn parse(body: &'b str) -> Option<Self> {
        let (head, note) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = lines.next()?.strip_prefix("old ")?;
        let proof: Vec<Hash> = lines.map(Hash::parse_standard).collect::<Option<_>>()?;
        let submission = Self { old: old.parse().ok()?, proof, note };
        let is_sound = submission.proof.len() <= PROOF_MAX && submission.to_string() == body;
        is_sound.then_some(submission)
    }
}

impl fmt::Display for Submission<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", hash.standard()))?;
        write!(f, "\n{}", self.note)
    }
}

/// What a witness says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Signature lines, each with a newline (200).
    Cosigned(String),
    /// It cosigned a head of this size last, which is not what was thought, or not that history (409).
    Seen(u64),
    /// The proof leads elsewhere (422).
    NotProven,
    /// It knows no log of that name (404).
    UnknownLog,
    /// The log's key did not sign this (403).
    UnknownKey,
    /// It is no submission (400).
    Malformed,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the specification, without the newer of its two signatures.
    const EXAMPLE: &str = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
";

    #[test]
    fn the_example_of_the_specification_is_read() {
        let read = Submission::parse(EXAMPLE).unwrap();
        assert_eq!((read.old, read.proof.len()), (20_852_014, 4));
        assert!(read.note.starts_with("example.com/behind-the-sofa\n20852163\n"));
        assert_eq!(read.to_string(), EXAMPLE);
    }

    #[test]
    fn a_body_of_any_other_spelling_is_refused() {
        let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
        for body in [
            String::new(),
            "old 1".to_owned(),
            EXAMPLE.replace("old 2", "old 02"),
            EXAMPLE.replace("old 2", "old +2"),
            EXAMPLE.replace("old ", "Old "),
            EXAMPLE.replace("old ", "old  "),
            EXAMPLE.replace("old 20852014", "old 99999999999999999999"),
            EXAMPLE.replacen('\n', "\r\n", 1),
            EXAMPLE.replace("kaw=", "kax="),
            EXAMPLE.replacen("\n\n", "\n \n", 1),
            format!("old 1\n{}\nnote\n", line.repeat(PROOF_MAX + 1)),
        ] {
            assert_eq!(Submission::parse(&body), None, "{body}");
        }
        assert!(Submission::parse(&format!("old 1\n{}\nnote\n", line.repeat(PROOF_MAX))).is_some());
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_back(body in "(old [0-9]{0,3}\n)?([A-Za-z0-9+/=]{44}\n){0,3}\n?.{0,9}") {
            if let Some(read) = Submission::parse(&body) {
                prop_assert_eq!(read.to_string(), body);
            }
        }
    }
}
