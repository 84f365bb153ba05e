//! The region that authors releases here, if another does: what it is given of this node, and how it is told of.
//!
//! Not here: asking it (`control/pull`). Invariant: what it brings is put on record like everybody's changes.

use aegis_control_pull::{Home, Refused};
use aegis_domain::{Region, Timestamp};
use aegis_ledger::{Author, LineKey, Outcome, ReleaseAct};
use aegis_raft_store::Node;
use aegis_registry::Actor;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::problem::Problem;
use crate::{Control, clock};

#[async_trait]
impl Home for Control {
    fn node(&self) -> &Node {
        &self.node
    }

    fn region(&self) -> &Region {
        &self.region
    }

    fn compiling(&self) -> &Mutex<()> {
        &self.compiling
    }

    async fn release(&self, by: &Actor, act: ReleaseAct) -> Result<Outcome, Problem> {
        self.release(by, act, None).await
    }
}

/// How the region that authors is, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    pub region: Region,
    /// `None` where this voter does not ask, or has heard nothing yet.
    pub heard_at: Option<Timestamp>,
    pub is_silent: bool,
    /// Lines of which a release is not taken.
    pub refused: usize,
}

impl Control {
    /// The region that authors releases here, if another does.
    pub fn pulled(&self) -> Option<Pulled> {
        let pull = self.pull.as_ref()?;
        let heard = pull.heard();
        Some(Pulled {
            region: pull.author().clone(),
            heard_at: heard.at,
            is_silent: heard.is_silent(clock::now()),
            refused: heard.refused.len(),
        })
    }

    /// What is told of it; nothing where this region authors for itself.
    pub(crate) fn author_shape(&self) -> Value {
        let Some(pull) = &self.pull else { return Value::Null };
        let (heard, status) = (pull.heard(), self.node.status());
        let refused = heard.refused.iter().map(|(line, Refused { epoch, why })| {
            json!({
                "tenant": line.tenant,
                "environment": line.environment,
                "epoch": epoch,
                "why": why,
            })
        });
        json!({
            "region": pull.author(),
            "asked_by": status.leader,
            "heard_at": heard.at.map(clock::show),
            "is_silent": heard.is_silent(clock::now()),
            "failing_since": heard.failing.as_ref().map(|(since, _)| clock::show(*since)),
            "why": heard.failing.as_ref().map(|(_, why)| why),
            "refused": refused.collect::<Vec<_>>(),
        })
    }

    /// Where one line comes from, beside that.
    pub(crate) fn origin_shape(&self, line: &LineKey) -> Value {
        let ledger = self.node.ledger();
        let author = ledger.releases().line(line).and_then(|line| line.author());
        let Some(Author { region, pointer, taken_back, is_withdrawn, .. }) = author else {
            return Value::Null;
        };
        let heard = self.pull.as_ref().filter(|pull| pull.author() == region);
        let heard = heard.map(|pull| pull.heard());
        let refused = heard.as_ref().and_then(|heard| heard.refused.get(line));
        json!({
            "region": region,
            "epoch": pointer.epoch,
            "active": pointer.choice.active,
            "taken_back": taken_back,
            "withdrawn": is_withdrawn,
            "heard_at": heard.as_ref().and_then(|heard| heard.at).map(clock::show),
            "refused": refused.map(|it| json!({ "epoch": it.epoch, "why": it.why })),
        })
    }
}
