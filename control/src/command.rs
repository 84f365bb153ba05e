//! Commands to the parts of the region's ledger that are not its registry.
//!
//! Not here: the registry's (`ledger`), and what a command may do (`aegis-ledger`). Invariant: a command is proposed in
//! somebody's name, what came of it can be read here when it returns, and where an audit log is kept it is in it.

use aegis_access::Principal;
use aegis_ledger::{Action, Outcome};
use aegis_raft_store::Wish;
use aegis_registry::Actor;

use crate::Control;
use crate::problem::Problem;
use crate::read::Asked;
use aegis_control_commands::LedgerError;
use aegis_control_commands::{Deed, chronicled, done};

impl Control {
    /// Has a command of a request applied, once.
    pub(crate) async fn command(
        &self,
        who: &Principal,
        asked: &Asked,
        action: Action,
    ) -> Result<Outcome, Problem> {
        let (by, once) = (who.actor.clone(), asked.once(who)?);
        let wish = Wish { by: by.clone(), action: action.clone(), once };
        let propose = async {
            let answer = self.node.propose(wish).await.map_err(LedgerError::from)?;
            answer.map_err(Problem::Declined)
        };
        self.on_record((by, action), propose).await
    }

    /// Has what is done to the region beside its ledger put on record, where an audit log is kept.
    pub(crate) async fn deed<T>(
        &self,
        who: &Principal,
        (act, target): (&'static str, Option<String>),
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let deed = Deed { by: who.actor.clone(), act, target };
        match &self.chronicle {
            None => work.await,
            Some(chronicle) => done(chronicle, &self.node, deed, work).await,
        }
    }

    /// Has what is proposed put on record, where an audit log is kept.
    pub(crate) async fn on_record<T>(
        &self,
        what: (Actor, Action),
        propose: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        match &self.chronicle {
            None => propose.await,
            Some(chronicle) => chronicled(chronicle, &self.node, what, propose).await,
        }
    }
}
