//! What a verifier believes before it reads anything: the region keys, in a C2SP policy file.
//!
//! Not here: fetching such a file; it comes by a way the log's operator does not control. Invariant: a line that this
//! version cannot honour is an error, never a line passed over (<https://c2sp.org/tlog-policy>).

use std::fmt;

use crate::Origin;
use crate::note::Verifier;

/// Why a trust file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("line {0} is not a registry's verifier key")]
    Key(usize),
    #[error("line {0} asks for witnesses, which this version does not check")]
    Witness(usize),
    #[error("line {0} is not understood")]
    Line(usize),
    #[error("the file names no registry")]
    Empty,
}

/// The registries a verifier trusts, each by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    registries: Vec<(Origin, Verifier)>,
}

impl Trust {
    /// Trusts one registry; `None` when the key is not named after one.
    pub fn of(region: Verifier) -> Option<Self> {
        let origin = Origin::parse(region.name()).ok().filter(Origin::is_registry)?;
        Some(Self { registries: vec![(origin, region)] })
    }

    /// Reads lines `log <vkey>` and `quorum none`; `#` begins a comment line.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let mut registries = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] | ["quorum", "none"] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => {
                    let one = Verifier::parse(vkey).ok().and_then(Self::of);
                    registries.extend(one.ok_or(TrustError::Key(number))?.registries);
                }
                ["witness" | "group" | "quorum", ..] => return Err(TrustError::Witness(number)),
                _ => return Err(TrustError::Line(number)),
            }
        }
        if registries.is_empty() { Err(TrustError::Empty) } else { Ok(Self { registries }) }
    }

    pub fn registries(&self) -> impl Iterator<Item = (&Origin, &Verifier)> {
        self.registries.iter().map(|(origin, verifier)| (origin, verifier))
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, verifier) in &self.registries {
            writeln!(f, "log {verifier}")?;
        }
        writeln!(f, "quorum none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::SecretKey;

    #[test]
    fn a_trust_file_names_registries_and_nothing_it_cannot_honour() {
        let vkey = SecretKey::from_seed(&[7; 32]).verifier("d/r/registry/1");
        let trust = Trust::of(vkey.clone()).unwrap();
        assert_eq!(Trust::parse(&format!("# ours\n\n{trust}")), Ok(trust.clone()));
        assert_eq!(Trust::parse("quorum none\n"), Err(TrustError::Empty));
        assert_eq!(Trust::parse(&format!("log {vkey}\nquorum w\n")), Err(TrustError::Witness(2)));
        let stream = SecretKey::from_seed(&[7; 32]).verifier("d/r/gw-1/1");
        assert_eq!(Trust::parse(&format!("log {stream}\n")), Err(TrustError::Key(1)));
        assert_eq!(Trust::parse("logs x\n"), Err(TrustError::Line(1)));
    }
}
