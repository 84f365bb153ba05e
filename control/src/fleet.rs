//! What the gateways of a region run, as they report it.
//!
//! Not here: what they should run (`ledger`). Memory of this node alone: a gateway reports to the node it follows, every few
//! seconds, so a node that starts knows the fleet soon. Invariant: a report says what is; it changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_domain::{Timestamp, Ttl};
use aegis_policy_follow::{LineReport, Report, RolloutReport};
use aegis_policy_rollout::{Counts, Observed};
use async_trait::async_trait;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::problem::Problem;
use crate::read::Asked;
use crate::{Control, Observations, Watched, clock};

const GATEWAYS_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 63;
/// The year 2100.
const SINCE_S_MAX: u64 = 4_102_444_800;
const REFUSAL_CHARS_MAX: usize = 4_096;
/// Five reports that did not come.
const SILENT: Ttl = Ttl::from_s(15);
/// A gateway that is gone for good is forgotten after a day.
const FORGOTTEN: Ttl = Ttl::from_s(24 * 60 * 60);

/// The gateways that reported here.
#[derive(Debug, Default)]
pub(crate) struct Fleet(Mutex<BTreeMap<Box<str>, Heard>>);

#[derive(Clone, Debug)]
struct Heard {
    at: Timestamp,
    report: Report,
}

/// A gateway is called as hosts are: 1 to 63 of `a-z 0-9 . -`.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

impl Fleet {
    fn hear(&self, gateway: &str, mut report: Report, now: Timestamp) -> Result<(), Problem> {
        for refused in report.lines.iter_mut().filter_map(|line| line.refused.as_mut()) {
            refused.why = refused.why.chars().take(REFUSAL_CHARS_MAX).collect();
        }
        let mut fleet = self.0.lock();
        fleet.retain(|_, heard| now < heard.at.plus(FORGOTTEN));
        if fleet.len() >= GATEWAYS_MAX && !fleet.contains_key(gateway) {
            return Err(Problem::Refused(aegis_registry::Refusal::Full));
        }
        fleet.insert(gateway.into(), Heard { at: now, report });
        Ok(())
    }

    fn all(&self) -> BTreeMap<Box<str>, Heard> {
        self.0.lock().clone()
    }
}

#[async_trait]
impl Observations for Fleet {
    /// The sum over gateways, and the slowest of them. One that is silent, or not in this stage yet, has seen nothing of it.
    async fn observed(&self, watched: &Watched) -> Option<Observed> {
        let now = clock::now();
        let stage = u32::try_from(watched.stage).ok()?;
        let is_it = |report: &&RolloutReport| {
            let since_ns = watched.since.unix_ns();
            (report.id.as_str(), report.stage, report.since_ns)
                == (watched.rollout.as_ref(), stage, since_ns)
        };
        let fleet = self.0.lock();
        let heard = fleet.values().filter(|heard| now < heard.at.plus(SILENT));
        let lines = heard.flat_map(|heard| &heard.report.lines);
        let of = lines.filter(|line| line.line == watched.line);
        let seen = of.filter_map(|line| line.rollout.as_ref()).filter(is_it);
        seen.map(|report| report.observed).reduce(|one, other| Observed {
            stable: sum(one.stable, other.stable),
            candidate: sum(one.candidate, other.candidate),
        })
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
    let now = clock::now();
    let gateways = control.fleet.all().into_iter().map(|(name, heard)| {
        let lines = heard.report.lines.iter().map(|line| control.line(line));
        json!({
            "gateway": name,
            "build": heard.report.build,
            "region": heard.report.region,
            "heard_at": clock::show(heard.at),
            "is_silent": now >= heard.at.plus(SILENT),
            "lines": lines.collect::<Vec<_>>(),
        })
    });
    let gateways: Vec<_> = gateways.collect();
    Json(json!({ "gateways": gateways, "author": control.author_shape() })).into_response()
}

impl Control {
    /// Takes note of what a gateway runs.
    pub fn heard(&self, gateway: &str, report: Report) {
        // The gateway of this very process has a name that is one.
        self.hear(gateway, report).ok();
    }

    fn hear(&self, gateway: &str, report: Report) -> Result<(), Problem> {
        self.fleet.hear(gateway, report, clock::now())
    }

    /// What one gateway runs, beside what is released.
    fn line(&self, told: &LineReport) -> Value {
        let ledger = self.node.ledger();
        let pointer = ledger.releases().line(&told.line).and_then(|line| line.pointer());
        let released = pointer.map(|pointer| (pointer.epoch, pointer.choice.active));
        let is_behind = released.is_some_and(|(epoch, _)| epoch > told.epoch);
        let state = match (&told.refused, is_behind) {
            (Some(_), true) => "refused",
            (None, true) => "behind",
            (_, false) => "current",
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
