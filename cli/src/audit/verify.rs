//! `aegisctl audit verify`: is every record that was signed for still here, unchanged?
//!
//! Not here: how that is found out (`audit/chain`). Invariant: the exit code is 0 only for PASS, and what is remembered of
//! a log is replaced only when nothing was found against it.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use aegis_audit_chain::Origin;
use aegis_audit_chain::retention::Retention;
use aegis_audit_verify::{
    Depth, Finding, Gap, Options, Place, Report, Severity, Verdict, WitnessedHead, check_kept,
    verify_region_with,
};
use aegis_cli_evidence::{
    StoreOption, Threads, check_package, cosigned_heads, kept_line, load_trust, memorise, open_log,
    promised, recall, store_option,
};
use aegis_domain::Timestamp;
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::evidence;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};
use crate::{args as values, clock};
use aegis_cli_sheet::{Mood, Sheet};

/// Verify an audit log: signatures, chains, trees and what records say of each other.
#[derive(Debug, Args)]
#[command(after_help = "\
Verdicts and exit codes:
  PASS        0  every record that was signed for is here, unchanged
  FAIL        1  something signed is gone or different
  SUSPECT     1  nothing is gone or different, but records contradict each other
  INCOMPLETE  3  what could be judged holds, and something could not; so it is while a gateway writes

An auditor brings a trust file of their own, and remembers how far the log reached:
  aegisctl audit verify --from ./copy-of-the-log --trust registry.txt --remember head.txt
  aegisctl audit verify --from s3://audit --trust region.txt --witnessed-since 10m

A fleet's log must reach what the region's voters saw last, though nobody verified it before:
  aegisctl audit trust --out region.txt; aegisctl audit heads > heads.txt
  sleep 60    # a head is known before its records are in the bucket, and until then it is FAIL
  aegisctl audit verify --from s3://audit/eu-west-1 --trust region.txt --heads heads.txt

Whoever must know that nobody can delete the log yet has the lock of each of its objects read back; less is FAIL:
  aegisctl audit verify --from s3://audit --trust region.txt --retention compliance:365d

A tenant brings the package it was handed:
  aegisctl audit verify --tenant-package acme.tenant-package --trust registry.txt

An agent's side asks whether a promise was kept; one that was not, a minute later, is FAIL with its place:
  aegisctl audit verify --attestation attestation.jwt --keys jwks.json --trust region.txt --from s3://audit

Examples:
  aegisctl audit verify
  aegisctl audit verify -o json | jq .findings")]
pub(super) struct VerifyArgs {
    /// Where the log lies: a folder, or s3://, gs:// or az://bucket/prefix; the data directory's own unless given.
    #[arg(value_name = "FROM", conflicts_with = "from")]
    log: Option<String>,
    /// The same, by name.
    #[arg(long, value_name = "FROM")]
    from: Option<String>,
    /// What the bucket's client must be told, such as aws_endpoint=http://127.0.0.1:9000; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = store_option)]
    store_option: Vec<StoreOption>,
    /// Which registries to believe; the data directory's trust.txt unless given.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// How many threads read files of the log, each with one of them in memory: 64 MiB, or what a segment unpacks to. As
    /// many as there are cores unless given; the report is the same.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// How deep to look.
    #[arg(long, value_enum, default_value_t = Deep::Schema)]
    depth: Deep,
    /// Witnesses must have seen the registry then or later: `24h` ago, or a time in RFC 3339. The trust file names them.
    #[arg(long, value_name = "TIME", value_parser = values::since)]
    witnessed_since: Option<Timestamp>,
    /// The log must reach the heads in this file, as `audit heads` prints them; the trust file says who must have cosigned them.
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// The log must extend the head in this file, and a new head is kept there for the next run.
    #[arg(long, value_name = "FILE")]
    remember: Option<PathBuf>,
    /// The store must keep every object of the log like that, counted from when it was written (a day less will do): MODE:DAYSd, with
    /// the words of the gateway's `ship.retention`. S3 is asked for each object's lock in the version that is read, Google for the
    /// bucket's policy; what a store does not say is INCOMPLETE.
    #[arg(long, value_name = "MODE:DAYSd", value_parser = Retention::parse)]
    retention: Option<Retention>,
    /// The log must have the record that this attestation promises: the value of an Aegis-Attestation header.
    #[arg(long, value_name = "FILE")]
    attestation: Option<PathBuf>,
    /// Who may have signed the attestation, as the gateway publishes it at /.well-known/jwks.json; the data directory's
    /// keys/jwks.json unless given.
    #[arg(long, value_name = "FILE", requires = "attestation")]
    keys: Option<PathBuf>,
    /// Check a tenant's package, as `audit tenant` makes it, instead of a log: are these all its records?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["log", "from", "store_option", "depth", "threads", "retention"])]
    tenant_package: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deep {
    /// Frames, chains, trees, heads, signatures.
    Chain,
    /// All of that, every field, outcomes paired with decisions, sums.
    Schema,
}

pub(super) fn run(args: &VerifyArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let trust = load_trust(&args.trust.clone().unwrap_or_else(|| home.trust()))?;
    let before = args.remember.as_deref().map(recall).transpose()?.unwrap_or_default();
    let mut remembered = before.clone();
    if let Some(heads) = &args.heads {
        remembered.extend(cosigned_heads(heads, &trust)?);
    }
    if let Some(package) = &args.tenant_package {
        let (answer, heads) = check_package(package, &trust, &remembered)?;
        args.remember.as_deref().map_or(Ok(()), |path| memorise(path, (&before, &heads)))?;
        return evidence::show(Ok(answer), screen);
    }
    let from = args.log.as_ref().or(args.from.as_ref());
    let from = from.map_or_else(|| home.audit().display().to_string(), String::clone);
    let depth = match args.depth {
        Deep::Chain => Depth::Chain,
        Deep::Schema => Depth::Schema,
    };
    let options = Options { depth, remembered, witnessed_since: args.witnessed_since };
    let keys = args.keys.clone().unwrap_or_else(|| home.jwks());
    let promise = |file: &PathBuf| promised((file, &keys), &trust, clock::now());
    let attested = args.attestation.as_ref().map(promise).transpose()?;
    let crew = Threads::new(args.threads);
    let mut report = Report::default();
    let log = open_log(&from, &args.store_option)?.with_indexes();
    let found = log.each(&trust, &mut |source, trust| {
        let progress = screen.progress(source.bytes());
        let mut report = verify_region_with(&crew, source, trust, &options, &mut |done| {
            progress.reach(done.bytes)
        });
        progress.done();
        for attested in attested.iter().filter(|one| one.is_of(trust)) {
            attested.check(source, &mut report);
        }
        if let Some(asked) = args.retention {
            check_kept(asked, source, &mut report);
        }
        Ok::<_, Failure>(report)
    })?;
    found.into_iter().for_each(|one| report.absorb(one));
    show(&report, screen)?;
    if report.kept.is_none() && is_bucket(&from) && !screen.is_json() {
        screen.say("how long the bucket keeps the log was not asked (--retention)");
    }
    if let (Some(path), true) = (&args.remember, report.findings.is_empty()) {
        memorise(path, (&before, &report.registries))?;
    }
    Ok(exit(report.verdict()))
}

/// Whether a store that may keep what it holds was named, and not files.
fn is_bucket(from: &str) -> bool {
    from.contains("://") && !from.starts_with("file://")
}

/// 2 is taken: it says that the command line is wrong.
fn exit(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Pass => Exit::Ok,
        Verdict::Fail | Verdict::Suspect => Exit::CheckFailed,
        Verdict::Incomplete => Exit::Missing,
    }
}

fn show(report: &Report, screen: &Screen) -> Result<(), Failure> {
    let verdict = report.verdict();
    if screen.is_json() {
        let mut value = report.to_json();
        if let Some(members) = value.as_object_mut() {
            members.insert("exit_code".to_owned(), exit(verdict).code().into());
        }
        return screen.json(&value);
    }
    if !report.findings.is_empty() || !report.gaps.is_empty() {
        screen.sheet(&problems(report))?;
    }
    if !report.streams.is_empty() {
        screen.sheet(&streams(report))?;
    }
    screen.raw(format!("{}\n", verdict.as_str()))?;
    let records = usize::try_from(report.records).unwrap_or(usize::MAX);
    screen.say(&format!(
        "{} in {}",
        counted(records, "record"),
        counted(report.streams.len(), "stream")
    ));
    for WitnessedHead { head, by, at } in &report.witnessed {
        let (origin, size, at) = (&head.origin, head.size, clock::show(*at));
        screen.say(&format!("{} saw {origin} to record {size} until {at}", by.join(", ")));
    }
    if let Some(kept) = &report.kept {
        screen.say(&kept_line(kept));
    }
    if report.unsettled_count > 0 {
        screen.say(&format!(
            "{} calls were let through and have no outcome; `-o json` lists them",
            report.unsettled_count
        ));
    }
    Ok(())
}

fn problems(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&["severity", "what", "where"]);
    for Finding { place, flaw } in &report.findings {
        let severity = match flaw.severity() {
            Severity::Broken => "broken",
            Severity::Suspect => "suspect",
        };
        let cells = vec![severity.into(), flaw.to_string().into(), at(place).into()];
        sheet.row_in(Mood::Bad, cells);
    }
    for gap in &report.gaps {
        let (what, origin) = describe(gap);
        sheet.row_in(Mood::Doubtful, vec!["gap".into(), what.into(), origin.into()]);
    }
    sheet
}

fn at(place: &Place) -> String {
    let origin = place.origin.as_ref().map(ToString::to_string);
    let seq = place.seq.map(|seq| format!("record {seq}"));
    let offset = place.offset.map(|offset| format!("byte {offset}"));
    let parts = [origin, seq, place.file.clone(), offset];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn describe(gap: &Gap) -> (String, Option<String>) {
    let of = |origin: &Origin| Some(origin.to_string());
    match gap {
        Gap::Unreadable(error) => (error.to_string(), None),
        Gap::Unanchored { origin, from, to } => {
            (format!("no signed head covers records {from} to {to} yet"), of(origin))
        }
        Gap::Tail { origin, from, bytes } => {
            (format!("{bytes} bytes after record {from} are no whole record"), of(origin))
        }
        Gap::Pruned { origin, to } => {
            (format!("records before {to} were shipped and deleted here (--from)"), of(origin))
        }
        Gap::Unnamed { origin, records } => {
            let records = counted(usize::try_from(*records).unwrap_or(usize::MAX), "record");
            (format!("{records} of a stream that its registry is still to name"), of(origin))
        }
        Gap::Ahead { origin, from, to } => (
            format!("streams speak of its records {from} to {to}, which are still to come"),
            of(origin),
        ),
        Gap::Unwritten { origin } => ("the stream was born and never written".into(), of(origin)),
        Gap::Unwitnessed { origin } => {
            ("no quorum of the trust file's witnesses saw this registry".into(), of(origin))
        }
        Gap::WitnessedLongAgo { origin, at, from, to } => {
            let at = clock::show(*at);
            let what = format!("witnesses saw it until {at}; records {from} to {to} are unseen");
            (what, of(origin))
        }
        Gap::Kept { objects, first, why } => {
            let others = objects.saturating_sub(1);
            let more = if others > 0 { format!(" and {others} more") } else { String::new() };
            (format!("how long it is kept is not known: {why}"), Some(format!("{first}{more}")))
        }
    }
}

fn streams(report: &Report) -> Sheet {
    let mut sheet = Sheet::new(&["stream", "ended", "records", "anchored"]).right_from(2);
    for stream in &report.streams {
        let ended = stream.ended.map_or("running", |ending| ending.as_str());
        let (records, anchored): (Value, Value) = (stream.records.into(), stream.anchored.into());
        sheet.row(vec![stream.origin.as_str().into(), ended.into(), records, anchored]);
    }
    sheet
}
