//! `aegisctl audit revoke`: a trust file that believes a stream up to a head, because somebody else may have its key.
//!
//! Not here: what a verifier makes of it (`audit/verify`). Invariant: the head is one that the stream's own registry holds, so what stood
//! before the key was stolen stands; neither the log nor the trust file that was read is changed.

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

/// Write a trust file that no longer believes a stream's key.
#[derive(Debug, Args)]
#[command(after_help = "\
Every life of a gateway has a key of its own, and its log is a stream: the last part of its name is the life's number. Whoever has
the key can sign for records that the gateway never wrote. The file that is written believes the stream up to the newest head
that its registry bears, or the newest from before the key was stolen. Under that file records behind the head are SUSPECT, and a head that
the key signed behind it is FAIL. The log cannot take that back, whoever writes it: give the file to everybody who verifies, and
keep it where the log's operator cannot change it. Then start the gateway again: its next life has another key.

Examples:
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
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    log: LogArgs,
}

fn stream(text: &str) -> Result<Origin, String> {
    let origin = Origin::parse(text).ok().filter(|origin| !origin.is_registry());
    origin.ok_or_else(|| "expected domain/region/gateway/number".to_owned())
}

impl RevokeArgs {
    pub fn run(&self, root: &Path) -> Result<Answer, EvidenceError> {
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
        self.write(trust, head)
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
        let signed = stream.anchors.last().map_or(0, |anchor| anchor.size);
        let origin = self.stream.clone();
        let mut head = Head { origin, size: 0, root: Hash::empty_root() };
        let mut walker = Walker::new(registry.clone());
        for first in log_files(source, registry).map_err(unreadable)? {
            let path = layout::wal_file(registry, first);
            let bytes = required_file(source, &path).map_err(unreadable)?;
            walk_file(&mut walker, (first, &bytes), &mut |_, step| {
                let is_before = self.before.is_none_or(|time| step.head.ts < time.unix_ns());
                if let (true, Ok(Entry::Anchor(anchor))) = (is_before, Entry::parse(step.record))
                    && anchor.origin == head.origin
                    && (head.size..=signed).contains(&anchor.size)
                {
                    (head.size, head.root) = (anchor.size, anchor.root);
                }
            });
        }
        Ok(Some(head))
    }

    fn write(&self, trust: Trust, head: Head) -> Result<Answer, EvidenceError> {
        let revoked = Revoked::new(head);
        let line = revoked.to_string();
        let Head { origin, size, root } = revoked.head().clone();
        let again = || EvidenceError::Usage { message: format!("{origin} is revoked already") };
        let trust = trust.revoke(revoked).ok_or_else(again)?;
        write_new(&self.out, trust.to_string().as_bytes())?;
        let value = json!({
            "stream": origin.as_str(), "size": size, "root": root.standard(), "line": line,
            "out": self.out,
        });
        Ok(Answer { tables: vec![Table::of_members(&value)], value, ..Answer::default() })
    }
}
