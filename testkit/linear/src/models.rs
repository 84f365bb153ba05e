//! Things whose histories are judged: a register, a pointer that is swung from where it was seen, and a grant that is used
//! once.
//!
//! Not here: the ledger, whose pointers and grants these are. Invariant: a model says what one client after the other would
//! see, and nothing of how it is made.

use crate::history::Model;

/// A value that is read, written, and swapped if it is what was expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterCall {
    Read,
    Write(u64),
    Swap { from: u64, to: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterReply {
    Value(u64),
    Done,
    /// It was not what was expected.
    Other,
}

impl Model for Register {
    type State = u64;
    type Call = RegisterCall;
    type Reply = RegisterReply;

    fn first(&self) -> u64 {
        0
    }

    fn step(&self, state: &u64, call: &RegisterCall, reply: Option<&RegisterReply>) -> Option<u64> {
        let (after, said) = match call {
            RegisterCall::Read => (*state, RegisterReply::Value(*state)),
            RegisterCall::Write(value) => (*value, RegisterReply::Done),
            RegisterCall::Swap { from, to } if from == state => (*to, RegisterReply::Done),
            RegisterCall::Swap { .. } => (*state, RegisterReply::Other),
        };
        reply.is_none_or(|reply| *reply == said).then_some(after)
    }
}

/// Which version is active, and how often that was changed. A change names the epoch it was decided on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pointer;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerCall {
    Read,
    Swing {
        seen: u64,
        to: u32,
    },
    /// To the epoch behind this one, by the same version.
    Overtake {
        seen: u64,
        past: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PointerReply {
    At {
        epoch: u64,
        version: u32,
    },
    /// It is at this epoch now.
    Swung(u64),
    /// It is not at the epoch that was seen.
    Moved,
    /// It was never swung, or is past there already.
    Nothing,
}

impl Model for Pointer {
    type State = (u64, u32);
    type Call = PointerCall;
    type Reply = PointerReply;

    fn first(&self) -> (u64, u32) {
        (0, 0)
    }

    fn step(
        &self,
        state: &(u64, u32),
        call: &PointerCall,
        reply: Option<&PointerReply>,
    ) -> Option<(u64, u32)> {
        let (epoch, version) = *state;
        let (after, said) = match call {
            PointerCall::Read => (*state, PointerReply::At { epoch, version }),
            PointerCall::Swing { seen, to } if *seen == epoch => {
                let next = epoch.checked_add(1)?;
                ((next, *to), PointerReply::Swung(next))
            }
            PointerCall::Overtake { .. } if epoch == 0 => (*state, PointerReply::Nothing),
            PointerCall::Overtake { seen, past } if *seen == epoch && *past < epoch => {
                (*state, PointerReply::Nothing)
            }
            PointerCall::Overtake { seen, past } if *seen == epoch => {
                let next = past.checked_add(1)?;
                ((next, version), PointerReply::Swung(next))
            }
            PointerCall::Swing { .. } | PointerCall::Overtake { .. } => {
                (*state, PointerReply::Moved)
            }
        };
        reply.is_none_or(|reply| *reply == said).then_some(after)
    }
}

/// A grant: nothing at first, then there to be used, then used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantCall {
    Give,
    Use,
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GrantReply {
    Done,
    /// There was none to use.
    Absent,
    /// There was one before.
    Present,
    Used,
}

impl Model for Grant {
    /// What a look would show.
    type State = GrantReply;
    type Call = GrantCall;
    type Reply = GrantReply;

    fn first(&self) -> GrantReply {
        GrantReply::Absent
    }

    fn step(
        &self,
        state: &GrantReply,
        call: &GrantCall,
        reply: Option<&GrantReply>,
    ) -> Option<GrantReply> {
        let (after, said) = match (call, state) {
            (GrantCall::Give, GrantReply::Absent) => (GrantReply::Present, GrantReply::Done),
            (GrantCall::Give, _) => (*state, GrantReply::Present),
            (GrantCall::Use, GrantReply::Present) => (GrantReply::Used, GrantReply::Done),
            (GrantCall::Use | GrantCall::Look, _) => (*state, *state),
        };
        reply.is_none_or(|reply| *reply == said).then_some(after)
    }
}
