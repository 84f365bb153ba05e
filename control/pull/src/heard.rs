//! What is known of the region that authors releases here: when it was last heard, and what of it was not taken.
//!
//! Not here: asking it (`lib`), and how it is told (`control`). Memory of the voter that leads; what was taken stands in the
//! ledger. Invariant: an author that is silent changes nothing but what is told of it.

use std::collections::BTreeMap;

use aegis_control_messages::clock;
use aegis_domain::{Region, Timestamp, Ttl};
use aegis_ledger::LineKey;
use tracing::{error, info};

/// Three questions that were not answered: each waits 20 s for something to happen.
const SILENT: Ttl = Ttl::from_s(60);

/// What the voter that asks has heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The last page that counted.
    pub at: Option<Timestamp>,
    /// Since when nothing counts, and why not.
    pub failing: Option<(Timestamp, String)>,
    is_alarmed: bool,
    pub refused: BTreeMap<LineKey, Refused>,
}

/// A release of the author that is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub epoch: u64,
    pub why: String,
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

    pub fn is_silent(&self, now: Timestamp) -> bool {
        let since = self.at.or(self.failing.as_ref().map(|(since, _)| *since));
        since.is_some_and(|since| now >= since.plus(SILENT))
    }
}
