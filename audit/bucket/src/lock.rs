//! What S3 adds to objects: versions, delete markers and retention; asked with signed addresses, because `object_store`
//! has no calls for them.
//!
//! Not here: what other stores say (`google`, `azure`). Invariant: of several versions the oldest is ours, because a lock
//! keeps a version and not a name: whatever came later can only hide it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aegis_audit_chain::retention::{LockMode, Retention};
use aegis_audit_chain::segment::SegmentError;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use serde::Deserialize;

use crate::questions::{Questions, any_text, good_answer, no_credentials, text};
use crate::{BucketError, Listed};

const KEPT: &str = "an object's retention";
/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(60);

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
        let until_s = instant_s(until)?;
        Some(Self { mode: LockMode::parse(mode)?, until_s, until: until.to_owned() })
    }

    /// Whether that is as much as was asked for, of an object that was written then.
    pub(crate) fn is_as_asked(&self, asked: Retention, written_s: u64) -> bool {
        asked.is_met((self.mode, self.until_s), written_s)
    }

    pub(crate) const fn until_s(&self) -> u64 {
        self.until_s
    }
}

impl fmt::Display for KeptUntil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.mode.as_str(), self.until)
    }
}

/// Compares what was asked for with what a store keeps.
pub(crate) fn held_by(asked: Retention, found: Option<Retention>) -> Result<(), BucketError> {
    match found {
        Some(found) if found.mode >= asked.mode && found.days >= asked.days => Ok(()),
        Some(found) => Err(BucketError::Retention { found: found.to_string(), asked }),
        None => Err(BucketError::Retention { found: "nothing".to_owned(), asked }),
    }
}

/// What holds one version of an object.
#[derive(Debug)]
pub(crate) struct Lock {
    pub(crate) kept: Option<KeptUntil>,
    /// Holds it until somebody with the right lifts it, whenever that is.
    pub(crate) is_on_hold: bool,
}

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kept, self.is_on_hold) {
            (Some(kept), _) => kept.fmt(f),
            (None, true) => f.write_str("nothing but a legal hold"),
            (None, false) => f.write_str("nothing"),
        }
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

/// The lock of one version.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct OwnRetention {
    mode: String,
    retain_until_date: String,
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
    last_modified: String,
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
            Err(BucketError::Status { status: 404, .. }) => return held_by(asked, None),
            text => text?,
        };
        let answer: LockConfiguration =
            quick_xml::de::from_str(&text).map_err(|_| BucketError::Answer { what })?;
        held_by(asked, answer.rule.and_then(|rule| rule.default_retention.retention()))
    }

    /// Until when a version is kept, as far as the store tells of it beside the object.
    pub(crate) async fn kept_until(
        &self,
        path: &Path,
        version: Option<&str>,
    ) -> Result<Option<KeptUntil>, BucketError> {
        Ok(self.told(path, version).await?.kept)
    }

    /// What holds a version, or an error where the store does not say. It tells nothing beside the object to whoever may not know,
    /// which is no sign that nothing holds it: then it is asked for the lock itself.
    pub(crate) async fn lock(
        &self,
        path: &Path,
        version: Option<&str>,
    ) -> Result<Lock, BucketError> {
        let mut lock = self.told(path, version).await?;
        if lock.kept.is_none() {
            lock.kept = self.retention(path, version).await?;
        }
        Ok(lock)
    }

    async fn told(&self, path: &Path, version: Option<&str>) -> Result<Lock, BucketError> {
        let question = self.question(KEPT, (Method::HEAD, path), of_version(version)).await?;
        let answer = good_answer(KEPT, question).await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let is_on_hold = header("x-amz-object-lock-legal-hold") == Some("ON");
        let mode = header("x-amz-object-lock-mode");
        let until = header("x-amz-object-lock-retain-until-date");
        let (Some(mode), Some(until)) = (mode, until) else {
            return Ok(Lock { kept: None, is_on_hold });
        };
        let kept = KeptUntil::parse(mode, until).ok_or(BucketError::Answer { what: KEPT })?;
        Ok(Lock { kept: Some(kept), is_on_hold })
    }

    async fn retention(
        &self,
        path: &Path,
        version: Option<&str>,
    ) -> Result<Option<KeptUntil>, BucketError> {
        let mut query = of_version(version);
        query.push(("retention".to_owned(), String::new()));
        let question = self.question(KEPT, (Method::GET, path), query).await?;
        let (status, text) = any_text(KEPT, question).await?;
        // The object has none, as S3 says it and as Ceph does, or its bucket has no lock at all
        // (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html).
        let is_none = |code| text.contains(&format!("<Code>{code}</Code>"));
        match status {
            200 => {}
            404 if is_none("NoSuchObjectLockConfiguration")
                || is_none("ObjectLockConfigurationNotFoundError") =>
            {
                return Ok(None);
            }
            400 if is_none("InvalidRequest") => return Ok(None),
            status => return Err(BucketError::Status { what: KEPT, status }),
        }
        let broken = || BucketError::Answer { what: KEPT };
        let OwnRetention { mode, retain_until_date } =
            quick_xml::de::from_str(&text).map_err(|_| broken())?;
        KeptUntil::parse(&mode, &retain_until_date).map(Some).ok_or_else(broken)
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
    let written_s = instant_s(&oldest.last_modified);
    Some(Listed { key, bytes: oldest.size, oldest: Some(oldest.version_id), written_s, flaw })
}

/// A store's words for an instant, in seconds since 1970.
fn instant_s(text: &str) -> Option<u64> {
    let instant: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(instant.as_second()).ok()
}

fn of_version(version: Option<&str>) -> Vec<(String, String)> {
    version.map(|id| ("versionId".to_owned(), id.to_owned())).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DAY_S;

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
