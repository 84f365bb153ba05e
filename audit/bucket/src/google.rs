//! What Google Cloud Storage says of a bucket: the retention policy that holds each object in it.
//!
//! Not here: objects themselves, which `object_store` reads and writes. Invariant: a policy that is not locked is no more than
//! GOVERNANCE, because whoever may change the bucket can take it away
//! (<https://cloud.google.com/storage/docs/bucket-lock>).

use std::sync::Arc;

use aegis_audit_chain::retention::{LockMode, Retention};
use object_store::gcp::GoogleCloudStorage;
use object_store::signer::Method;
use serde::Deserialize;

use crate::lock::held_by;
use crate::questions::{Questions, no_credentials, text};
use crate::{BucketError, DAY_S};

const WHAT: &str = "its retention policy";
const ENDPOINT: &str = "https://storage.googleapis.com";

/// A bucket that can be asked for its policy.
#[derive(Debug)]
pub(crate) struct GoogleBucket {
    store: Arc<GoogleCloudStorage>,
    questions: Questions,
    url: String,
}

/// The part of a bucket's resource that is asked for (<https://cloud.google.com/storage/docs/json_api/v1/buckets>).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    retention_policy: Option<RetentionPolicy>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RetentionPolicy {
    /// Seconds, as JSON carries a 64-bit number: in quotes.
    retention_period: String,
    #[serde(default)]
    is_locked: bool,
}

impl RetentionPolicy {
    fn retention(&self) -> Option<Retention> {
        let seconds: u64 = self.retention_period.parse().ok()?;
        let days = u32::try_from(seconds.checked_div(DAY_S)?).ok()?;
        let mode = if self.is_locked { LockMode::Compliance } else { LockMode::Governance };
        Some(Retention { mode, days })
    }
}

impl GoogleBucket {
    pub(crate) fn new(
        store: Arc<GoogleCloudStorage>,
        endpoint: Option<&str>,
        bucket: &str,
    ) -> Result<Self, BucketError> {
        let endpoint = endpoint.unwrap_or(ENDPOINT).trim_end_matches('/');
        let url = format!("{endpoint}/storage/v1/b/{bucket}?fields=retentionPolicy");
        Ok(Self { store, questions: Questions::new()?, url })
    }

    /// Compares the bucket's policy with what was asked for.
    pub(crate) async fn check_policy(&self, asked: Retention) -> Result<(), BucketError> {
        held_by(asked, self.policy().await?)
    }

    /// The bucket's policy, which holds every object that is in it.
    pub(crate) async fn policy(&self) -> Result<Option<Retention>, BucketError> {
        let credential = self.store.credentials().get_credential().await;
        let credential = credential.map_err(no_credentials(WHAT))?;
        let question = self.questions.to(Method::GET, &self.url).bearer_auth(&credential.bearer);
        let answer = text(WHAT, question).await?;
        let broken = || BucketError::Answer { what: WHAT };
        let resource: Resource = serde_json::from_str(&answer).map_err(|_| broken())?;
        resource.retention_policy.map(|policy| policy.retention().ok_or_else(broken)).transpose()
    }
}
