//! What a verification found: one verdict, and the place of everything that led to it.
//!
//! Not here: how it is found. Invariant: a verdict follows from the findings and gaps alone, so a report cannot pass
//! while it lists something.

use aegis_audit_chain::frame::FrameError;
use aegis_audit_chain::link::LinkError;
use aegis_audit_chain::note::NoteError;
use aegis_audit_chain::record::{Ending, RecordError};
use aegis_audit_chain::retention::Retention;
use aegis_audit_chain::segment::SegmentError;
use aegis_audit_chain::source::SourceError;
use aegis_audit_chain::{Head, Origin};
use aegis_audit_registry::{RegistryError, RegistryFlaw};
use aegis_domain::{DecisionId, Timestamp};
use serde_json::{Value, json};

use crate::kept::KeptReport;

/// Unsettled decisions are all counted, and this many listed.
pub const UNSETTLED_LISTED: usize = 10_000;

/// Where something is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub origin: Option<Origin>,
    /// Path below the log's directory.
    pub file: Option<String>,
    pub offset: Option<u64>,
    pub seq: Option<u64>,
}

impl Place {
    pub(crate) fn of(origin: &Origin) -> Self {
        Self { origin: Some(origin.clone()), ..Self::default() }
    }

    pub(crate) fn file(origin: &Origin, path: &str) -> Self {
        Self { file: Some(path.to_owned()), ..Self::of(origin) }
    }
}

/// What a flaw says about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Something signed is gone or different.
    Broken,
    /// The records are those that were signed, but they contradict each other: look at the writer.
    Suspect,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    #[error(
        "the stream's key was revoked: records {from} to {to} stand behind the last head before that, and may be somebody else's"
    )]
    Revoked { from: u64, to: u64 },
    #[error(
        "the stream's key was revoked behind {stands} records, and it signed a head of {signed}"
    )]
    RevokedHead { stands: u64, signed: u64 },
    #[error("there is no log here, and an empty log is never valid")]
    Empty,
    #[error("the registry does not hold: {0}")]
    Registry(RegistryFlaw),
    #[error("a file that was written is missing")]
    Missing,
    #[error("a file stands here that the log did not write")]
    Stray,
    #[error(
        "the head of {size} records was seen by witnesses at {seen_s} s, and what stands there or behind it bears a time that cannot be"
    )]
    Dated { size: u64, seen_s: u64 },
    #[error("this stands beside the logs, and no log wrote it")]
    Guest,
    #[error("no registry names this stream")]
    Stranger,
    #[error("the stream is gone; it had at least {signed} records")]
    StreamGone { signed: u64 },
    #[error("the file belongs elsewhere, or a file before it is missing")]
    Misplaced,
    #[error("{0}")]
    Frame(FrameError),
    #[error("{0}")]
    Link(LinkError),
    #[error("this record is not the one that the record after it links to")]
    Changed,
    #[error("the log ends after {found} records, and {signed} are signed for")]
    Truncated { found: u64, signed: u64 },
    #[error("records {agreed} to {size} are not those that were signed: the root differs")]
    Root { size: u64, agreed: u64 },
    #[error("records stand after the {size} that the stream was closed with")]
    Extra { size: u64 },
    #[error("a signed note does not hold: {0}")]
    Note(NoteError),
    #[error("the signature of the last anchored head does not hold: {0}")]
    Anchor(NoteError),
    #[error("the birth note or first record names another stream or key than the registry")]
    Birth,
    #[error("a registry head written into this stream is not one the registry has")]
    Reference,
    #[error("the gateway found the stream {} when it started again", .0.as_str())]
    FoundBroken(Ending),
    #[error("the last record of a stream that ended in order is not `close`")]
    Unclosed,
    #[error("the clock steps by {step_ns} ns and no record says so")]
    Clock { step_ns: i128 },
    #[error("{0}")]
    Record(RecordError),
    #[error("a record of the registry's kinds stands in a stream")]
    Kind,
    #[error("an outcome has no decision, or is not the first for it")]
    OutcomeAlone,
    #[error("the record that was attested here is not in the log")]
    Unkept,
    #[error("an outcome names another decision id than the record it points to")]
    OutcomeOther,
    #[error("a seal's sums are not those of its records")]
    Sums,
    #[error("a tenant's seal names another record than the tenant's last")]
    TenantSeal,
    #[error("the head of {size} records names other tenants, or other last records of theirs")]
    Roster { size: u64 },
    #[error("{0}")]
    Segment(SegmentError),
    #[error("the store keeps this by {found}, and {asked} was asked for")]
    Kept { found: String, asked: Retention },
}

impl Flaw {
    pub fn severity(&self) -> Severity {
        match self {
            Flaw::Clock { .. }
            | Flaw::Record(_)
            | Flaw::Kind
            | Flaw::OutcomeAlone
            | Flaw::OutcomeOther
            | Flaw::Unclosed
            // Nothing that was signed is touched by it; somebody still put it there.
            | Flaw::Guest
            | Flaw::Dated { .. }
            // The writer's, or a thief's: nobody can tell.
            | Flaw::Revoked { .. }
            // The oldest version is read, and it is as signed; somebody still tried to hide it.
            | Flaw::Segment(SegmentError::Versions(_) | SegmentError::DeleteMarker)
            | Flaw::Sums => Severity::Suspect,
            Flaw::Empty
            | Flaw::RevokedHead { .. }
            | Flaw::Registry(_)
            | Flaw::Missing
            | Flaw::Stray
            | Flaw::Stranger
            | Flaw::StreamGone { .. }
            | Flaw::Misplaced
            | Flaw::Frame(_)
            | Flaw::Link(_)
            | Flaw::Changed
            | Flaw::Truncated { .. }
            | Flaw::Root { .. }
            | Flaw::Extra { .. }
            | Flaw::Note(_)
            | Flaw::Anchor(_)
            | Flaw::Birth
            | Flaw::Reference
            | Flaw::Unkept
            | Flaw::TenantSeal
            | Flaw::Roster { .. }
            | Flaw::Segment(_)
            | Flaw::Kept { .. }
            | Flaw::FoundBroken(_) => Severity::Broken,
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub place: Place,
    pub flaw: Flaw,
}

/// Something that could not be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    Unreadable(SourceError),
    /// Records `from` to `to` (exclusive) hold together, but no signed head covers them yet.
    Unanchored {
        origin: Origin,
        from: u64,
        to: u64,
    },
    /// Bytes after record `from` are no whole records: a writer is at work, or died and was not started again.
    Tail {
        origin: Origin,
        from: u64,
        bytes: u64,
    },
    /// Records before `to` were shipped, and deleted here under the region's signature.
    Pruned {
        origin: Origin,
        to: u64,
    },
    /// The stream was carried here before the registry that names it; what is here of it hangs together.
    Unnamed {
        origin: Origin,
        records: u64,
    },
    /// Streams that were carried here speak of heads of this registry that are still to come: its records from `from` on.
    Ahead {
        origin: Origin,
        from: u64,
        to: u64,
    },
    /// The stream was born and nothing of it was ever written.
    Unwritten {
        origin: Origin,
    },
    /// The trust file asks for witnesses, and no quorum of them saw this registry.
    Unwitnessed {
        origin: Origin,
    },
    /// No quorum of witnesses saw the registry lately: its records `from` to `to` (exclusive), and that there are no more, is
    /// the operator's word alone.
    WitnessedLongAgo {
        origin: Origin,
        at: Timestamp,
        from: u64,
        to: u64,
    },
    /// So many objects whose store did not say how long they are kept.
    Kept {
        objects: u64,
        first: String,
        why: String,
    },
}

/// A decision that let a call through and has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub origin: Origin,
    pub seq: u64,
    pub id: DecisionId,
}

/// One stream, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    pub origin: Origin,
    pub records: u64,
    /// Records under a signed head.
    pub anchored: u64,
    /// `None` while it is being written.
    pub ended: Option<Ending>,
}

/// How far, and until when, a quorum of witnesses saw a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessedHead {
    pub head: Head,
    /// By their names in the trust file.
    pub by: Vec<Box<str>>,
    pub at: Timestamp,
}

/// The whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every record that was signed for is here, unchanged.
    Pass,
    /// Something signed is gone or different.
    Fail,
    /// What could be judged holds, and something could not.
    Incomplete,
    /// Nothing is gone or different, but records contradict each other.
    Suspect,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::Incomplete => "INCOMPLETE",
            Verdict::Suspect => "SUSPECT",
        }
    }
}

/// Everything a run found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub gaps: Vec<Gap>,
    pub unsettled: Vec<Unsettled>,
    pub unsettled_count: u64,
    pub streams: Vec<StreamReport>,
    /// The registry heads this run believes; the next run should be given them as `remembered`.
    pub registries: Vec<Head>,
    pub witnessed: Vec<WitnessedHead>,
    pub records: u64,
    /// Where somebody asked how long the log's objects are kept.
    pub kept: Option<KeptReport>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let has = |severity| self.findings.iter().any(|one| one.flaw.severity() == severity);
        if has(Severity::Broken) || self.registries.is_empty() && self.gaps.is_empty() {
            Verdict::Fail
        } else if has(Severity::Suspect) {
            Verdict::Suspect
        } else if !self.gaps.is_empty() {
            Verdict::Incomplete
        } else if self.streams.is_empty() {
            // A registry that never saw a stream proves nothing about anyone's calls.
            Verdict::Incomplete
        } else {
            Verdict::Pass
        }
    }

    pub(crate) fn fail(&mut self, place: Place, flaw: Flaw) {
        self.findings.push(Finding { place, flaw });
    }

    /// Adds what a run over another region found.
    pub fn absorb(&mut self, other: Report) {
        let Report {
            findings,
            gaps,
            unsettled,
            unsettled_count,
            streams,
            registries,
            witnessed,
            records,
            kept,
        } = other;
        self.findings.extend(findings);
        self.gaps.extend(gaps);
        self.unsettled.extend(unsettled);
        self.unsettled.truncate(UNSETTLED_LISTED);
        self.unsettled_count = self.unsettled_count.saturating_add(unsettled_count);
        self.streams.extend(streams);
        self.registries.extend(registries);
        self.witnessed.extend(witnessed);
        self.records = self.records.saturating_add(records);
        match (&mut self.kept, kept) {
            (Some(ours), Some(theirs)) => ours.absorb(&theirs),
            (ours @ None, theirs) => *ours = theirs,
            (Some(_), None) => {}
        }
    }

    /// Replaces paths below the log's directory by the names that files have where they lie.
    pub(crate) fn name_places(&mut self, name: impl Fn(&str) -> String) {
        for file in self.findings.iter_mut().filter_map(|one| one.place.file.as_mut()) {
            *file = name(file);
        }
    }

    pub(crate) fn registry_flaw(&mut self, origin: &Origin, error: &RegistryError) {
        let path = aegis_audit_chain::layout::wal_file(origin, error.file);
        let place = Place {
            offset: Some(error.offset),
            seq: Some(error.seq),
            ..Place::file(origin, &path)
        };
        self.fail(place, Flaw::Registry(error.what.clone()));
    }

    /// The report for machines.
    pub fn to_json(&self) -> Value {
        let findings: Vec<Value> = self.findings.iter().map(finding_json).collect();
        let gaps: Vec<Value> = self.gaps.iter().map(gap_json).collect();
        let unsettled: Vec<Value> = self
            .unsettled
            .iter()
            .map(
                |one| json!({"origin": one.origin.as_str(), "seq": one.seq, "id": one.id.as_str()}),
            )
            .collect();
        let streams: Vec<Value> = self.streams.iter().map(stream_json).collect();
        let witnessed: Vec<Value> = self.witnessed.iter().map(witnessed_json).collect();
        let heads: Vec<String> = self.registries.iter().map(Head::checkpoint).collect();
        json!({
            "verdict": self.verdict().as_str(),
            "records": self.records,
            "findings": findings,
            "gaps": gaps,
            "unsettled": unsettled,
            "unsettled_count": self.unsettled_count,
            "streams": streams,
            "registry_heads": heads,
            "witnessed": witnessed,
            "retention": self.kept.as_ref().map(kept_json),
        })
    }
}

fn finding_json(finding: &Finding) -> Value {
    let place = &finding.place;
    let severity = match finding.flaw.severity() {
        Severity::Broken => "broken",
        Severity::Suspect => "suspect",
    };
    json!({
        "origin": place.origin.as_ref().map(Origin::as_str),
        "file": place.file,
        "offset": place.offset,
        "seq": place.seq,
        "severity": severity,
        "what": finding.flaw.to_string(),
    })
}

fn gap_json(gap: &Gap) -> Value {
    match gap {
        Gap::Unreadable(error) => {
            json!({"what": "unreadable", "file": error.path(), "why": error.to_string()})
        }
        Gap::Unanchored { origin, from, to } => {
            json!({"what": "unanchored", "origin": origin.as_str(), "from": from, "to": to})
        }
        Gap::Tail { origin, from, bytes } => {
            json!({"what": "tail", "origin": origin.as_str(), "from": from, "bytes": bytes})
        }
        Gap::Pruned { origin, to } => {
            json!({"what": "pruned", "origin": origin.as_str(), "from": 0, "to": to})
        }
        Gap::Unnamed { origin, records } => {
            json!({"what": "unnamed", "origin": origin.as_str(), "records": records})
        }
        Gap::Ahead { origin, from, to } => {
            json!({"what": "ahead", "origin": origin.as_str(), "from": from, "to": to})
        }
        Gap::Unwritten { origin } => json!({"what": "unwritten", "origin": origin.as_str()}),
        Gap::Unwitnessed { origin } => json!({"what": "unwitnessed", "origin": origin.as_str()}),
        Gap::WitnessedLongAgo { origin, at, from, to } => json!({
            "what": "witnessed long ago", "origin": origin.as_str(),
            "at_s": at.unix_s(), "from": from, "to": to,
        }),
        Gap::Kept { objects, first, why } => {
            json!({"what": "retention unknown", "objects": objects, "file": first, "why": why})
        }
    }
}

fn witnessed_json(witnessed: &WitnessedHead) -> Value {
    let WitnessedHead { head, by, at } = witnessed;
    json!({
        "origin": head.origin.as_str(), "size": head.size, "by": by, "at_s": at.unix_s(),
    })
}

fn kept_json(kept: &KeptReport) -> Value {
    json!({
        "asked": kept.asked.to_string(),
        "objects": kept.objects,
        "as_asked": kept.as_asked(),
        "weaker": kept.weaker,
        "unknown": kept.unknown,
        "earliest_s": kept.earliest_s,
    })
}

fn stream_json(stream: &StreamReport) -> Value {
    json!({
        "origin": stream.origin.as_str(),
        "records": stream.records,
        "anchored": stream.anchored,
        "ended": stream.ended.map(Ending::as_str),
    })
}
