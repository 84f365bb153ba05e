//! `aegisctl audit tail`: the latest records, and those that follow.
//!
//! Not here: checking them. Invariant: with `-o json` each line is one record, byte for byte as it is stored and hashed.

use std::collections::VecDeque;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aegis_audit_chain::Origin;
use aegis_audit_chain::record::{Entry, Record};
use aegis_domain::Timestamp;
use clap::Args;

use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use crate::{clock, cost};
use aegis_cli_journal::{self as journal, Cursor};
use aegis_cli_sheet::{Mood, Sheet};

const LINES_MAX: usize = 10_000;
/// How soon a new record is seen.
const POLL: Duration = Duration::from_millis(250);

/// Show the latest decisions and outcomes.
#[derive(Debug, Args)]
#[command(after_help = "\
With -o json every line is one stored record; a table leaves out what streams write about themselves.

Examples:
  aegisctl audit tail
  aegisctl audit tail --follow -o json | jq 'select(.decision == \"deny\")'")]
pub(super) struct TailArgs {
    /// How many records.
    #[arg(short = 'n', long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    lines: u16,
    /// Go on with new records until interrupted.
    #[arg(short, long)]
    follow: bool,
}

/// A record that will be shown.
struct Seen {
    ts: u64,
    origin: Origin,
    bytes: Vec<u8>,
}

pub(super) fn run(args: &TailArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let audit = home.audit();
    let mut streams = journal::open(&audit)?;
    let lines = usize::from(args.lines).min(LINES_MAX);
    streams.iter_mut().for_each(Cursor::skip_to_newest_file);
    let mut last = read(&mut streams, screen, lines)?;
    if last.len() < lines {
        // The newest files hold too few: read everything.
        streams = journal::open(&audit)?;
        last = read(&mut streams, screen, lines)?;
    }
    show(&last, screen, Heading::Shown)?;
    if args.follow {
        return follow(streams, &audit, screen);
    }
    Ok(Exit::Ok)
}

/// Shows what comes until someone interrupts it.
fn follow(mut streams: Vec<Cursor>, audit: &Path, screen: &Screen) -> Result<Exit, Failure> {
    loop {
        thread::sleep(POLL);
        let known = |stream: &Cursor| streams.iter().any(|it| it.folder() == stream.folder());
        let born: Vec<_> = journal::open(audit)?.into_iter().filter(|it| !known(it)).collect();
        streams.extend(born);
        let new = read(&mut streams, screen, usize::MAX)?;
        if !new.is_empty() {
            show(&new, screen, Heading::Left)?;
        }
    }
}

/// The latest `lines` records from where the cursors stand, in the order of their times.
fn read(streams: &mut [Cursor], screen: &Screen, lines: usize) -> Result<Vec<Seen>, Failure> {
    let mut all = Vec::new();
    for stream in streams {
        let mut last = VecDeque::new();
        stream.read(&mut |origin, bytes| {
            let record = cost::read(origin, bytes)?;
            if screen.is_json() || is_about_a_call(&record.entry) {
                let (ts, origin) = (record.head.ts, origin.clone());
                last.push_back(Seen { ts, origin, bytes: bytes.to_vec() });
                if last.len() > lines {
                    last.pop_front();
                }
            }
            Ok::<(), Failure>(())
        })?;
        all.extend(last);
    }
    all.sort_by_key(|seen| seen.ts);
    Ok(all.split_off(all.len().saturating_sub(lines)))
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
        | Entry::Closed(_)
        | Entry::Head(_)
        | Entry::Gap(_) => {}
    }
}

/// Microseconds as milliseconds with two decimals, without a float.
fn milliseconds(us: u64) -> String {
    format!("{}.{:02}", us / 1_000, us % 1_000 / 10)
}
