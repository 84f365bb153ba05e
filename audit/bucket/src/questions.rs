//! Questions to a store that `object_store` has no calls for: sent once, and answered soon or not at all.
//!
//! Not here: what is asked (`lock`, `google`, `azure`). Invariant: an error names no address, because one may bear a signature.

use std::time::Duration;

use object_store::signer::Method;
use reqwest::{RequestBuilder, Response};

use crate::{BucketError, CONNECT_TIMEOUT};

/// A question has no body; a start waits for the first of them.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Questions {
    client: reqwest::Client,
}

impl Questions {
    pub(crate) fn new() -> Result<Self, BucketError> {
        let client =
            reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
        let client = client.map_err(|source| BucketError::Ask { what: "its locks", source })?;
        Ok(Self { client })
    }

    pub(crate) fn to(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }
}

/// The answer of a store that has one.
pub(crate) async fn good_answer(
    what: &'static str,
    question: RequestBuilder,
) -> Result<Response, BucketError> {
    let answer = question.send().await;
    let answer =
        answer.map_err(|source| BucketError::Ask { what, source: source.without_url() })?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(BucketError::Status { what, status: status.as_u16() }),
    }
}

/// The whole text of a good answer.
pub(crate) async fn text(
    what: &'static str,
    question: RequestBuilder,
) -> Result<String, BucketError> {
    let text = good_answer(what, question).await?.text().await;
    text.map_err(|source| BucketError::Ask { what, source: source.without_url() })
}

/// Status and text of whatever is answered.
pub(crate) async fn any_text(
    what: &'static str,
    question: RequestBuilder,
) -> Result<(u16, String), BucketError> {
    let asked = |source: reqwest::Error| BucketError::Ask { what, source: source.without_url() };
    let answer = question.send().await.map_err(asked)?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(asked)?))
}

/// Credentials that were not to be had: they may be at the next try.
pub(crate) fn no_credentials(
    what: &'static str,
) -> impl FnOnce(object_store::Error) -> BucketError {
    move |source| BucketError::Store { what: "asking about", key: what.to_owned(), source }
}
