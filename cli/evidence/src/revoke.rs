//! `aegisctl audit revoke`: a trust file that believes a stream up to a head, because somebody else may have its key; and word of that to
//! its gateway.
//!
//! Not here: what a verifier makes of it (`audit/verify`), and what the gateway does (`audit/ship`). Invariant: the head is one that the stream's own registry holds, so what stood
//! before the key was stolen stands; neither the log nor the trust file that was read is changed.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use aegis_audit_chain::link::Walker;
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::Entry;
use aegis_audit_chain::source::{LogSource, log_files, required_file};
use aegis_audit_chain::walk::walk_file;
use aegis_audit_chain::{Hash, Head, Origin, layout};
use aegis_audit_trust::{Revoked, Trust};
use aegis_domain::Timestamp;
use clap::Args;
use serde_json::json;

use crate::EvidenceError;
use crate::answer::{Answer, Table};
use crate::filter::instant;
use crate::log::{LogArgs, write_new};
use crate::records::{streams, unreadable};

/// A record has no longer texts.
const REASON_BYTES_MAX: usize = 320;

/// Revoke a stream's key: end the stream, and write a trust file that believes it no further.
#[derive(Debug, Args)]
#[command(after_help = "\
Every life of a gateway has a key of its own, and its log is a stream: the last part of its name is the life's number. Whoever has
the key can sign for records that the gateway never wrote.

First end the stream: with --end its gateway, which is told through a file in its data directory, writes into its registry that the key is
revoked, takes no more calls, and ends within seconds; whatever starts it again begins a life with another key. Stopping it does as well.
Of a stream that has ended already, the gateway's next start puts it on record.

Then write a trust file that believes the stream up to the newest head that its registry bears, or the newest from before the key was
stolen. Under that file records behind the head are SUSPECT, and a head that the key signed behind it is FAIL, also one of a gateway that
was not ended. Proofs of the stream's records that were made before have to be made anew, with that file: `audit prove --trust`. The log
cannot take that back, whoever writes it: give the file to everybody who verifies, and keep it where the log's operator cannot change it.

Examples:
  aegisctl audit revoke audit.example.com/eu-west-1/gw-1/7 --end 'a copy of its memory was sold'
  aegisctl audit revoke audit.example.com/eu-west-1/gw-1/7 --trust region.txt --out region-2.txt
  aegisctl audit revoke audit.example.com/eu-west-1/gw-1/7 --before 2026-11-23T04:10:00Z --from s3://audit \\
    --trust region.txt --out region-2.txt
  aegisctl audit verify --from s3://audit --trust region-2.txt")]
pub struct RevokeArgs {
    /// The stream: domain/region/gateway/number, as `audit verify` names it.
    #[arg(value_name = "STREAM", value_parser = stream)]
    stream: Origin,
    /// When the key was stolen: 2h ago, or an instant such as 2026-11-23T04:10:00Z. Heads that the registry bears from then on are
    /// not believed.
    #[arg(long, value_name = "WHEN", value_parser = instant)]
    before: Option<Timestamp>,
    /// The file to write; one that is there is never overwritten.
    #[arg(long, value_name = "FILE", required_unless_present = "end")]
    out: Option<PathBuf>,
    /// Tell the gateway of the data directory to end the stream, with this reason on record, instead of writing a file.
    #[arg(long, value_name = "REASON", value_parser = reason, conflicts_with_all = ["out", "before", "from", "trust"])]
    end: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

fn stream(text: &str) -> Result<Origin, String> {
    let origin = Origin::parse(text).ok().filter(|origin| !origin.is_registry());
    origin.ok_or_else(|| "expected domain/region/gateway/number".to_owned())
}

fn reason(text: &str) -> Result<String, String> {
    let fits = (1..=REASON_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("expected one line of at most 320 bytes".to_owned())
    }
}

impl RevokeArgs {
    pub fn run(&self, root: &Path) -> Result<Answer, EvidenceError> {
        match (&self.end, &self.out) {
            (Some(reason), _) => self.tell(root, reason),
            (None, Some(out)) => self.revoke(root, out),
            (None, None) => {
                let message = "name a file with --out, or a reason with --end".to_owned();
                Err(EvidenceError::Usage { message })
            }
        }
    }

    /// Leaves word for the gateway, which looks for it every second.
    fn tell(&self, root: &Path, reason: &str) -> Result<Answer, EvidenceError> {
        // A name that is no stream of that gateway would never be heeded, and nobody would know.
        let birth = root.join("audit").join(layout::genesis_note(&self.stream));
        let birth = std::fs::read_to_string(birth).unwrap_or_default();
        if !birth.lines().any(|line| line == self.stream.as_str()) {
            let message = format!(
                "no gateway with {} as its data directory writes {}; `audit verify` names its streams",
                root.display(),
                self.stream
            );
            return Err(EvidenceError::Unknown { message });
        }
        let path = &root.join("revoked.txt");
        let failed = || EvidenceError::file("the word to the gateway", path);
        let known = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            known => known.map_err(failed())?,
        };
        // Somebody may have written it by hand, without an end of the last line.
        let end = if known.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
        let file = OpenOptions::new().append(true).create(true).open(path);
        let line = format!("{end}{} {reason}\n", self.stream);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.map_err(failed())?;
        let value = json!({ "stream": self.stream.as_str(), "reason": reason, "told": path });
        Ok(Answer { tables: vec![Table::of_members(&value)], value, ..Answer::default() })
    }

    fn revoke(&self, root: &Path, out: &Path) -> Result<Answer, EvidenceError> {
        let (log, trust) = self.log.open(root)?;
        let mut found = None;
        log.each(&trust, &mut |source, trust| {
            for (registry, region) in trust.registries() {
                if registry.vouches_for(&self.stream) {
                    found = found.take().or(self.stands(source, (registry, region))?);
                }
            }
            Ok::<_, EvidenceError>(())
        })?;
        let head = found.ok_or_else(|| {
            let message = format!("no registry that the trust file names knows {}", self.stream);
            EvidenceError::Unknown { message }
        })?;
        write((trust, head), out)
    }

    /// The newest head of the stream that is believed; `None` where the registry does not know the stream.
    fn stands(
        &self,
        source: &dyn LogSource,
        (registry, region): (&Origin, &Verifier),
    ) -> Result<Option<Head>, EvidenceError> {
        let known = streams(source, (registry, region))?;
        let Some(stream) = known.iter().find(|it| it.born.origin == self.stream) else {
            return Ok(None);
        };
        let last = match self.before {
            Some(time) => self.before(source, registry, time)?,
            None => stream.anchors.last().map(|anchor| (anchor.size, anchor.root)),
        };
        let (size, root) = last.unwrap_or((0, Hash::empty_root()));
        Ok(Some(Head { origin: self.stream.clone(), size, root }))
    }

    /// The newest head of the stream that the registry bears from before a time, under a head of its own: what a crash left behind
    /// that was never signed, and the next file begins in its place.
    fn before(
        &self,
        source: &dyn LogSource,
        registry: &Origin,
        time: Timestamp,
    ) -> Result<Option<(u64, Hash)>, EvidenceError> {
        let (mut signed, mut found) = (Walker::new(registry.clone()), None);
        for first in log_files(source, registry).map_err(unreadable)? {
            let path = layout::wal_file(registry, first);
            let bytes = required_file(source, &path).map_err(unreadable)?;
            let (mut walker, mut is_signed, mut newest) = (signed.clone(), false, found);
            walk_file(&mut walker, (first, &bytes), &mut |before, step| {
                if std::mem::take(&mut is_signed) {
                    signed = before.clone();
                }
                let is_before = step.head.ts < time.unix_ns();
                match Entry::parse(step.record) {
                    Ok(Entry::Anchor(anchor)) if is_before && anchor.origin == self.stream => {
                        newest = Some((anchor.size, anchor.root));
                    }
                    Ok(Entry::Head(_)) => (is_signed, found) = (true, newest),
                    _ => {}
                }
            });
            if is_signed {
                signed = walker;
            }
        }
        Ok(found)
    }
}

fn write((trust, head): (Trust, Head), out: &Path) -> Result<Answer, EvidenceError> {
    let revoked = Revoked::new(head);
    let line = revoked.to_string();
    let Head { origin, size, root } = revoked.head().clone();
    let again = || {
        let message = format!(
            "{origin} is revoked already; to believe it no further than another head, take its line out of a copy of the trust file first"
        );
        EvidenceError::Usage { message }
    };
    let trust = trust.revoke(revoked).ok_or_else(again)?;
    write_new(out, trust.to_string().as_bytes())?;
    let value = json!({
        "stream": origin.as_str(), "size": size, "root": root.standard(), "line": line, "out": out,
    });
    Ok(Answer { tables: vec![Table::of_members(&value)], value, ..Answer::default() })
}
