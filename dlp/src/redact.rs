//! Carries out what policy asked for before a body may leave.
//!
//! Not here: what must be blanked (`inspect`) and whether (`decide`). Invariant: a second look at what is
//! handed out finds nothing of the detectors asked for; otherwise nothing is handed out.

use std::collections::BTreeMap;
use std::ops::Range;

use aegis_domain::{Detector, Obligation};
use bytes::Bytes;

use crate::fields::{
    BLANK, Cleared, blank_form, blank_json, is_kept, is_nested_named, keep_form, keep_json,
};
use crate::hit::{Counts, Hit, add, splice, total};
use crate::inspect::Grain;
use crate::multipart::{self, Part};
use crate::scan::Look;
use crate::{ContentKind, DlpError};

/// What may leave, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted<B = Bytes> {
    pub body: B,
    /// Findings blanked, by detector.
    pub counts: BTreeMap<Detector, u32>,
    pub fields_removed: u32,
    pub attachments_removed: u32,
}

/// All obligations of one call, added up.
struct Orders<'a> {
    detectors: Vec<Detector>,
    blank: Vec<String>,
    /// Each a list of the only fields that may stay.
    keep: Vec<&'a [String]>,
    strip: Attachments,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attachments {
    Stay,
    Go,
}

impl<'a> Orders<'a> {
    fn sum(obligations: &'a [Obligation]) -> Self {
        let mut orders =
            Orders { detectors: vec![], blank: vec![], keep: vec![], strip: Attachments::Stay };
        for obligation in obligations {
            match obligation {
                Obligation::Redact { detectors } => orders.detectors.extend(detectors),
                Obligation::RedactFields { fields } => orders.blank.extend_from_slice(fields),
                Obligation::KeepFields { fields } => orders.keep.push(fields),
                Obligation::StripAttachments => orders.strip = Attachments::Go,
            }
        }
        orders.detectors.sort();
        orders.detectors.dedup();
        orders
    }

    fn look<'b>(&'b self, kind: &'b ContentKind, name: &'b str) -> Look<'b> {
        Look { kind, name, wanted: &self.detectors }
    }
}

/// Carries out `obligations` on a body. What is not blanked or removed stays byte for byte as it was.
pub fn redact(
    body: &Bytes,
    kind: &ContentKind,
    obligations: &[Obligation],
) -> Result<Redacted, DlpError> {
    let orders = Orders::sum(obligations);
    let mut redacted = Redacted {
        body: body.clone(),
        counts: Counts::new(),
        fields_removed: 0,
        attachments_removed: 0,
    };
    if body.is_empty() {
        return Ok(redacted);
    }
    let clean = match kind {
        ContentKind::Multipart { boundary } => multipart(body, boundary, &orders, &mut redacted)?,
        ContentKind::Json | ContentKind::Form | ContentKind::Text | ContentKind::Other => {
            let kept = keep_fields(body, kind, &orders.keep)?;
            let blanked = blank_fields(&kept.0, kind, &orders.blank)?;
            redacted.fields_removed = kept.1.saturating_add(blanked.1);
            let (clean, counts) = blank_findings(blanked.0, &orders.look(kind, ""))?;
            redacted.counts = counts;
            clean
        }
    };
    // What did not change is handed on without a copy.
    if clean != body.as_ref() {
        redacted.body = Bytes::from(clean);
    }
    Ok(redacted)
}

/// Carries out `obligations` on the query of a URL, without its `?`.
pub fn redact_query(query: &str, obligations: &[Obligation]) -> Result<Redacted<String>, DlpError> {
    let body = Bytes::copy_from_slice(query.as_bytes());
    let redacted = redact(&body, &ContentKind::Form, obligations)?;
    let query = String::from_utf8(redacted.body.to_vec());
    Ok(Redacted {
        body: query.map_err(|error| DlpError::NotUtf8 { at: error.utf8_error().valid_up_to() })?,
        counts: redacted.counts,
        fields_removed: redacted.fields_removed,
        attachments_removed: 0,
    })
}

fn keep_fields(body: &[u8], kind: &ContentKind, keep: &[&[String]]) -> Result<Cleared, DlpError> {
    let mut cleared = (body.to_vec(), 0u32);
    for fields in keep {
        let (body, dropped) = on_fields(&cleared.0, kind, |text, shape| match shape {
            Shape::Json => keep_json(text, fields),
            Shape::Form => Ok(keep_form(text, fields)),
        })?;
        cleared = (body, cleared.1.saturating_add(dropped));
    }
    Ok(cleared)
}

fn blank_fields(body: &[u8], kind: &ContentKind, fields: &[String]) -> Result<Cleared, DlpError> {
    if fields.is_empty() {
        return Ok((body.to_vec(), 0));
    }
    on_fields(body, kind, |text, shape| match shape {
        Shape::Json => blank_json(text, fields),
        Shape::Form => Ok(blank_form(text, fields)),
    })
}

/// The kinds of text that have fields.
enum Shape {
    Json,
    Form,
}

fn on_fields(
    body: &[u8],
    kind: &ContentKind,
    clear: impl FnOnce(&str, Shape) -> Result<Cleared, DlpError>,
) -> Result<Cleared, DlpError> {
    let shape = match kind {
        ContentKind::Json => Shape::Json,
        ContentKind::Form => Shape::Form,
        ContentKind::Multipart { .. } | ContentKind::Text | ContentKind::Other => {
            return Err(DlpError::NoFields);
        }
    };
    let text =
        std::str::from_utf8(body).map_err(|error| DlpError::NotUtf8 { at: error.valid_up_to() })?;
    clear(text, shape)
}

/// Finer first. What blanks leave behind may spell something else, in a name beside its value too, so values go more than once.
const GRAINS: [Grain; 4] = [Grain::Span, Grain::Value, Grain::Value, Grain::Value];

/// Blanks the findings; what is left over takes its whole value with it; what is still left is an error.
fn blank_findings(mut body: Vec<u8>, look: &Look<'_>) -> Result<(Vec<u8>, Counts), DlpError> {
    let mut counts = Counts::new();
    if look.wanted.is_empty() {
        return Ok((body, counts));
    }
    for grain in GRAINS {
        let hits = look.hits(&body, grain)?;
        if hits.is_empty() {
            return Ok((body, counts));
        }
        // Blanks are longer or shorter than what they replace, which text survives and other formats do not.
        if std::str::from_utf8(&body).is_err() {
            return Err(DlpError::Binary);
        }
        add(&mut counts, &total(&hits));
        body = splice(&body, &hits);
    }
    if look.count(&body)?.is_empty() { Ok((body, counts)) } else { Err(DlpError::Residue) }
}

fn multipart(
    body: &Bytes,
    boundary: &str,
    orders: &Orders<'_>,
    redacted: &mut Redacted,
) -> Result<Vec<u8>, DlpError> {
    let mut edits: Vec<Hit> = Vec::new();
    for part in multipart::parts(body, boundary)? {
        let name = part.name.as_deref().unwrap_or_default();
        if part.is_file && orders.strip == Attachments::Go {
            redacted.attachments_removed = redacted.attachments_removed.saturating_add(1);
            edits.push(edit(part.whole, Vec::new())?);
        } else if !orders.keep.iter().all(|fields| is_kept(name, fields)) {
            redacted.fields_removed = redacted.fields_removed.saturating_add(1);
            edits.push(edit(part.whole, Vec::new())?);
        } else {
            edits.extend(redacted_part(body, &part, orders, redacted)?);
        }
    }
    let clean = splice(body, &edits);
    let kind = ContentKind::Multipart { boundary: boundary.to_owned() };
    if orders.look(&kind, "").count(&clean)?.is_empty() {
        Ok(clean)
    } else {
        Err(DlpError::Residue)
    }
}

/// The pieces of a part that change, in the order they stand.
fn redacted_part(
    body: &Bytes,
    part: &Part,
    orders: &Orders<'_>,
    redacted: &mut Redacted,
) -> Result<Vec<Hit>, DlpError> {
    let head = body.get(part.head.clone()).unwrap_or_default();
    let content = body.get(part.content.clone()).unwrap_or_default();
    let name = part.name.as_deref().unwrap_or_default();
    let (clean_head, counts) = blank_findings(head.to_vec(), &orders.look(&ContentKind::Text, ""))?;
    add(&mut redacted.counts, &counts);
    let clean = if is_nested_named(name, &orders.blank) {
        let changed = u32::from(content != BLANK.as_bytes());
        redacted.fields_removed = redacted.fields_removed.saturating_add(changed);
        BLANK.as_bytes().to_vec()
    } else {
        let has_fields = matches!(part.kind, ContentKind::Json | ContentKind::Form);
        let fields = if has_fields { orders.blank.as_slice() } else { &[] };
        let (blanked, removed) = blank_fields(content, &part.kind, fields)?;
        redacted.fields_removed = redacted.fields_removed.saturating_add(removed);
        let (clean, counts) = blank_findings(blanked, &orders.look(&part.kind, name))?;
        add(&mut redacted.counts, &counts);
        clean
    };
    let mut edits = Vec::new();
    if clean_head != head {
        edits.push(edit(part.head.clone(), clean_head)?);
    }
    if clean != content {
        edits.push(edit(part.content.clone(), clean)?);
    }
    Ok(edits)
}

fn edit(span: Range<usize>, with: Vec<u8>) -> Result<Hit, DlpError> {
    let with = String::from_utf8(with).map_err(|_| DlpError::Binary)?;
    Ok(Hit { span, with, counts: Counts::new() })
}
