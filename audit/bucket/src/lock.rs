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
use crate::{BucketError, Listed};

/// How long a signed address is good for.
const SIGNED_FOR: Duration = Duration::from_secs(60);

/// Who may shorten a retention: nobody, or whoever has the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockMode {
    Governance,
    Compliance,
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
        let mode = match self.mode {
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        };
        write!(f, "{mode} for {} days", self.days)
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
        let mode = match self.mode.as_str() {
            "COMPLIANCE" => LockMode::Compliance,
            "GOVERNANCE" => LockMode::Governance,
            _ => return None,
        };
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
    ) -> Result<Option<String>, BucketError> {
        let what = "an object's retention";
        let query = version.map(|id| ("versionId".to_owned(), id.to_owned()));
        let query = query.into_iter().collect();
        let question = self.question(what, (Method::HEAD, path), query).await?;
        let answer = good_answer(what, question).await?;
        let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let mode = header("x-amz-object-lock-mode");
        let until = header("x-amz-object-lock-retain-until-date");
        Ok(mode.zip(until).map(|(mode, until)| format!("{mode} {until}")))
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
