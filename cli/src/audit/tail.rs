//! `aegisctl audit tail`: the latest records of journals and of a bucket, and those that follow.
//!
//! Not here: checking them, and reading the bucket (`cli/evidence`). Invariant: with `-o json` each line is one record, byte for byte as it is stored and hashed.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::{Entry, Record};
use aegis_cli_evidence::{FilterArgs, Follower, Interrupt, LogArgs, Looked};
use aegis_domain::Timestamp;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::{clock, cost};
use aegis_cli_journal::{self as journal, Cursor};
use aegis_cli_sheet::{Mood, Sheet};

const LINES_MAX: usize = 10_000;
/// How soon a new record of a journal is seen.
const POLL: Duration = Duration::from_millis(250);
/// How soon a bucket is looked into again after it had something new; gateways ship every ten seconds.
const BUCKET_POLL: Duration = Duration::from_secs(2);
/// The same where nothing comes: twice as long each time, up to this.
const BUCKET_POLL_IDLE: Duration = Duration::from_secs(16);

/// Show the latest decisions and outcomes, of one gateway or of all.
#[derive(Debug, Args)]
#[command(after_help = "\
With -o json every line is one stored record; a table leaves out what streams write about themselves, and so does a filter.
Of a bucket it shows what trusted keys signed for, at first out of each stream's newest segment; a record is there ten seconds
after it was written. What is not shipped yet stands in the gateways' own journals, which --journal adds; a record that is in
both is shown once. Interrupt it to end it.

Examples:
  aegisctl audit tail
  aegisctl audit tail --follow --decision deny
  aegisctl audit tail --follow --from s3://audit --trust region.txt --tenant acme -o json | jq .agent
  aegisctl audit tail --follow --journal /srv/gw-1/audit --journal /srv/gw-2/audit --from s3://audit --trust region.txt")]
pub(super) struct TailArgs {
    /// How many records at first.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    lines: u16,
    /// Go on with new records until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// A journal on this machine; may be repeated. The data directory's own, where neither this nor --from is given.
    #[arg(long, value_name = "DIR")]
    journal: Vec<PathBuf>,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    log: LogArgs,
}

/// A record that will be shown.
struct Seen {
    ts: u64,
    origin: Origin,
    bytes: Vec<u8>,
}

/// Everything that is looked at.
struct Watch<'w> {
    args: &'w TailArgs,
    screen: &'w Screen,
    journals: Vec<PathBuf>,
    streams: Vec<Cursor>,
    bucket: Option<Follower<'w>>,
    /// When the bucket was looked into last, and how long it is left alone since.
    asked: (Instant, Duration),
    /// The first record of each stream that was not seen yet, wherever it was read.
    next: BTreeMap<Origin, u64>,
    /// What was said last about a bucket that cannot be read.
    trouble: Option<String>,
}

pub(super) fn run(args: &TailArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut journals = args.journal.clone();
    if journals.is_empty() && args.log.from.is_none() {
        journals.push(home.audit());
    }
    let opened = args.log.from.as_ref().map(|_| args.log.open(home.root())).transpose()?;
    let bucket = opened.as_ref().map(|(log, trust)| Follower::new(log, trust));
    let (streams, next, asked) = (open(&journals)?, BTreeMap::new(), (Instant::now(), BUCKET_POLL));
    let mut watch = Watch { args, screen, journals, streams, bucket, asked, next, trouble: None };
    let lines = usize::from(args.lines).min(LINES_MAX);
    watch.streams.iter_mut().for_each(Cursor::skip_to_newest_file);
    let mut last = watch.written(lines)?;
    if last.len() < lines {
        // The newest files hold too few: read everything.
        (watch.streams, watch.next) = (open(&watch.journals)?, BTreeMap::new());
        last = watch.written(lines)?;
    }
    last.extend(watch.shipped(lines)?);
    show(&latest(last, lines), screen, Heading::Shown)?;
    if args.follow {
        return watch.follow();
    }
    Ok(Exit::Ok)
}

/// A cursor at the beginning of each stream of each journal.
fn open(journals: &[PathBuf]) -> Result<Vec<Cursor>, Failure> {
    let mut streams = Vec::new();
    for journal in journals {
        streams.extend(journal::open(journal)?);
    }
    Ok(streams)
}

impl Watch<'_> {
    /// Shows what comes until someone interrupts it.
    fn follow(mut self) -> Result<Exit, Failure> {
        let interrupt = Interrupt::watch()
            .map_err(|error| Failure::file("the signal", Path::new("SIGINT"), error))?;
        while !interrupt.comes_within(POLL) {
            let known =
                |stream: &Cursor| self.streams.iter().any(|it| it.folder() == stream.folder());
            let born: Vec<_> = open(&self.journals)?.into_iter().filter(|it| !known(it)).collect();
            self.streams.extend(born);
            let mut new = self.written(usize::MAX)?;
            let (asked, pause) = self.asked;
            if asked.elapsed() >= pause {
                new.extend(self.shipped(usize::MAX)?);
            }
            if !new.is_empty() {
                show(&latest(new, usize::MAX), self.screen, Heading::Left)?;
            }
        }
        Ok(Exit::Ok)
    }

    /// The latest records from where the journals' cursors stand.
    fn written(&mut self, lines: usize) -> Result<Vec<Seen>, Failure> {
        let mut all = Vec::new();
        let Self { args, screen, streams, next, .. } = self;
        for stream in streams {
            let mut last = VecDeque::new();
            stream.read(&mut |origin, bytes| {
                last.extend(seen((args, screen), next, (origin, bytes))?);
                if last.len() > lines {
                    last.pop_front();
                }
                Ok::<(), Failure>(())
            })?;
            all.extend(last);
        }
        Ok(latest(all, lines))
    }

    /// The latest records that were shipped since the last time.
    fn shipped(&mut self, lines: usize) -> Result<Vec<Seen>, Failure> {
        let Self { args, screen, bucket, next, trouble, asked, .. } = self;
        let Some(bucket) = bucket else { return Ok(Vec::new()) };
        let (mut all, mut flaw) = (Vec::new(), None);
        let Looked { is_new, trouble: told } = bucket.read(&mut |origin, bytes| {
            match seen((args, screen), next, (origin, bytes)) {
                Ok(one) => all.extend(one),
                Err(failure) => flaw = flaw.take().or(Some(failure)),
            }
            Ok(())
        })?;
        if let (Some(why), true) = (&told, told != *trouble) {
            screen.say(&format!("the bucket is asked again: {why}"));
        }
        *trouble = told;
        let longer = asked.1.saturating_mul(2).min(BUCKET_POLL_IDLE);
        *asked = (Instant::now(), if is_new { BUCKET_POLL } else { longer });
        flaw.map_or(Ok(latest(all, lines)), Err)
    }
}

/// A record that is to be shown, if it was not seen before.
fn seen(
    (args, screen): (&TailArgs, &Screen),
    next: &mut BTreeMap<Origin, u64>,
    (origin, bytes): (&Origin, &[u8]),
) -> Result<Option<Seen>, Failure> {
    let record = cost::read(origin, bytes)?;
    let due = next.entry(origin.clone()).or_default();
    if record.head.seq < *due {
        return Ok(None);
    }
    *due = record.head.seq.saturating_add(1);
    let is_asked_for = match args.filter.takes_all() {
        true => screen.is_json() || is_about_a_call(&record.entry),
        false => args.filter.takes_record(origin, bytes),
    };
    let (ts, origin, bytes) = (record.head.ts, origin.clone(), bytes.to_vec());
    Ok(is_asked_for.then_some(Seen { ts, origin, bytes }))
}

/// The latest of them, in the order of their times.
fn latest(mut all: Vec<Seen>, lines: usize) -> Vec<Seen> {
    all.sort_by_key(|seen| seen.ts);
    all.split_off(all.len().saturating_sub(lines))
}

fn is_about_a_call(entry: &Entry) -> bool {
    matches!(entry, Entry::Decision(_) | Entry::Outcome(_))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Heading {
    Shown,
    /// It stands above already.
    Left,
}

fn show(records: &[Seen], screen: &Screen, heading: Heading) -> Result<(), Failure> {
    if screen.is_json() {
        let lines = records.iter().flat_map(|seen| [seen.bytes.as_slice(), b"\n"]);
        return screen.raw(lines.collect::<Vec<_>>().concat());
    }
    let columns = ["time", "tenant", "agent", "tool", "what", "reason", "cost_usd", "ms", "id"];
    let mut sheet = Sheet::new(&columns);
    if heading == Heading::Left {
        sheet = sheet.without_heading();
    }
    for seen in records {
        row(&mut sheet, &cost::read(&seen.origin, &seen.bytes)?);
    }
    screen.sheet(&sheet)
}

fn row(sheet: &mut Sheet, record: &Record) {
    let time = clock::show_ms(Timestamp::from_unix_ns(record.head.ts));
    let text = |it: Option<String>| it.into();
    match &record.entry {
        Entry::Decision(it) => {
            let mood =
                if it.reason.fault() == aegis_domain::Fault::None { Mood::Good } else { Mood::Bad };
            sheet.row_in(
                mood,
                vec![
                    time.into(),
                    text(it.tenant.as_ref().map(ToString::to_string)),
                    text(it.agent.as_ref().map(ToString::to_string)),
                    text(it.tool.as_ref().or(it.route.as_ref()).map(ToString::to_string)),
                    it.decision.as_str().into(),
                    it.reason.code().into(),
                    it.est_cost.to_string().into(),
                    milliseconds(it.eval_us).into(),
                    it.id.as_str().into(),
                ],
            );
        }
        Entry::Outcome(it) => sheet.row(vec![
            time.into(),
            text(it.tenant.as_ref().map(ToString::to_string)),
            text(it.agent.as_ref().map(ToString::to_string)),
            text(it.tool.as_ref().map(ToString::to_string)),
            it.status
                .map_or_else(|| "outcome".to_owned(), |status| format!("outcome {status}"))
                .into(),
            it.reason.code().into(),
            it.cost.to_string().into(),
            milliseconds(it.dur_us).into(),
            it.of.id.as_str().into(),
        ]),
        Entry::Genesis(_)
        | Entry::Clock(_)
        | Entry::AnchorRef(_)
        | Entry::Change(_)
        | Entry::TenantSeal(_)
        | Entry::Seal(_)
        | Entry::Close
        | Entry::Born(_)
        | Entry::Anchor(_)
        | Entry::Failed(_)
        | Entry::Revoked(_)
        | Entry::Closed(_)
        | Entry::Head(_)
        | Entry::Gap(_) => {}
    }
}

/// Microseconds as milliseconds with two decimals, without a float.
fn milliseconds(us: u64) -> String {
    format!("{}.{:02}", us / 1_000, us % 1_000 / 10)
}
