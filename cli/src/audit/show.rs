//! `aegisctl audit show`: everything on record about one decision.
//!
//! Not here: proving that the record is in the log. Invariant: what is shown is the stored record, where it stands,
//! its leaf hash, and only such disclosures as open a digest in it.

use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::record::Record;
use aegis_audit_chain::{Hash, Origin};
use aegis_audit_disclosures::Kept;
use aegis_cli_evidence::is_about;
use aegis_domain::{DecisionId, TenantId, Timestamp};
use clap::Args;
use serde_json::{Value, json};

use crate::cost;
use crate::failure::{Exit, Failure};
use crate::home::Home;
use crate::screen::Screen;
use aegis_cli_journal as journal;
use aegis_cli_sheet::Sheet;

/// Show the records of one decision and its outcome.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl audit show 01K9ZQ4T3X8E5R6Y7W2V1BNM0C
  aegisctl audit show 01K9ZQ4T3X8E5R6Y7W2V1BNM0C -o json | jq '.[0].record.rules'")]
pub(super) struct ShowArgs {
    /// The id that a refusal and the Aegis-Decision-Id header name.
    #[arg(value_name = "DECISION", value_parser = DecisionId::parse)]
    id: DecisionId,
}

pub(super) fn run(args: &ShowArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let mut streams = journal::open(&home.audit())?;
    let progress = screen.progress(streams.iter().map(journal::Cursor::bytes).sum());
    let mut found = Vec::new();
    for stream in &mut streams {
        stream.read(&mut |origin, bytes| {
            progress.advance(bytes.len());
            let record = cost::read(origin, bytes)?;
            if is_about(&record, args.id) {
                found.push(describe(origin, &record, bytes)?);
            }
            Ok::<(), Failure>(())
        })?;
    }
    progress.done();
    for value in &mut found {
        disclose(value, home, args.id);
    }
    if found.is_empty() {
        let shipped = streams.iter().filter_map(journal::Cursor::begins_after).max();
        return Err(Failure::Unknown { message: missing(args.id, shipped) });
    }
    let mut sheet = Sheet::new(&["record", "name", "value"]);
    for value in &found {
        rows(&mut sheet, value);
    }
    screen.thing(&Value::Array(found), &sheet)?;
    Ok(Exit::Ok)
}

/// What is said of a decision that is not here, where records up to an instant were shipped and deleted.
fn missing(id: DecisionId, shipped: Option<Timestamp>) -> String {
    let mut message = format!("no record of decision {id} in this journal");
    if shipped.is_some_and(|last| id.unix_ms() <= last.unix_ms()) {
        message.push_str(&format!(
            "; records of its time were shipped and deleted here, and the audit bucket has them (aegisctl audit prove {id} --from BUCKET)"
        ));
    }
    message
}

fn describe(origin: &Origin, record: &Record, bytes: &[u8]) -> Result<Value, Failure> {
    let stored: Value = serde_json::from_slice(bytes)
        .map_err(|error| Failure::invalid(format!("a record of {origin}"), error))?;
    let leaf = Hash::leaf(bytes).to_string();
    Ok(json!({ "log": origin.as_str(), "seq": record.head.seq, "leaf": leaf, "record": stored }))
}

/// Adds what opens the record's digests, where it can still be opened; a value whose digest is not in the record is left out.
fn disclose(value: &mut Value, home: &Home, id: DecisionId) {
    let stored = value.get("record").cloned().unwrap_or_default();
    let tenant = stored.get("tenant").and_then(Value::as_str).map(TenantId::parse);
    let Some(Ok(tenant)) = tenant else { return };
    let text = stored.to_string();
    let mut opened = serde_json::Map::new();
    // A day that cannot be read leaves its digests closed, as an erased one does.
    let _unread = Kept::new(home.all_disclosures()).each(&tenant, &mut |line| {
        let disclosures = line.disclosures.filter(|_| line.id == id).into_iter().flatten();
        for disclosure in disclosures {
            let Some((_, name, plain)) = Disclosure::parse(disclosure.as_str()) else { continue };
            if text.contains(&disclosure.digest().to_string()) {
                opened.insert(name, plain);
            }
        }
        Ok(())
    });
    if let Some(members) = value.as_object_mut().filter(|_| !opened.is_empty()) {
        members.insert("disclosed".to_owned(), Value::Object(opened));
    }
}

fn rows(sheet: &mut Sheet, value: &Value) {
    let kind = value.pointer("/record/k").cloned().unwrap_or_default();
    for name in ["log", "seq", "leaf"] {
        let place = value.get(name).cloned().unwrap_or_default();
        sheet.row(vec![kind.clone(), name.into(), place]);
    }
    for (name, plain) in value.get("disclosed").and_then(Value::as_object).into_iter().flatten() {
        sheet.row(vec![kind.clone(), format!("disclosed {name}").into(), plain.clone()]);
    }
    let members = value.get("record").and_then(Value::as_object).into_iter().flatten();
    for (name, value) in members.filter(|(name, _)| name.as_str() != "k") {
        sheet.row(vec![kind.clone(), name.clone().into(), value.clone()]);
    }
}
