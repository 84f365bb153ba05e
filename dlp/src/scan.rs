//! Counts what a body holds, for policy to judge.
//!
//! Not here: blanking it (`redact`). Invariant: a scan keeps no text, and says so when it could not see it all.

use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts};

use crate::hit::{Counts, Hit, add, total};
use crate::inspect::{Grain, Inspector};
use crate::{ContentKind, DlpError, multipart};

/// How often each detector found something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Detectors that are not in the map found nothing.
    pub counts: BTreeMap<Detector, u32>,
    /// Why part of the body could not be looked into, if so.
    pub gap: Option<DlpError>,
}

impl Scan {
    /// Adds another part of the same call, such as its query.
    pub fn and(mut self, other: Scan) -> Scan {
        add(&mut self.counts, &other.counts);
        Scan { counts: self.counts, gap: self.gap.or(other.gap) }
    }

    /// What policy is told: a body with a gap counts as not scanned.
    pub fn into_facts(self) -> DlpFacts {
        match self.gap {
            None => DlpFacts::Scanned(self.counts),
            Some(_) => DlpFacts::NotScanned,
        }
    }
}

/// Looks through a body with every detector.
pub fn scan(body: &[u8], kind: &ContentKind) -> Scan {
    let look = Look { kind, name: "", wanted: &Detector::ALL };
    match look.count(body) {
        Ok(counts) => Scan { counts, gap: look.is_opaque(body).then_some(DlpError::Binary) },
        Err(gap) => {
            // Not what it says it is; what can be seen in it as text is still worth knowing.
            let seen = Look { kind: &ContentKind::Text, ..look }.count(body);
            Scan { counts: seen.unwrap_or_default(), gap: Some(gap) }
        }
    }
}

/// Looks through the query of a URL, without its `?`.
pub fn scan_query(query: &str) -> Scan {
    scan(query.as_bytes(), &ContentKind::Form)
}

/// How to look at a body.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) kind: &'a ContentKind,
    /// The name of the part that the body is the content of, or nothing.
    pub(crate) name: &'a str,
    pub(crate) wanted: &'a [Detector],
}

impl Look<'_> {
    /// Everything to blank in a body that is not multipart.
    pub(crate) fn hits(&self, body: &[u8], grain: Grain) -> Result<Vec<Hit>, DlpError> {
        Inspector::new(self.wanted, grain, body.len()).of_field(self.name).body(body, self.kind)
    }

    pub(crate) fn count(&self, body: &[u8]) -> Result<Counts, DlpError> {
        let ContentKind::Multipart { boundary } = self.kind else {
            return Ok(total(&self.hits(body, Grain::Span)?));
        };
        let mut counts = Counts::new();
        for part in multipart::parts(body, boundary)? {
            let head = body.get(part.head.clone()).unwrap_or_default();
            let content = body.get(part.content.clone()).unwrap_or_default();
            add(&mut counts, &Look { kind: &ContentKind::Text, ..*self }.count(head)?);
            let name = part.name.as_deref().unwrap_or_default();
            add(&mut counts, &Look { kind: &part.kind, name, ..*self }.count(content)?);
        }
        Ok(counts)
    }

    /// Whether part of a body is binary: pictures and archives hide what no detector here sees.
    fn is_opaque(&self, body: &[u8]) -> bool {
        match self.kind {
            ContentKind::Multipart { boundary } => {
                let parts = multipart::parts(body, boundary).unwrap_or_default();
                parts.iter().any(|part| {
                    let content = body.get(part.content.clone()).unwrap_or_default();
                    Look { kind: &part.kind, ..*self }.is_opaque(content)
                })
            }
            ContentKind::Json | ContentKind::Form | ContentKind::Text | ContentKind::Other => {
                std::str::from_utf8(body).is_err()
            }
        }
    }
}
