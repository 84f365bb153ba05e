//! What S3 adds to objects: versions, delete markers and retention; asked with signed addresses, because `object_store`
//! has no calls for them.
//!
//! Not here: what other stores say (`google`, `azure`). Invariant: of several versions the oldest is ours, because a lock
//! keeps a version and not a name: whatever came later can only hide it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::segment::SegmentError;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use serde::Deserialize;

use crate::questions::{Questions, good_answer, no_credentials, text};
use crate::{BucketError, DAY_S, Listed};

/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Who may shorten a retention: nobody, or whoever has the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    Governance,
    Compliance,
}

impl LockMode {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "COMPLIANCE" => Some(Self::Compliance),
            "GOVERNANCE" => Some(Self::Governance),
            _ => None,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// Until when a store keeps an object, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptUntil {
    mode: LockMode,
    until_s: u64,
    /// The store's own words for that instant.
    until: String,
}

impl KeptUntil {
    fn parse(mode: &str, until: &str) -> Option<Self> {
        let instant: jiff::Timestamp = until.parse().ok()?;
        let until_s = u64::try_from(instant.as_second()).ok()?;
        Some(Self { mode: LockMode::parse(mode)?, until_s, until: until.to_owned() })
    }

    /// Whether that is as much as was asked for, of an object that was written then. Stores count the days from clocks of their
    /// own, and some round them: a day less is as good, and of a short retention half of it.
    pub(crate) fn is_as_asked(&self, asked: Retention, written_s: u64) -> bool {
        let asked_s = u64::from(asked.days).saturating_mul(DAY_S);
        let least_s = asked_s.saturating_sub(DAY_S).max(asked_s / 2);
        self.mode >= asked.mode && self.until_s >= written_s.saturating_add(least_s)
    }
}

impl fmt::Display for KeptUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mode.as_str(), self.until)
    }
}

/// How long a store must keep an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub days: u32,
}

impl Retention {
    /// Compares what was asked for with what a store keeps.
    pub(crate) fn held_by(self, found: Option<Self>) -> Result<(), BucketError> {
        match found {
            Some(found) if found.mode >= self.mode && found.days >= self.days => Ok(()),
            Some(found) => Err(BucketError::Retention { found: found.to_string(), asked: self }),
            None => Err(BucketError::Retention { found: "nothing".to_owned(), asked: self }),
        }
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} days", self.mode.as_str(), self.days)
    }
}

/// The questions that only S3 answers.
#[derive(Debug)]
pub(crate) struct Locks {
    store: Arc<AmazonS3>,
    questions: Questions,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockConfiguration {
    rule: Option<LockRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct LockRule {
    default_retention: DefaultRetention,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DefaultRetention {
    mode: String,
    days: Option<u32>,
    years: Option<u32>,
}

impl DefaultRetention {
    fn retention(&self) -> Option<Retention> {
        let mode = LockMode::parse(&self.mode)?;
        // S3 counts a year as 365 days.
        let years = self.years.unwrap_or(0).saturating_mul(365);
        Some(Retention { mode, days: self.days.unwrap_or(years) })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default, rename = "Version")]
    versions: Vec<Version>,
    #[serde(default, rename = "DeleteMarker")]
    markers: Vec<Marker>,
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_version_id_marker: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    key: String,
    version_id: String,
    size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Marker {
    key: String,
}

impl Locks {
    pub(crate) fn new(store: Arc<AmazonS3>) -> Result<Self, BucketError> {
        Ok(Self { store, questions: Questions::new()? })
    }

    /// A signed request without a body.
    async fn question(
        &self,
        what: &'static str,
        (method, path): (Method, &Path),
        query: Vec<(String, String)>,
    ) -> Result<reqwest::RequestBuilder, BucketError> {
        let options = SignedUrlOptions::new().with_query(query);
        let signed = self.store.signed_url_opts(method.clone(), path, SIGNED_FOR, &options).await;
        let url = signed.map_err(no_credentials(what))?;
        Ok(self.questions.to(method, url.as_str()))
    }

    async fn text(
        &self,
        what: &'static str,
        query: Vec<(String, String)>,
    ) -> Result<String, BucketError> {
        text(what, self.question(what, (Method::GET, &Path::default()), query).await?).await
    }

    /// Compares the bucket's default retention with what was asked for.
    pub(crate) async fn check_default(&self, asked: Retention) -> Result<(), BucketError> {
        let what = "its default retention";
        let text = match self.text(what, vec![("object-lock".to_owned(), String::new())]).await {
            // A bucket without a lock has no such configuration.
            Err(BucketError::Status { status: 404, .. }) => return asked.held_by(None),
            text => text?,
        };
        let answer: LockConfiguration =
            quick_xml::de::from_str(&text).map_err(|_| BucketError::Answer { what })?;
        asked.held_by(answer.rule.and_then(|rule| rule.default_retention.retention()))
    }

    /// Until when a version is kept, in the store's words.
    pub(crate) async fn kept_until(
        &self,
        path: &Path,
        version: Option<&str>,
    ) -> Result<Option<KeptUntil>, BucketError> {
        let what = "an object's retention";
        let query = version.map(|id| ("versionId".to_owned(), id.to_owned()));
        let query = query.into_iter().collect();
        let question = self.question(what, (Method::HEAD, path), query).await?;
        let answer = good_answer(what, question).await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let mode = header("x-amz-object-lock-mode");
        let until = header("x-amz-object-lock-retain-until-date");
        let (Some(mode), Some(until)) = (mode, until) else { return Ok(None) };
        KeptUntil::parse(mode, until).map(Some).ok_or(BucketError::Answer { what })
    }

    /// The version of one object that was written first.
    pub(crate) async fn oldest(&self, path: &Path) -> Result<Option<String>, BucketError> {
        let mut listed = self.versions(path, None).await?;
        // A listing goes by beginnings of names.
        listed.retain(|one| one.key == path.as_ref());
        Ok(listed.pop().and_then(|one| one.oldest))
    }

    /// All keys that begin like `path` and come behind another, each with its first version and what was done to it since.
    pub(crate) async fn versions(
        &self,
        path: &Path,
        after: Option<&Path>,
    ) -> Result<Vec<Listed>, BucketError> {
        let what = "versions";
        let mut found: BTreeMap<String, (Vec<Version>, usize)> = BTreeMap::new();
        let (mut key, mut version) = (after.map(|path| path.as_ref().to_owned()), None);
        loop {
            let mut query = vec![
                ("versions".to_owned(), String::new()),
                ("prefix".to_owned(), path.as_ref().to_owned()),
            ];
            query.extend(key.map(|key| ("key-marker".to_owned(), key)));
            query.extend(version.map(|id| ("version-id-marker".to_owned(), id)));
            let text = self.text(what, query).await?;
            let page: Versions =
                quick_xml::de::from_str(&text).map_err(|_| BucketError::Answer { what })?;
            for version in page.versions {
                found.entry(version.key.clone()).or_default().0.push(version);
            }
            for marker in page.markers {
                let slot = found.entry(marker.key).or_default();
                slot.1 = slot.1.saturating_add(1);
            }
            (key, version) = (page.next_key_marker, page.next_version_id_marker);
            if !page.is_truncated || key.is_none() {
                break;
            }
        }
        Ok(found.into_iter().filter_map(listed).collect())
    }
}

/// Versions of a key come newest first; `None` for a key of which only markers are left.
fn listed((key, (mut versions, markers)): (String, (Vec<Version>, usize))) -> Option<Listed> {
    let count = versions.len();
    let oldest = versions.pop()?;
    let flaw = match (markers, count) {
        (0, 1) => None,
        (0, _) => Some(SegmentError::Versions(count)),
        (1.., _) => Some(SegmentError::DeleteMarker),
    };
    Some(Listed { key, bytes: oldest.size, oldest: Some(oldest.version_id), flaw })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Retention = Retention { mode: LockMode::Compliance, days: 30 };

    /// 1970-01-02, when the object of these tests is written.
    const WRITTEN_S: u64 = DAY_S;

    fn is_as_asked(mode: &str, until: &str) -> bool {
        KeptUntil::parse(mode, until).unwrap().is_as_asked(ASKED, WRITTEN_S)
    }

    #[test]
    fn an_object_is_kept_as_asked_from_when_it_was_written_or_a_day_less() {
        assert!(is_as_asked("COMPLIANCE", "1970-02-01T00:00:00Z"));
        assert!(is_as_asked("COMPLIANCE", "1970-01-31T00:00:00.500824398Z"));
        assert!(!is_as_asked("COMPLIANCE", "1970-01-30T23:59:59Z"));
        assert!(!is_as_asked("GOVERNANCE", "1980-01-01T00:00:00Z"));
        let day = Retention { days: 1, ..ASKED };
        let kept = |until| KeptUntil::parse("COMPLIANCE", until).unwrap();
        assert!(kept("1970-01-02T12:00:00Z").is_as_asked(day, WRITTEN_S));
        assert!(!kept("1970-01-02T11:59:59Z").is_as_asked(day, WRITTEN_S));
    }

    #[test]
    fn what_is_no_mode_or_no_instant_is_not_taken_for_a_lock() {
        assert_eq!(KeptUntil::parse("FOREVER", "1970-02-01T00:00:00Z"), None);
        assert_eq!(KeptUntil::parse("COMPLIANCE", "soon"), None);
        assert_eq!(KeptUntil::parse("COMPLIANCE", "1969-02-01T00:00:00Z"), None);
    }
}
