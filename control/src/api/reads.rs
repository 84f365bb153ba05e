//! How current an answer is: it holds whatever was acknowledged anywhere before the question, or only what this voter knows.
//!
//! Not here: how a voter finds out how far it must have got (`raft-store`). Invariant: `agreed` is said only where a quorum took
//! the leader for its leader after the question came; what a voter that cannot know does not find, it does not call absent.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};

use super::policies::Answer;
use crate::Control;
use crate::problem::Problem;
use aegis_control_commands::LedgerError;

const READ: HeaderName = HeaderName::from_static("aegis-read");
/// People are waiting, also while there is no quorum.
const WITHIN: Duration = Duration::from_secs(2);

/// What an answer is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// All that was acknowledged before it was asked for.
    Agreed,
    /// What this voter had applied; it may be cut off.
    Own,
}

impl Known {
    /// Ask before the ledger is read.
    pub(super) async fn of(control: &Control) -> Self {
        let caught_up = tokio::time::timeout(WITHIN, control.node.catch_up()).await;
        if matches!(caught_up, Ok(Ok(()))) { Known::Agreed } else { Known::Own }
    }

    /// Says it beside an answer.
    pub(super) fn mark(self, answer: Answer) -> Answer {
        let says = match (self, &answer) {
            (Known::Agreed, _) => "agreed",
            (Known::Own, Ok(_)) => "own",
            (Known::Own, Err(_)) => return Err(Problem::Ledger(LedgerError::NoQuorum)),
        };
        let mut answer = answer?;
        answer.headers_mut().insert(READ, HeaderValue::from_static(says));
        Ok(answer)
    }
}
