//! What is known of the region that authors releases here: when it was last heard, and what of it was not taken.
//!
//! Not here: asking it (`pull`). Memory of the voter that leads; what was taken stands in the ledger. Invariant: an author
//! that is silent changes nothing but what is told of it.

use std::collections::BTreeMap;

use aegis_domain::{Region, Timestamp, Ttl};
use aegis_ledger::{Author, LineKey};
use serde_json::{Value, json};
use tracing::{error, info};

use crate::{Control, clock};

/// Three questions that were not answered: each waits 20 s for something to happen.
const SILENT: Ttl = Ttl::from_s(60);

/// What the voter that asks has heard.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The last page that counted.
    at: Option<Timestamp>,
    /// Since when nothing counts, and why not.
    failing: Option<(Timestamp, String)>,
    is_alarmed: bool,
    pub(crate) refused: BTreeMap<LineKey, Refused>,
}

/// A release of the author that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) epoch: u64,
    pub(crate) why: String,
}

/// What is to be said of a round.
pub(crate) enum Word {
    Nothing,
    Failing(String),
    Silent(String),
    Back,
}

impl Word {
    pub(crate) fn tell(self, author: &Region) {
        match self {
            Word::Nothing => {}
            Word::Failing(why) => {
                tracing::warn!(%author, why, "the author's releases cannot be pulled")
            }
            Word::Silent(why) => {
                error!(%author, why, "nothing was heard of the author for a minute; what was taken goes on deciding");
            }
            Word::Back => info!(%author, "the author is heard again"),
        }
    }
}

impl Heard {
    /// Takes note of a round: how it failed, if it did.
    pub(crate) fn note(&mut self, failed: Option<String>) -> Word {
        let now = clock::now();
        let Some(why) = failed else {
            let was_failing = self.failing.take().is_some();
            (self.at, self.is_alarmed) = (Some(now), false);
            return if was_failing { Word::Back } else { Word::Nothing };
        };
        let is_new = self.failing.as_ref().is_none_or(|(_, before)| *before != why);
        let since = self.failing.as_ref().map_or(now, |(since, _)| *since);
        self.failing = Some((since, why.clone()));
        if self.is_silent(now) && !self.is_alarmed {
            self.is_alarmed = true;
            return Word::Silent(why);
        }
        if is_new { Word::Failing(why) } else { Word::Nothing }
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        let since = self.at.or(self.failing.as_ref().map(|(since, _)| *since));
        since.is_some_and(|since| now >= since.plus(SILENT))
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
        let heard = pull.heard.lock();
        Some(Pulled {
            region: pull.from.region.clone(),
            heard_at: heard.at,
            is_silent: heard.is_silent(clock::now()),
            refused: heard.refused.len(),
        })
    }

    /// What is told of it; nothing where this region authors for itself.
    pub(crate) fn author_shape(&self) -> Value {
        let Some(pull) = &self.pull else { return Value::Null };
        let (heard, status) = (pull.heard.lock(), self.node.status());
        let refused = heard.refused.iter().map(|(line, Refused { epoch, why })| {
            json!({
                "tenant": line.tenant,
                "environment": line.environment,
                "epoch": epoch,
                "why": why,
            })
        });
        json!({
            "region": pull.from.region,
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
        let heard = self.pull.as_ref().filter(|pull| pull.from.region == *region);
        let heard = heard.map(|pull| pull.heard.lock());
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
