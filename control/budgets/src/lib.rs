//! Budgets of a region: what each may spend, what it has spent, and corrections of that by hand.
//!
//! Not here: counting (`state`), the rules of a change (`agents/registry`), and who may ask for what (`control`). Invariant: no
//! amount passes through a float.

pub mod adjustments;
pub mod limits;
mod purse;
pub mod spend;

use aegis_control_commands::Ledger;
use aegis_control_messages::problem::Problem;

pub use purse::{HotPurse, Purse};

/// Whoever serves these routes.
pub trait Books: Send + Sync + 'static {
    fn ledger(&self) -> &dyn Ledger;

    /// Where money is counted; absent where no gateway's hot state is at hand.
    fn purse(&self) -> Option<&dyn Purse>;
}

fn purse(books: &impl Books) -> Result<&dyn Purse, Problem> {
    books.purse().ok_or(Problem::NoPurse)
}
