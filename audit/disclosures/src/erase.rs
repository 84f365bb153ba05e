//! Erasure: destroys keys, so that what they sealed can never be opened, wherever a copy of it lies.
//!
//! Not here: the log, which holds digests only and is never touched. Invariant: an erasure that was interrupted leaves nothing
//! open that was closed, and the same command again finishes it. A copy of a *key* made before is beyond its reach.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use aegis_audit_chain::disclosure::Disclosure;
use aegis_domain::{DecisionId, TenantId, Timestamp};
use serde_json::{Value, json};

use crate::keys::{Keys, Named};
use crate::read::{Kept, KeptLine};
use crate::seal::DayKey;

/// What was done is written down here.
const TOLD: &str = ".erased.jsonl";
/// Decisions that the note of an erasure lists; all are counted.
const LISTED_MAX: usize = 10_000;
/// A gateway looks for its key before each line and writes at once: after this no line is on its way under one set aside.
const SETTLE: Duration = Duration::from_millis(200);

/// What an erasure did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Keys that were destroyed.
    pub keys: usize,
    /// Decisions whose digests can never be opened again.
    pub decisions: usize,
    /// Decisions that were sealed anew under another key.
    pub kept: usize,
}

/// Destroys every key of a tenant, and the files with what they sealed.
pub fn erase_tenant(dir: &Path, tenant: &TenantId, now: Timestamp) -> io::Result<Erased> {
    let (keys, kept) = (Keys::new(dir), Kept::new(dir.to_path_buf()));
    let mut ids = Vec::new();
    kept.each(tenant, &mut |line| {
        ids.push(line.id);
        Ok(())
    })?;
    let all = keys.all(tenant)?;
    for key in &all {
        keys.destroy(tenant, *key)?;
    }
    for file in kept.files(tenant)? {
        fs::remove_file(kept.path(tenant, file))?;
    }
    let erased = Erased { keys: all.len(), decisions: ids.len(), kept: 0 };
    tell(dir, json!({ "tenant": tenant.as_str(), "subject": false }), (now, &erased, &[]))?;
    Ok(erased)
}

/// Erases each decision of a tenant that discloses a text with `subject` in it, whatever the case of its letters. The others
/// that the same keys sealed are sealed anew, and then those keys are destroyed.
pub fn erase_subject(
    dir: &Path,
    tenant: &TenantId,
    (subject, now): (&str, Timestamp),
) -> io::Result<Erased> {
    let (keys, kept) = (Keys::new(dir), Kept::new(dir.to_path_buf()));
    let subject = subject.to_lowercase();
    let (mut erased, mut ids) = (Erased::default(), Vec::new());
    let mut concerned = Vec::new();
    for key in keys.all(tenant)? {
        // A key that was set aside before is gone on with, whoever it was for.
        let is_concerned = key.is_going || sealed_subject(&kept, tenant, (key, &subject))?;
        if is_concerned {
            concerned.push(key);
        }
    }
    for key in concerned {
        let going = if key.is_going { key } else { keys.set_aside(tenant, key)? };
        thread::sleep(SETTLE);
        let rekey = Rekey { dir, tenant, subject: &subject, going };
        rekey.run(&mut erased, &mut ids)?;
        keys.destroy(tenant, going)?;
        erased.keys = erased.keys.saturating_add(1);
    }
    tell(dir, json!({ "tenant": tenant.as_str(), "subject": true }), (now, &erased, &ids))?;
    Ok(erased)
}

fn sealed_subject(
    kept: &Kept,
    tenant: &TenantId,
    (key, subject): (Named, &str),
) -> io::Result<bool> {
    let mut found = false;
    for file in kept.files(tenant)?.into_iter().filter(|file| key.sealed(*file)) {
        kept.each_of(tenant, file, &mut |line| {
            found |= is_about(&line, subject);
            Ok(())
        })?;
    }
    Ok(found)
}

/// One key on its way out.
struct Rekey<'r> {
    dir: &'r Path,
    tenant: &'r TenantId,
    subject: &'r str,
    going: Named,
}

impl Rekey<'_> {
    /// Seals what is not about the subject anew, and removes the files that the key sealed.
    fn run(&self, erased: &mut Erased, ids: &mut Vec<DecisionId>) -> io::Result<()> {
        let (keys, kept) = (Keys::new(self.dir), Kept::new(self.dir.to_path_buf()));
        let files = kept.files(self.tenant)?;
        for (day, number) in files.into_iter().filter(|file| self.going.sealed(*file)) {
            let (key_file, secret) = keys.current(self.tenant, day)?;
            let key = DayKey::new(&secret, day)?;
            let mut sealed = Vec::new();
            kept.each_of(self.tenant, (day, number), &mut |line| {
                if is_about(&line, self.subject) {
                    erased.decisions = erased.decisions.saturating_add(1);
                    ids.push(line.id);
                } else if let Some(disclosures) = &line.disclosures {
                    erased.kept = erased.kept.saturating_add(1);
                    sealed.extend(key.seal(self.tenant, line.id, disclosures)?.into_bytes());
                }
                Ok(())
            })?;
            let path = kept.path(self.tenant, (day, key_file.number()));
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            file.write_all(&sealed)?;
            file.sync_all()?;
            fs::remove_file(kept.path(self.tenant, (day, number)))?;
        }
        Ok(())
    }
}

fn is_about(line: &KeptLine, subject: &str) -> bool {
    let parsed = |it: &Disclosure| Disclosure::parse(it.as_str()).map(|(_, _, value)| value);
    let values = line.disclosures.iter().flatten().filter_map(parsed);
    values.into_iter().any(|value| mentions(&value, subject))
}

fn mentions(value: &Value, subject: &str) -> bool {
    match value {
        Value::String(text) => text.to_lowercase().contains(subject),
        Value::Array(items) => items.iter().any(|item| mentions(item, subject)),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.to_lowercase().contains(subject) || mentions(value, subject)),
        Value::Number(number) => number.to_string() == subject,
        Value::Null | Value::Bool(_) => false,
    }
}

/// Writes down what was done, without the subject's name.
fn tell(
    dir: &Path,
    mut note: Value,
    (now, erased, ids): (Timestamp, &Erased, &[DecisionId]),
) -> io::Result<()> {
    let Erased { keys, decisions, kept } = erased;
    let ids: Vec<&str> = ids.iter().take(LISTED_MAX).map(DecisionId::as_str).collect();
    if let Some(members) = note.as_object_mut() {
        members.insert("at_ns".to_owned(), now.unix_ns().into());
        members.insert("keys".to_owned(), (*keys).into());
        members.insert("decisions".to_owned(), (*decisions).into());
        members.insert("kept".to_owned(), (*kept).into());
        members.insert("ids".to_owned(), ids.into());
    }
    let path = dir.join(TOLD);
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    file.write_all(format!("{note}\n").as_bytes())?;
    file.sync_all()
}
