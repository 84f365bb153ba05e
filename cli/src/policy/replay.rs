//! `aegisctl policy replay`: who would fare otherwise under another policy?
//!
//! Not here: what a difference is (`policies/engine`), finding what a call's policy saw (`recorded`), judging one record
//! (`judge`). Invariant: records are streamed, so memory does not grow with their number, and a record counts as replayed
//! only when what is replayed matches its digest.

mod judge;
pub(super) mod recorded;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use aegis_domain::{DecisionId, Timestamp};
use aegis_policy::replay::Impact;
use clap::Args;
use serde_json::{Map, Value, json};

use self::judge::{Counts, Judge};
use self::recorded::Inputs;
use super::load::Policy;
use crate::args::since;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::{Screen, counted};
use aegis_cli_journal as journal;
use aegis_cli_sheet::Progress;
use aegis_cli_sheet::{Mood, Sheet};

/// Decide recorded calls again under another policy, and count who would fare otherwise.
#[derive(Debug, Args)]
#[command(after_help = "\
Replayed are enforced decisions of the policy's tenant that the policy itself reached and whose input is still kept: the
disclosures beside the audit log, checked against the digests in the records. With --baseline, which is the policy that
was in force, other obligations are seen as well, and calls of which the candidate reads what was not kept are left out.
Without it, what was not kept counts as missing.

Examples:
  aegisctl policy replay --candidate policies/acme-next.yaml --baseline policies/acme.yaml
  aegisctl policy replay --candidate next.yaml --from /backup/audit --since 24h -o json | jq .totals
  aegisctl policy replay --candidate next.yaml --fail-on newly-denied,newly-allowed")]
pub(super) struct ReplayArgs {
    /// The policy to decide under.
    #[arg(long, value_name = "FILE")]
    candidate: PathBuf,
    /// The policy that was in force.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// An audit log, or a file of records, one a line; - is stdin. The data directory's own log unless given.
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// The disclosures; beside the audit log unless given.
    #[arg(long, value_name = "DIR")]
    disclosures: Option<PathBuf>,
    /// Only what was decided since: 24h, or an instant.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<Timestamp>,
    /// How many decisions to name in each row.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=100))]
    examples: u8,
    /// End with 5 if any call would fare like this.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = impact)]
    fail_on: Vec<Impact>,
    /// How many threads decide; one a core unless given.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

fn impact(text: &str) -> Result<Impact, String> {
    let wanted = text.replace('-', "_");
    Impact::ALL.into_iter().find(|impact| impact.as_str() == wanted).ok_or_else(|| {
        let names = Impact::ALL.map(|impact| impact.as_str().replace('_', "-"));
        format!("expected one of {}", names.join(", "))
    })
}

/// Some records, one after the other.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

const BATCH_RECORDS: usize = 256;
/// Batches that may wait for each thread.
const WAITING_MAX: usize = 4;

impl Batch {
    fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(from, to)| self.bytes.get(*from..*to))
    }
}

pub(super) fn run(args: &ReplayArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let candidate = Policy::load(&args.candidate)?;
    let baseline = args.baseline.as_deref().map(Policy::load).transpose()?;
    let from = args.from.clone().unwrap_or_else(|| home.audit());
    let inputs = Inputs::new(disclosures_of(args, &from, home));
    let judge = Judge::new(&candidate, baseline.as_ref(), &inputs)
        .since(args.since)
        .with_examples(usize::from(args.examples));
    let threads = args.threads.or_else(|| thread::available_parallelism().ok());
    let counts =
        decide(&judge, threads.map_or(1, NonZeroUsize::get), |sender| feed(&from, screen, sender))?;
    show(&counts, &candidate, screen)?;
    if args.baseline.is_none() {
        screen.say("without --baseline, what was not kept of a call counts as missing");
    }
    let fails = args.fail_on.iter().any(|impact| counts.tally.count(*impact) > 0);
    Ok(if fails { Exit::Impact } else { Exit::Ok })
}

fn disclosures_of(args: &ReplayArgs, from: &Path, home: &Home) -> PathBuf {
    let beside = from.is_dir().then(|| from.parent()).flatten();
    match (&args.disclosures, beside) {
        (Some(given), _) => given.clone(),
        (None, Some(folder)) => folder.join("disclosures"),
        (None, None) => home.all_disclosures(),
    }
}

/// Reads on this thread, decides on others, and puts their counts together.
fn decide(
    judge: &Judge<'_>,
    threads: usize,
    read: impl FnOnce(&mut Sender) -> Result<(), Failure>,
) -> Result<Counts, Failure> {
    let (sender, receiver) = sync_channel(threads.saturating_mul(WAITING_MAX));
    let receiver = Mutex::new(receiver);
    thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads).map(|_| scope.spawn(|| work(judge, &receiver))).collect();
        let mut sender = Sender { batch: Batch::default(), to: sender };
        let fed = read(&mut sender).map(|()| sender.flush());
        drop(sender);
        let mut counts = judge.nothing();
        for worker in workers {
            let died = |_| Failure::Unknown { message: "a thread of the replay died".to_owned() };
            counts.merge(worker.join().map_err(died)??);
        }
        fed.map(|()| counts)
    })
}

/// Takes batches until there are no more. After a failure they are taken still, lest the reader wait for ever.
fn work(judge: &Judge<'_>, receiver: &Mutex<Receiver<Batch>>) -> Result<Counts, Failure> {
    let mut counts = Ok(judge.nothing());
    loop {
        let next = receiver.lock().map(|receiver| receiver.recv());
        let Ok(Ok(batch)) = next else { return counts };
        counts = counts.and_then(|mut counts| {
            batch.records().try_for_each(|record| judge.add(record, &mut counts))?;
            Ok(counts)
        });
    }
}

/// Collects records into batches.
struct Sender {
    batch: Batch,
    to: SyncSender<Batch>,
}

impl Sender {
    fn send(&mut self, record: &[u8]) {
        self.batch.push(record);
        if self.batch.ends.len() >= BATCH_RECORDS {
            self.flush();
        }
    }

    fn flush(&mut self) {
        // Nobody takes it only when every thread has died, which joining them tells.
        self.to.send(std::mem::take(&mut self.batch)).ok();
    }
}

/// A record has 16,384 bytes at most; other people's lines may have spaces.
const LINE_BYTES_MAX: u64 = 1_024 * 1_024;

fn feed(from: &Path, screen: &Screen, sender: &mut Sender) -> Result<(), Failure> {
    if from.is_dir() {
        let mut streams = journal::open(from)?;
        let progress = screen.progress(streams.iter().map(journal::Cursor::bytes).sum());
        for stream in &mut streams {
            stream.read(&mut |_, record| {
                progress.advance(record.len());
                sender.send(record);
                Ok::<(), Failure>(())
            })?;
        }
        progress.done();
        return Ok(());
    }
    if from == Path::new("-") {
        return feed_lines(std::io::stdin().lock(), &Progress::hidden(), from, sender);
    }
    let failure = |error| Failure::file("the file of records", from, error);
    let file = std::fs::File::open(from).map_err(failure)?;
    let progress = screen.progress(file.metadata().map_err(failure)?.len());
    feed_lines(BufReader::new(file), &progress, from, sender)
}

fn feed_lines(
    mut lines: impl std::io::BufRead,
    progress: &Progress,
    from: &Path,
    sender: &mut Sender,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let failure = |error| Failure::file("the file of records", from, error);
        let length = read.map_err(failure)?;
        if u64::try_from(length).is_ok_and(|length| length >= LINE_BYTES_MAX) {
            let why = format!("a line has {LINE_BYTES_MAX} bytes or more, and no record has");
            return Err(failure(std::io::Error::new(std::io::ErrorKind::InvalidData, why)));
        }
        if length == 0 {
            progress.done();
            return Ok(());
        }
        progress.advance(length);
        let record = line.trim_ascii_end();
        if !record.is_empty() {
            sender.send(record);
        }
    }
}

fn show(counts: &Counts, candidate: &Policy, screen: &Screen) -> Result<(), Failure> {
    let mut sheet = Sheet::new(&["change", "agent", "tool", "calls", "examples"]);
    for (key, row) in &counts.tally.rows {
        let mood = match key.impact {
            Impact::NewlyAllowed | Impact::NewlyDenied => Mood::Bad,
            Impact::NewlyHeld | Impact::NoLongerHeld | Impact::ObligationsChanged => Mood::Doubtful,
        };
        let cells = vec![
            key.impact.as_str().into(),
            key.agent.as_ref().map(ToString::to_string).into(),
            key.tool.as_str().into(),
            row.calls.into(),
            ids(&row.examples),
        ];
        sheet.row_in(mood, cells);
    }
    if screen.is_json() {
        let totals = Impact::ALL
            .map(|impact| (impact.as_str().to_owned(), counts.tally.count(impact).into()));
        let skipped = counts.skipped.iter();
        screen.json(&json!({
            "candidate": candidate.snapshot.policy_ref().revision,
            "decisions": counts.decisions,
            "replayed": counts.replayed,
            "totals": totals.into_iter().collect::<Map<String, Value>>(),
            "differences": sheet.to_json(),
            "not_replayed": skipped.map(|(why, n)| (why.as_str().to_owned(), Value::from(*n))).collect::<Map<_, _>>(),
            "engine_errors": counts.engine_errors,
            "baseline_differs": counts.baseline_differs,
        }))?;
    } else if !counts.tally.rows.is_empty() {
        screen.sheet(&sheet)?;
    }
    tell(counts, screen);
    Ok(())
}

fn tell(counts: &Counts, screen: &Screen) {
    let size = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let changed: u64 = counts.tally.rows.values().map(|row| row.calls).sum();
    let decisions = counted(size(counts.decisions), "decision");
    screen
        .say(&format!("{decisions}, {} replayed, {changed} would fare otherwise", counts.replayed));
    for (why, count) in &counts.skipped {
        screen.say(&format!("  {count} not replayed: {}", why.words()));
    }
    if counts.engine_errors > 0 {
        screen.say(&format!("  {} denied because the engine failed", counts.engine_errors));
    }
    if counts.baseline_differs > 0 {
        let differs = counts.baseline_differs;
        screen.say(&format!("  {differs} decided otherwise on record than the baseline decides"));
    }
}

fn ids(examples: &BTreeSet<DecisionId>) -> Value {
    examples.iter().map(DecisionId::as_str).collect()
}
