//! What the gateways of a region run, as they report it to whichever voter they follow.
//!
//! Not here: what they should run (`ledger`), and what is remembered of reports (`board`). Reports come every few seconds and are
//! no matter for the ledger: voters ask each other for them when somebody wants to know. Invariant: a report says what is; it
//! changes nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_domain::Timestamp;
use aegis_ledger::LineKey;
use aegis_policy_follow::{LineReport, Report, RolloutReport};
use aegis_policy_rollout::{Counts, Observed};
use aegis_raft_store::Node;
use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::sync::Mutex as AsyncMutex;

use crate::board::{Board, FORGOTTEN, Question, SILENT};
use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Observations, Watched, clock};

const NAME_BYTES_MAX: usize = 63;
/// The year 2100.
const SINCE_S_MAX: u64 = 4_102_444_800;
/// How long a voter may take to tell what it heard.
const WITHIN: Duration = Duration::from_secs(1);
/// Whoever looks again so soon sees the same.
const FRESH: Duration = Duration::from_millis(500);
/// What came while the last question was on its way is asked for again.
const OVERLAP: Duration = Duration::from_secs(2);

/// What this voter knows of the gateways, and how it hears what others know.
#[derive(Debug)]
pub(crate) struct Fleet {
    node: Node,
    board: Arc<Board>,
    /// When each other voter last told what it heard; held while they are asked, so that they are asked once at a time.
    asked: AsyncMutex<BTreeMap<u64, Option<Instant>>>,
}

/// A gateway is called as hosts are: 1 to 63 of `a-z 0-9 . -`.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

impl Fleet {
    /// Tells other voters from now on what gateways tell this one.
    pub(crate) fn of(node: Node) -> Self {
        let board = Arc::new(Board::default());
        node.answer_with(Arc::<Board>::clone(&board));
        Self { node, board, asked: AsyncMutex::default() }
    }

    /// The latest epoch that any gateway said it decides by; of those that fell silent, too, for they come back with it.
    pub(crate) async fn newest_epoch(&self, line: &LineKey) -> u64 {
        self.gather().await;
        let fleet = self.board.all();
        let lines = fleet.values().flat_map(|heard| &heard.report.lines);
        lines.filter(|told| told.line == *line).map(|told| told.epoch).max().unwrap_or(0)
    }

    /// Hears what gateways told the other voters since these were last asked. How long ago each told, in the end.
    async fn gather(&self) -> BTreeMap<u64, Option<Duration>> {
        let mut asked = self.asked.lock().await;
        let begun = Instant::now();
        let is_fresh = |told: &Option<Instant>| told.is_some_and(|at| at.elapsed() < FRESH);
        if asked.is_empty() || !asked.values().all(is_fresh) {
            let since = |voter| asked.get(&voter).copied().flatten();
            let question = |voter| {
                let everything = Duration::from_secs(FORGOTTEN.ms() / 1_000);
                let within = since(voter).map_or(everything, |at| at.elapsed() + OVERLAP);
                serde_json::to_string(&Question::within(within)).unwrap_or_default()
            };
            let answers = self.node.ask_others(question, WITHIN).await;
            let now = clock::now();
            let told = answers.into_iter().map(|(voter, answer)| {
                let told = answer.and_then(|answer| serde_json::from_str(&answer).ok());
                let is_told = told.is_some();
                told.into_iter().for_each(|told| self.board.hear_from(voter, told, now));
                (voter, if is_told { Some(begun) } else { since(voter) })
            });
            *asked = told.collect();
        }
        asked.iter().map(|(voter, told)| (*voter, told.map(|at| at.elapsed()))).collect()
    }
}

#[async_trait]
impl Observations for Fleet {
    /// The sum over gateways, and the slowest of them. One that is not in this stage yet has seen nothing of it; what one saw that
    /// fell silent stays seen, or a candidate that takes gateways down would have no witness.
    async fn observed(&self, watched: &Watched) -> Option<Observed> {
        self.gather().await;
        let stage = u32::try_from(watched.stage).ok()?;
        let is_it = |report: &&RolloutReport| {
            let since_ns = watched.since.unix_ns();
            (report.id.as_str(), report.stage, report.since_ns)
                == (watched.rollout.as_ref(), stage, since_ns)
        };
        let fleet = self.board.all();
        let lines = fleet.values().flat_map(|heard| &heard.report.lines);
        let of = lines.filter(|line| line.line == watched.line);
        let seen = of.filter_map(|line| line.rollout.as_ref()).filter(is_it);
        seen.map(|report| report.observed).reduce(|one, other| Observed {
            stable: sum(one.stable, other.stable),
            candidate: sum(one.candidate, other.candidate),
        })
    }

    /// Of those that are still heard: one that is gone for good holds nothing up.
    async fn refusing(&self, watched: &Watched, epoch: u64) -> Option<Box<str>> {
        self.gather().await;
        let now = clock::now();
        let is_it = |told: &LineReport| {
            told.line == watched.line && told.refused.as_ref().is_some_and(|it| it.epoch == epoch)
        };
        let fleet = self.board.all().into_iter();
        let mut heard = fleet.filter(|(_, heard)| !heard.is_silent(now));
        heard.find(|(_, heard)| heard.report.lines.iter().any(is_it)).map(|(gateway, _)| gateway)
    }
}

fn sum(one: Counts, other: Counts) -> Counts {
    Counts {
        calls: one.calls.saturating_add(other.calls),
        denied: one.denied.saturating_add(other.denied),
        approvals: one.approvals.saturating_add(other.approvals),
        engine_errors: one.engine_errors.saturating_add(other.engine_errors),
        p99_us: one.p99_us.max(other.p99_us),
    }
}

pub(crate) async fn report(
    State(control): State<Arc<Control>>,
    Path(gateway): Path<String>,
    asked: Asked,
) -> Result<Response, Problem> {
    if !is_name(&gateway) {
        return Err(Problem::Malformed("a gateway's name is 1 to 63 of a-z 0-9 . -".into()));
    }
    let report: Report = asked.json()?;
    if report.lines.iter().any(|line| line.since_s > SINCE_S_MAX) {
        return Err(Problem::Malformed("a line decides since a time before the year 2100".into()));
    }
    control.hear(&gateway, report)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn show(State(control): State<Arc<Control>>) -> Response {
    let others = control.fleet.gather().await;
    let (now, own) = (clock::now(), control.node.identity().node);
    let voters = others.into_iter().map(|(voter, told)| {
        let ms = told.and_then(|told| u64::try_from(told.as_millis()).ok());
        let is_silent = ms.is_none_or(|ms| ms >= SILENT.ms());
        json!({ "node": voter, "told_ms_ago": ms, "is_silent": is_silent })
    });
    let gateways = control.fleet.board.all().into_iter().map(|(name, heard)| {
        let lines = heard.report.lines.iter().map(|line| control.line(line));
        json!({
            "gateway": name,
            "build": heard.report.build,
            "region": heard.report.region,
            "heard_at": clock::show(heard.at),
            "heard_by": heard.by.unwrap_or(own),
            "is_silent": heard.is_silent(now),
            "lines": lines.collect::<Vec<_>>(),
            "unusable": heard.report.unusable,
        })
    });
    let gateways: Vec<_> = gateways.collect();
    let (voters, author) = (voters.collect::<Vec<_>>(), control.author_shape());
    Json(json!({ "gateways": gateways, "voters": voters, "author": author })).into_response()
}

impl Control {
    /// Takes note of what a gateway runs.
    pub fn heard(&self, gateway: &str, report: Report) {
        // The gateway of this very process has a name that is one.
        self.hear(gateway, report).ok();
    }

    fn hear(&self, gateway: &str, report: Report) -> Result<(), Problem> {
        self.fleet.board.hear(gateway, report, clock::now())
    }

    /// What one gateway runs, beside what is released.
    fn line(&self, told: &LineReport) -> Value {
        let ledger = self.node.ledger();
        let pointer = ledger.releases().line(&told.line).and_then(|line| line.pointer());
        let released = pointer.map(|pointer| (pointer.epoch, pointer.choice.active));
        let order = released.map(|(epoch, _)| epoch.cmp(&told.epoch));
        let state = match (order, &told.refused) {
            (Some(Ordering::Greater), Some(_)) => "refused",
            (Some(Ordering::Greater), None) => "behind",
            (Some(Ordering::Less), _) => "ahead",
            // Of the same epoch it holds another release.
            (Some(Ordering::Equal), Some(refused)) if refused.epoch == told.epoch => "ahead",
            (Some(Ordering::Equal) | None, _) => "current",
        };
        json!({
            "tenant": told.line.tenant,
            "environment": told.line.environment,
            "state": state,
            "version": told.version,
            "epoch": told.epoch,
            "since": clock::show(Timestamp::from_unix_s(told.since_s)),
            "released": released.map(|(epoch, version)| json!({ "epoch": epoch, "version": version })),
            "refused": told.refused,
            "rollout": told.rollout,
        })
    }
}
