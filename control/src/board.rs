//! What the gateways of a region said they run, as one voter heard it: from them, and from the voters that they reported to.
//!
//! Not here: asking those voters (`fleet`). Invariant: of each gateway the youngest report counts, whoever heard it; a voter tells
//! others only what it heard itself, so nothing goes round; and ages travel, not times, so that clocks need not agree.

use std::collections::BTreeMap;
use std::time::Duration;

use aegis_domain::{Timestamp, Ttl};
use aegis_policy_follow::Report;
use aegis_raft_store::Answers;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::problem::Problem;

const GATEWAYS_MAX: usize = 10_000;
const REFUSAL_CHARS_MAX: usize = 4_096;
/// Half of what voters take in one message, for it is quoted on its way.
const ANSWER_BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// A gateway that is gone for good is forgotten after a day.
pub(crate) const FORGOTTEN: Ttl = Ttl::from_s(24 * 60 * 60);
/// Five reports that did not come.
pub(crate) const SILENT: Ttl = Ttl::from_s(15);

/// One report.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) at: Timestamp,
    /// The voter that the gateway told it to; `None` is this one.
    pub(crate) by: Option<u64>,
    pub(crate) report: Report,
}

impl Heard {
    pub(crate) fn is_silent(&self, now: Timestamp) -> bool {
        now >= self.at.plus(SILENT)
    }
}

/// The gateways by name.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<Box<str>, Heard>>);

/// What one voter asks another.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Question {
    heard_within_ms: u64,
}

impl Question {
    pub(crate) fn within(length: Duration) -> Self {
        Self { heard_within_ms: u64::try_from(length.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// What is answered.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Told {
    gateways: Vec<ToldOf>,
    /// How many more there are than fit.
    left_out: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldOf {
    gateway: Box<str>,
    heard_ms_ago: u64,
    report: Report,
}

impl Board {
    /// A gateway told this voter.
    pub(crate) fn hear(
        &self,
        gateway: &str,
        mut report: Report,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let refused = report.lines.iter_mut().filter_map(|line| line.refused.as_mut());
        let unusable = report.unusable.iter_mut().map(|it| &mut it.why);
        for why in refused.map(|it| &mut it.why).chain(unusable) {
            *why = why.chars().take(REFUSAL_CHARS_MAX).collect();
        }
        self.put(gateway.into(), Heard { at: now, by: None, report }, now)
    }

    /// Another voter told what it heard.
    pub(crate) fn hear_from(&self, voter: u64, told: Told, now: Timestamp) {
        for ToldOf { gateway, heard_ms_ago, report } in told.gateways {
            let at = now.unix_ms().saturating_sub(heard_ms_ago);
            let heard = Heard { at: Timestamp::from_unix_ms(at), by: Some(voter), report };
            // What finds no place is left out here as it would be there.
            self.put(gateway, heard, now).ok();
        }
        if told.left_out > 0 {
            tracing::warn!(
                voter,
                left_out = told.left_out,
                "not all that a voter heard could be told"
            );
        }
    }

    fn put(&self, gateway: Box<str>, heard: Heard, now: Timestamp) -> Result<(), Problem> {
        let mut board = self.0.lock();
        board.retain(|_, heard| now < heard.at.plus(FORGOTTEN));
        let known = board.get(&gateway);
        if known.is_none() && board.len() >= GATEWAYS_MAX {
            return Err(Problem::Refused(aegis_registry::Refusal::Full));
        }
        if known.is_none_or(|known| known.at <= heard.at) {
            board.insert(gateway, heard);
        }
        Ok(())
    }

    pub(crate) fn all(&self) -> BTreeMap<Box<str>, Heard> {
        self.0.lock().clone()
    }

    /// What gateways told this voter lately, the youngest first, as far as it fits.
    fn told(&self, question: &Question, now: Timestamp) -> Told {
        let ago = |heard: &Heard| now.since(heard.at).ms();
        let board = self.0.lock();
        let own = board.iter().filter(|(_, heard)| heard.by.is_none());
        let mut lately: Vec<_> =
            own.filter(|(_, heard)| ago(heard) <= question.heard_within_ms).collect();
        lately.sort_by_key(|(_, heard)| ago(heard));
        let (mut told, mut bytes) = (Told::default(), 0_usize);
        for (gateway, heard) in &lately {
            let report = heard.report.clone();
            let of = ToldOf { gateway: (*gateway).clone(), heard_ms_ago: ago(heard), report };
            bytes = bytes.saturating_add(serde_json::to_vec(&of).map_or(0, |it| it.len()));
            if bytes > ANSWER_BYTES_MAX {
                break;
            }
            told.gateways.push(of);
        }
        told.left_out = lately.len().saturating_sub(told.gateways.len());
        told
    }
}

impl Answers for Board {
    fn answer(&self, question: &str) -> String {
        let question = serde_json::from_str(question);
        let told = question.map(|question| self.told(&question, clock::now()));
        // What cannot be read was asked by another version, which is told nothing.
        serde_json::to_string(&told.unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Region;

    use super::*;

    fn report(build: &str) -> Report {
        let region = Region::parse("eu-west-1").unwrap();
        Report { build: build.to_owned(), region, lines: Vec::new(), unusable: Vec::new() }
    }

    fn at(s: u64) -> Timestamp {
        Timestamp::from_unix_s(1_790_000_000 + s)
    }

    fn hand_on(from: &Board, to: &Board, (within_s, now): (u64, Timestamp)) {
        let question = Question::within(Duration::from_secs(within_s));
        to.hear_from(2, from.told(&question, now), now);
    }

    #[test]
    fn of_each_gateway_the_youngest_report_counts_whoever_heard_it() {
        let (here, there) = (Board::default(), Board::default());
        there.hear("gw", report("old"), at(0)).unwrap();
        here.hear("gw", report("new"), at(5)).unwrap();
        hand_on(&there, &here, (60, at(6)));
        assert_eq!(here.all()["gw"].report.build, "new");
        there.hear("gw", report("newer"), at(9)).unwrap();
        hand_on(&there, &here, (60, at(10)));
        let heard = here.all()["gw"].clone();
        assert_eq!((heard.report.build.as_str(), heard.by, heard.at), ("newer", Some(2), at(9)));
    }

    #[test]
    fn a_voter_tells_only_what_it_heard_itself_and_lately() {
        let (here, there, third) = (Board::default(), Board::default(), Board::default());
        there.hear("early", report("b"), at(0)).unwrap();
        there.hear("late", report("b"), at(100)).unwrap();
        hand_on(&there, &here, (50, at(101)));
        assert_eq!(here.all().keys().map(|name| &**name).collect::<Vec<_>>(), ["late"]);
        hand_on(&here, &third, (50, at(101)));
        assert!(third.all().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_counted_and_the_youngest_are_told() {
        let board = Board::default();
        let long = "x".repeat(ANSWER_BYTES_MAX / 4);
        for s in 0..8 {
            board.hear(&format!("gw-{s}"), report(&long), at(s)).unwrap();
        }
        let told = board.told(&Question::within(Duration::from_secs(60)), at(8));
        assert_eq!((told.gateways.len(), told.left_out), (3, 5));
        assert_eq!(&*told.gateways[0].gateway, "gw-7");
    }
}
