//! Proof that an answer may be dialled: every address in it was checked.
//!
//! Not here: where answers come from (`resolve`, or a tool's `resolve` list). Invariants: only `check` makes a
//! `Dialable`; a mixed answer is refused whole, because public and private addresses under one name are what DNS
//! rebinding looks like, and dialling only the good ones would let the next answer decide.

use std::net::IpAddr;

use aegis_domain::Reason;
use ipnet::IpNet;

use crate::{AddressClass, may_dial};

/// The addresses of one host, all of which a call may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialable {
    first: IpAddr,
    all: Vec<IpAddr>,
}

/// Why an answer may not be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undialable {
    #[error("the host has no address")]
    Empty,
    #[error("an address of the host is {0}, and the tool does not name it")]
    Forbidden(AddressClass),
}

impl Undialable {
    pub fn reason(self) -> Reason {
        match self {
            Undialable::Empty => Reason::UpstreamUnresolved,
            Undialable::Forbidden(_) => Reason::AddressForbidden,
        }
    }
}

impl Dialable {
    /// Checks every address; one that is forbidden spoils the answer.
    pub fn check(answer: Vec<IpAddr>, named: &[IpNet]) -> Result<Self, Undialable> {
        let first = answer.first().copied().ok_or(Undialable::Empty)?;
        let mut each = answer.iter();
        each.try_for_each(|address| may_dial(*address, named)).map_err(Undialable::Forbidden)?;
        Ok(Self { first, all: answer })
    }

    /// The address to dial after so many failed attempts; each has its turn.
    pub fn turn(&self, attempts: usize) -> IpAddr {
        let turn = attempts.checked_rem(self.all.len()).unwrap_or(0);
        self.all.get(turn).copied().unwrap_or(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(answer: &[&str]) -> Result<Dialable, Undialable> {
        Dialable::check(answer.iter().map(|text| text.parse().unwrap()).collect(), &[])
    }

    #[test]
    fn one_forbidden_address_spoils_the_answer_wherever_it_stands() {
        let forbidden = Err(Undialable::Forbidden(AddressClass::Private));
        assert_eq!(check(&["1.1.1.1", "10.0.0.1"]), forbidden);
        assert_eq!(check(&["10.0.0.1", "1.1.1.1"]), forbidden);
        assert_eq!(check(&["1.1.1.1", "8.8.8.8", "2606:4700::1111", "fd00::1"]), forbidden);
    }

    #[test]
    fn an_answer_without_addresses_is_refused() {
        assert_eq!(check(&[]), Err(Undialable::Empty));
    }

    #[test]
    fn after_a_failure_the_next_address_has_its_turn() {
        let answer = check(&["1.1.1.1", "8.8.8.8"]).unwrap();
        let turns: Vec<String> = (0..3).map(|attempt| answer.turn(attempt).to_string()).collect();
        assert_eq!(turns, ["1.1.1.1", "8.8.8.8", "1.1.1.1"]);
    }
}
