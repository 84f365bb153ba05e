//! What voters ask each other beside Raft: texts of whoever runs them, over the same connections.
//!
//! Not here: what the texts say (`control`). Invariant: only a voter whose certificate names it is answered, and an answer that
//! does not come in time is none.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::host;
use crate::node::Node;
use crate::wire::message::{Request, Response};

/// Answers other voters.
pub trait Answers: Send + Sync + fmt::Debug {
    /// At once, from memory. Other voters are of this version or another.
    fn answer(&self, question: &str) -> String;
}

/// Filled once somebody answers.
pub(crate) type Slot = Arc<OnceLock<Arc<dyn Answers>>>;

impl Node {
    /// Has what other voters ask answered from now on; the first who offers to does it.
    pub fn answer_with(&self, answers: Arc<dyn Answers>) {
        self.running().answers.set(answers).ok();
    }

    /// Asks every other member at once, and says which of them answered what within the time.
    pub async fn ask_others(
        &self,
        question: impl Fn(u64) -> String,
        within: Duration,
    ) -> BTreeMap<u64, Option<String>> {
        let metrics = self.running().raft.metrics().borrow().clone();
        let members = metrics.membership_config.membership();
        let others = members.nodes().filter(|(id, _)| **id != metrics.id);
        let asked: Vec<_> = others
            .map(|(id, node)| {
                let (id, address) = (*id, node.addr.clone());
                let (peers, request) = (self.running().peers.clone(), Request::Ask(question(id)));
                let answer = async move {
                    let asked = peers.ask((id, &address), request, &[]);
                    match tokio::time::timeout(within, asked).await {
                        Ok(Ok(Response::Said(answer))) => Some(answer),
                        Ok(_) | Err(_) => None,
                    }
                };
                (id, host::spawn(answer))
            })
            .collect();
        let mut answers = BTreeMap::new();
        for (id, answer) in asked {
            answers.insert(id, answer.await.unwrap_or_default());
        }
        answers
    }
}
