//! Commands to the parts of the region's ledger that are not its registry.
//!
//! Not here: the registry's (`ledger`), and what a command may do (`aegis-ledger`). Invariant: a command is proposed in
//! somebody's name, and what came of it can be read here when it returns.

use aegis_access::Principal;
use aegis_ledger::{Action, Outcome};
use aegis_raft_store::Wish;

use crate::Control;
use crate::ledger::LedgerError;
use crate::problem::Problem;
use crate::read::Asked;

impl Control {
    /// Has a command of a request applied, once.
    pub(crate) async fn command(
        &self,
        who: &Principal,
        asked: &Asked,
        action: Action,
    ) -> Result<Outcome, Problem> {
        let wish = Wish { by: who.actor.clone(), action, once: asked.once(who)? };
        let answer = self.node.propose(wish).await.map_err(LedgerError::from)?;
        answer.map_err(Problem::Declined)
    }
}
