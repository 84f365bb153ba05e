//! What a verifier believes before it reads anything: the region keys, and which witnesses must have seen a head, in a C2SP
//! policy file.
//!
//! Not here: fetching such a file; it comes by a way the log's operator does not control. Invariant: a line that this
//! version cannot honour is an error, never a line passed over (<https://c2sp.org/tlog-policy>).

mod quorum;
mod revoked;

use std::fmt;

use aegis_audit_chain::Origin;
use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::note::{NoteError, Verifier};
use aegis_domain::Timestamp;

pub use revoked::Revoked;

use quorum::{Member, Roll};

/// Why a trust file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    #[error("line {0} is not a registry's verifier key")]
    Key(usize),
    #[error("line {0} is not a witness' verifier key: a name and an Ed25519 key of type 4")]
    WitnessKey(usize),
    #[error("line {0} names a key that stands in a line before")]
    Twice(usize),
    #[error("line {0} gives a name that is taken, or `none`")]
    NameTaken(usize),
    #[error("line {0} names a witness or group that no line before it defines")]
    NameUnknown(usize),
    #[error("line {0} names a member that is in a group already")]
    MemberTwice(usize),
    #[error("line {0} asks for none or for more members than it names")]
    Threshold(usize),
    #[error("line {0} is a second quorum")]
    SecondQuorum(usize),
    #[error(
        "line {0} revokes nothing: a stream's name, a number of records and the root over these"
    )]
    Revoked(usize),
    #[error("line {0} revokes a stream that no registry in the file speaks for, or a second time")]
    RevokedTwice(usize),
    #[error("line {0} is not understood")]
    Line(usize),
    #[error("the file names no registry")]
    Empty,
    #[error("the file has no quorum line; `quorum none` asks for no witness")]
    NoQuorum,
}

/// Why two trust files do not make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("it asks for other witnesses than the files before it; write one quorum for all")]
    Witnesses,
    #[error(
        "a key of it stands under another name in a file before it; each gateway has a key of its own"
    )]
    Key,
    #[error("it revokes a stream at another head than a file before it")]
    Revoked,
}

/// The registries a verifier trusts, each by its key, and who must have seen their heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    registries: Vec<(Origin, Verifier)>,
    roll: Roll,
    /// `None` asks for no witness.
    quorum: Option<Member>,
    revoked: Vec<Revoked>,
}

/// What witnesses say of a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    /// By their names in the trust file.
    pub by: Vec<Box<str>>,
    /// Until when a quorum of them had seen nothing that contradicts it.
    pub at: Timestamp,
}

impl Trust {
    /// Trusts one registry and asks for no witness; `None` when the key is not named after one.
    pub fn of(region: Verifier) -> Option<Self> {
        let origin = registry_of(&region)?;
        let (roll, revoked) = (Roll::default(), Vec::new());
        Some(Self { registries: vec![(origin, region)], roll, quorum: None, revoked })
    }

    /// Reads lines `log`, `witness`, `group`, `quorum` and `revoke`; `#` begins a comment line.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let (mut registries, mut roll, mut quorum) = (Vec::new(), Roll::default(), None);
        let mut revoked: Vec<(usize, Revoked)> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            let words: Vec<&str> = words.collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", vkey] | ["log", vkey, _] => {
                    let region = Verifier::parse(vkey).map_err(|_| TrustError::Key(number))?;
                    let origin = registry_of(&region).ok_or(TrustError::Key(number))?;
                    if registries.iter().any(|(_, known): &(_, Verifier)| known.has_key_of(&region))
                    {
                        return Err(TrustError::Twice(number));
                    }
                    registries.push((origin, region));
                }
                ["witness", name, vkey] => roll.witness(number, (name, vkey), None)?,
                ["witness", name, vkey, url] => roll.witness(number, (name, vkey), Some(url))?,
                ["group", name, least, members @ ..] => {
                    roll.group(number, (name, least), members)?;
                }
                ["quorum", name] => {
                    let wanted = match *name {
                        "none" => None,
                        name => Some(roll.find(name).ok_or(TrustError::NameUnknown(number))?),
                    };
                    if quorum.replace(wanted).is_some() {
                        return Err(TrustError::SecondQuorum(number));
                    }
                }
                ["revoke", origin, size, root] => {
                    revoked.push((number, Revoked::parse(number, (origin, size, root))?));
                }
                _ => return Err(TrustError::Line(number)),
            }
        }
        if registries.is_empty() {
            return Err(TrustError::Empty);
        }
        let quorum = quorum.ok_or(TrustError::NoQuorum)?;
        let mut trust = Self { registries, roll, quorum, revoked: Vec::new() };
        for (line, revoked) in revoked {
            let trusted = trust.revoke(revoked).ok_or(TrustError::RevokedTwice(line));
            trust = trusted?;
        }
        Ok(trust)
    }

    /// Believes a stream up to a head only; `None` where no registry here speaks for it, or it was said before.
    pub fn revoke(mut self, revoked: Revoked) -> Option<Self> {
        let origin = &revoked.head().origin;
        let is_ours = self.registries.iter().any(|(registry, _)| registry.vouches_for(origin));
        let is_new = self.revoked(origin).is_none();
        (is_ours && is_new).then(|| {
            self.revoked.push(revoked);
            self
        })
    }

    /// How far a stream is believed, where its key was revoked.
    pub fn revoked(&self, origin: &Origin) -> Option<&Revoked> {
        self.revoked.iter().find(|revoked| revoked.head().origin == *origin)
    }

    /// All streams whose keys were revoked.
    pub fn all_revoked(&self) -> impl Iterator<Item = &Revoked> {
        self.revoked.iter()
    }

    /// The same for each region of a deployment alone: its registries lie in one place.
    pub fn by_region(&self) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for (origin, region) in &self.registries {
            let is_its = |part: &&mut Self| {
                part.registries.first().is_some_and(|(first, _)| {
                    (first.domain(), first.region()) == (origin.domain(), origin.region())
                })
            };
            let known = (origin.clone(), region.clone());
            match parts.iter_mut().find(is_its) {
                Some(part) => part.registries.push(known),
                None => parts.push(Self { registries: vec![known], ..self.clone() }),
            }
        }
        parts
    }

    /// The keys that may have signed notes about a stream, or about the registry of that name.
    pub fn regions_of(&self, origin: &Origin) -> impl Iterator<Item = &Verifier> {
        let speaks = move |known: &Origin| known == origin || known.vouches_for(origin);
        self.registries.iter().filter(move |(known, _)| speaks(known)).map(|(_, region)| region)
    }

    /// Trusts the registries of both.
    pub fn join(mut self, other: Self) -> Result<Self, JoinError> {
        if (&self.roll, self.quorum) != (&other.roll, other.quorum) {
            return Err(JoinError::Witnesses);
        }
        for (origin, region) in other.registries {
            match self.registries.iter().find(|(_, known)| known.has_key_of(&region)) {
                None => self.registries.push((origin, region)),
                Some((known, _)) if *known == origin => {}
                Some(_) => return Err(JoinError::Key),
            }
        }
        for revoked in other.revoked {
            match self.revoked(&revoked.head().origin) {
                None => self.revoked.push(revoked),
                Some(known) if *known == revoked => {}
                Some(_) => return Err(JoinError::Revoked),
            }
        }
        Ok(self)
    }

    pub fn registries(&self) -> impl Iterator<Item = (&Origin, &Verifier)> {
        self.registries.iter().map(|(origin, verifier)| (origin, verifier))
    }

    /// Whether heads must have been seen by witnesses.
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// All witnesses, each with the address it is asked at, where that is given.
    pub fn witnesses(&self) -> impl Iterator<Item = (&Witness, Option<&str>)> {
        self.roll.witnesses.iter().map(|it| (&it.witness, it.url.as_deref()))
    }

    /// Whether a quorum cosigned a checkpoint's text, by the signature lines that came with it; `None` where it did not.
    pub fn witnessed(&self, text: &str, lines: &str) -> Result<Option<Witnessed>, NoteError> {
        let mut seen = Vec::new();
        for known in &self.roll.witnesses {
            seen.push(known.witness.cosigned_at(text, lines)?);
        }
        let Some(quorum) = self.quorum else { return Ok(None) };
        let Some(at) = self.roll.met_at(quorum, &seen) else { return Ok(None) };
        let by = self.roll.witnesses.iter().zip(&seen);
        let by = by.filter(|(_, at)| at.is_some()).map(|(known, _)| known.name.clone()).collect();
        Ok(Some(Witnessed { by, at }))
    }
}

/// Which registry a key speaks for.
fn registry_of(region: &Verifier) -> Option<Origin> {
    Origin::parse(region.name()).ok().filter(Origin::is_registry)
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (_, verifier) in &self.registries {
            writeln!(f, "log {verifier}")?;
        }
        write!(f, "{}", self.roll)?;
        writeln!(f, "quorum {}", self.quorum.map_or("none", |member| self.roll.name(member)))?;
        self.revoked.iter().try_for_each(|revoked| writeln!(f, "{revoked}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegis_audit_chain::cosignature::Cosigner;
    use aegis_audit_chain::note::SecretKey;

    const TEXT: &str = "d/r/registry/1\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    const NAMES: [&str; 5] = ["w/1", "w/2", "w/3", "w/4", "w/5"];

    fn log() -> String {
        format!("log {}\n", SecretKey::from_seed(&[7; 32]).verifier("d/r/registry/1"))
    }

    fn cosigner(n: u8) -> Cosigner {
        Cosigner::new(NAMES[usize::from(n) - 1], SecretKey::from_seed(&[n; 32])).unwrap()
    }

    fn s(unix_s: u64) -> Timestamp {
        Timestamp::from_unix_s(unix_s)
    }

    fn witnesses(count: u8) -> String {
        (1..=count).map(|n| format!("witness W{n} {}\n", cosigner(n).witness())).collect()
    }

    /// The lines of those who cosigned, each a hundred seconds after the one before.
    fn lines(by: &[u8]) -> String {
        by.iter().map(|n| cosigner(*n).line(TEXT, s(u64::from(*n) * 100))).collect()
    }

    #[test]
    fn a_stream_is_revoked_once_by_whom_a_registry_here_speaks_for() {
        let stands = "d/r/gw-1/7 3 CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
        let with = |lines: &str| Trust::parse(&format!("{}quorum none\n{lines}", log()));
        let trust = with(&format!("revoke {stands}\n")).unwrap();
        assert_eq!(Trust::parse(&trust.to_string()).unwrap(), trust);
        let origin = Origin::parse("d/r/gw-1/7").unwrap();
        let revoked = trust.revoked(&origin).unwrap();
        assert_eq!(revoked.head().size, 3);
        assert!(trust.by_region()[0].revoked(&origin).is_some());
        let twice = with(&format!("revoke {stands}\nrevoke {stands}\n"));
        assert_eq!(twice, Err(TrustError::RevokedTwice(4)));
        let foreign = with(&format!("revoke {}\n", stands.replace("d/r", "d/other")));
        assert_eq!(foreign, Err(TrustError::RevokedTwice(3)));
        for (right, wrong) in [(" 3 ", " 03 "), (" 3 ", " 0 "), ("=", ""), ("gw-1", "registry")] {
            let line = stands.replace(right, wrong);
            assert_eq!(with(&format!("revoke {line}\n")), Err(TrustError::Revoked(3)), "{line}");
        }
        let other = with(&format!("revoke {}\n", stands.replace(" 3 ", " 4 "))).unwrap();
        assert_eq!(trust.clone().join(other), Err(JoinError::Revoked));
        assert_eq!(with("").unwrap().join(trust.clone()), Ok(trust));
    }

    #[test]
    fn a_trust_file_names_registries_and_nothing_it_cannot_honour() {
        let trust = Trust::parse(&format!("# ours\n\n{}quorum none\n", log())).unwrap();
        assert_eq!(Trust::parse(&trust.to_string()), Ok(trust.clone()));
        assert!(!trust.asks_for_witnesses());
        let two = log() + &witnesses(2);
        let stream = SecretKey::from_seed(&[7; 32]).verifier("d/r/gw-1/1");
        let first = cosigner(1).witness().clone();
        for (text, error) in [
            ("quorum none\n".to_owned(), TrustError::Empty),
            (log(), TrustError::NoQuorum),
            (format!("log {stream}\nquorum none\n"), TrustError::Key(1)),
            (log() + &log() + "quorum none\n", TrustError::Twice(2)),
            (format!("{two}witness X {first}\nquorum X\n"), TrustError::Twice(4)),
            (format!("{}witness X {stream}\nquorum X\n", log()), TrustError::WitnessKey(2)),
            (format!("{two}group W1 any W2\nquorum W1\n"), TrustError::NameTaken(4)),
            (format!("{two}group none any W2\nquorum none\n"), TrustError::NameTaken(4)),
            (format!("{two}group G any W3\nquorum G\n"), TrustError::NameUnknown(4)),
            (format!("{two}group G 3 W1 W2\nquorum G\n"), TrustError::Threshold(4)),
            (format!("{two}group G 0 W1 W2\nquorum G\n"), TrustError::Threshold(4)),
            (format!("{two}group G any\nquorum G\n"), TrustError::Threshold(4)),
            (format!("{two}group G 02 W1 W2\nquorum G\n"), TrustError::Threshold(4)),
            (format!("{two}group G any W1 W1\nquorum G\n"), TrustError::MemberTwice(4)),
            (
                format!("{two}group G any W1\ngroup H any W1 G\nquorum H\n"),
                TrustError::MemberTwice(5),
            ),
            (format!("{two}quorum W9\n"), TrustError::NameUnknown(4)),
            (format!("{two}quorum W1\nquorum none\n"), TrustError::SecondQuorum(5)),
            (format!("{two}logs x\nquorum W1\n"), TrustError::Line(4)),
        ] {
            assert_eq!(Trust::parse(&text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_quorum_is_met_by_enough_members_of_each_group() {
        let groups = "group X 2 W1 W2 W3\ngroup Y any W4 W5\ngroup Both all X Y\nquorum Both\n";
        let trust = Trust::parse(&(log() + &witnesses(5) + groups)).unwrap();
        assert_eq!(Trust::parse(&trust.to_string()), Ok(trust.clone()));
        let met = |by: &[u8]| trust.witnessed(TEXT, &lines(by)).unwrap().map(|it| it.at.unix_s());
        for by in [&[][..], &[1], &[1, 2], &[1, 4], &[4, 5]] {
            assert_eq!(met(by), None, "{by:?}");
        }
        // Two of X had seen it at 100 s or later, one of Y at 400 s; a third of X makes it two at 200 s.
        assert_eq!(met(&[1, 2, 4]), Some(100));
        assert_eq!(met(&[1, 2, 3, 4, 5]), Some(200));
        let by = trust.witnessed(TEXT, &lines(&[2, 3, 5])).unwrap().unwrap().by;
        assert_eq!(by, [Box::from("W2"), "W3".into(), "W5".into()]);
    }

    #[test]
    fn a_cosignature_that_does_not_hold_is_no_vote_and_is_told() {
        let trust = Trust::parse(&(log() + &witnesses(2) + "quorum W1\n")).unwrap();
        let other_text = lines(&[1]).replace("w/1", "w/9");
        assert_eq!(trust.witnessed(TEXT, &other_text), Ok(None));
        let forged = cosigner(1).line(&TEXT.replace('7', "8"), s(100));
        assert_eq!(trust.witnessed(TEXT, &forged), Err(NoteError::Signature));
    }
}
