//! Witnesses and groups of a trust file, and when enough of them have seen a head.
//!
//! Not here: whose keys they are (`cosignature`). Invariant: a member stands in one group at most, so no witness counts twice.

use std::fmt;

use aegis_domain::Timestamp;

use aegis_audit_chain::cosignature::Witness;

use crate::TrustError;

/// Somebody a group or the quorum names, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: Box<str>,
    pub(super) witness: Witness,
    pub(super) url: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: Box<str>,
    least: usize,
    members: Vec<Member>,
}

/// All that a file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roll {
    pub(super) witnesses: Vec<Named>,
    groups: Vec<Group>,
}

impl Roll {
    pub(super) fn witness(
        &mut self,
        line: usize,
        (name, vkey): (&str, &str),
        url: Option<&str>,
    ) -> Result<(), TrustError> {
        let witness = Witness::parse(vkey).map_err(|_| TrustError::WitnessKey(line))?;
        self.check_free(line, name)?;
        if self.witnesses.iter().any(|known| known.witness.has_key_of(&witness)) {
            return Err(TrustError::Twice(line));
        }
        self.witnesses.push(Named { name: name.into(), witness, url: url.map(Into::into) });
        Ok(())
    }

    pub(super) fn group(
        &mut self,
        line: usize,
        (name, least): (&str, &str),
        names: &[&str],
    ) -> Result<(), TrustError> {
        self.check_free(line, name)?;
        let mut members = Vec::new();
        for name in names {
            let member = self.find(name).ok_or(TrustError::NameUnknown(line))?;
            let mut grouped = self.groups.iter().flat_map(|group| &group.members);
            if members.contains(&member) || grouped.any(|known| *known == member) {
                return Err(TrustError::MemberTwice(line));
            }
            members.push(member);
        }
        let least = match least {
            "any" => Some(1),
            "all" => Some(members.len()),
            number => number.parse().ok().filter(|parsed: &usize| parsed.to_string() == number),
        };
        let least = least.filter(|least| (1..=members.len()).contains(least));
        let least = least.ok_or(TrustError::Threshold(line))?;
        self.groups.push(Group { name: name.into(), least, members });
        Ok(())
    }

    fn check_free(&self, line: usize, name: &str) -> Result<(), TrustError> {
        let is_free = name != "none" && self.find(name).is_none();
        if is_free { Ok(()) } else { Err(TrustError::NameTaken(line)) }
    }

    pub(super) fn find(&self, name: &str) -> Option<Member> {
        let witness = self.witnesses.iter().position(|known| *known.name == *name);
        let group = || self.groups.iter().position(|known| *known.name == *name);
        witness.map(Member::Witness).or_else(|| group().map(Member::Group))
    }

    pub(super) fn name(&self, member: Member) -> &str {
        let name = match member {
            Member::Witness(at) => self.witnesses.get(at).map(|known| &known.name),
            Member::Group(at) => self.groups.get(at).map(|known| &known.name),
        };
        name.map_or("none", |name| name)
    }

    /// The latest instant at which enough had seen it, by when each of the witnesses did.
    pub(super) fn met_at(&self, member: Member, seen: &[Option<Timestamp>]) -> Option<Timestamp> {
        match member {
            Member::Witness(at) => seen.get(at).copied().flatten(),
            Member::Group(at) => {
                let Group { least, members, .. } = self.groups.get(at)?;
                let met = members.iter().filter_map(|member| self.met_at(*member, seen));
                let mut met: Vec<Timestamp> = met.collect();
                met.sort_unstable_by(|a, b| b.cmp(a));
                met.get(least.checked_sub(1)?).copied()
            }
        }
    }
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Named { name, witness, url } in &self.witnesses {
            write!(f, "witness {name} {witness}")?;
            url.iter().try_for_each(|url| write!(f, " {url}"))?;
            writeln!(f)?;
        }
        for Group { name, least, members } in &self.groups {
            write!(f, "group {name} {least}")?;
            members.iter().try_for_each(|member| write!(f, " {}", self.name(*member)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
