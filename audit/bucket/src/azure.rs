//! What Azure says of a container: whether a policy holds the blobs in it.
//!
//! Not here: blobs themselves, which `object_store` reads and writes. Invariant: a container without a policy is refused; how long
//! one holds and whether it is locked is on the management plane only, under other credentials, and is said not to be known
//! (<https://learn.microsoft.com/rest/api/storageservices/get-container-properties>).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aegis_audit_chain::retention::Retention;
use object_store::azure::{AzureAuthorizer, MicrosoftAzure};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::signer::{Method, Url};

use crate::BucketError;
use crate::lock::held_by;
use crate::questions::{Questions, good_answer, no_credentials};

const WHAT: &str = "its immutability policy";

/// A container that can be asked for its policy.
#[derive(Debug)]
pub(crate) struct AzureContainer {
    store: Arc<MicrosoftAzure>,
    questions: Questions,
    account: String,
    url: Url,
    /// It is asked again and again, and what it never says is told once.
    is_said: AtomicBool,
}

impl AzureContainer {
    pub(crate) fn new(
        store: Arc<MicrosoftAzure>,
        (endpoint, account): (Option<&str>, String),
        container: &str,
    ) -> Result<Self, BucketError> {
        let own = format!("https://{account}.blob.core.windows.net");
        let endpoint = endpoint.unwrap_or(&own).trim_end_matches('/');
        let url = format!("{endpoint}/{container}?restype=container");
        let url = url.parse().map_err(|_| BucketError::Address(endpoint.to_owned()))?;
        Ok(Self {
            store,
            questions: Questions::new()?,
            account,
            url,
            is_said: AtomicBool::new(false),
        })
    }

    /// Makes sure that a policy holds what is in the container.
    pub(crate) async fn check_policy(&self, asked: Retention) -> Result<(), BucketError> {
        if !self.has_policy().await? {
            return held_by(asked, None);
        }
        if self.is_said.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        tracing::warn!(
            "an immutability policy holds the audit container; its length, and whether it is locked, \
             are not known here: Azure shows them on its management plane"
        );
        Ok(())
    }

    /// Whether any policy holds what is in the container.
    pub(crate) async fn has_policy(&self) -> Result<bool, BucketError> {
        let credential = self.store.credentials().get_credential().await;
        let credential = credential.map_err(no_credentials(WHAT))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        let uri = self.url.as_str().parse();
        *request.uri_mut() = uri.map_err(|_| BucketError::Answer { what: WHAT })?;
        let signed = AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request);
        signed.map_err(no_credentials(WHAT))?;
        // A shared access signature is put into the address.
        let (uri, headers) = (request.uri().to_string(), request.headers().clone());
        let question = self.questions.to(Method::GET, &uri).headers(headers);
        let answer = good_answer(WHAT, question).await?;
        let says = |name| answer.headers().get(name).is_some_and(|value| value == "true");
        Ok(says("x-ms-has-immutability-policy"))
    }
}
