//! Counts what a body holds, for policy to judge.
//!
//! Not here: blanking it (`redact`). Invariant: a scan keeps no text, and says so when it could not see it all.

use std::collections::BTreeMap;

use aegis_domain::{Detector, DlpFacts};

use crate::hit::{Counts, add, total};
use crate::inspect::{Grain, Inspector};
use crate::view::text_of;
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
    match count(body, kind, &Detector::ALL) {
        Ok(counts) => Scan { counts, gap: None },
        Err(gap) => {
            // Not what it says it is; what can be seen in it as text is still worth knowing.
            let seen = count(body, &ContentKind::Text, &Detector::ALL);
            Scan { counts: seen.unwrap_or_default(), gap: Some(gap) }
        }
    }
}

/// Looks through the query of a URL, without its `?`.
pub fn scan_query(query: &str) -> Scan {
    scan(query.as_bytes(), &ContentKind::Form)
}

/// The counts of the wanted detectors.
pub(crate) fn count(
    body: &[u8],
    kind: &ContentKind,
    wanted: &[Detector],
) -> Result<Counts, DlpError> {
    let ContentKind::Multipart { boundary } = kind else {
        let hits = Inspector::new(wanted, Grain::Span, body.len()).body(body, kind)?;
        return Ok(total(&hits));
    };
    let mut counts = Counts::new();
    for part in multipart::parts(body, boundary)? {
        let head = body.get(part.head.clone()).unwrap_or_default();
        let content = body.get(part.content.clone()).unwrap_or_default();
        add(&mut counts, &count(text_of(head).as_bytes(), &ContentKind::Text, wanted)?);
        add(&mut counts, &count(content, &part.kind, wanted)?);
    }
    Ok(counts)
}
