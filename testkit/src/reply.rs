//! What came back, and what a test expects of it.
//!
//! Not here: sending (`agent`). Invariant: a refusal is believed only when its body, its headers and its record in the
//! journal say the same.

use aegis_audit_chain::record::DecisionEntry;
use aegis_domain::{DecisionId, Effect, Reason};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;

use crate::{Journal, Line};

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
    /// Why the answer broke off before its end, if it did.
    pub broken: Option<hyper::Error>,
    journal: Journal,
}

/// An answer whose head has arrived.
pub struct Answering {
    journal: Journal,
    response: Response<Incoming>,
    /// Kept open for as long as the answer is taken.
    line: Option<Line>,
}

/// What an accepted upgrade gives.
pub type Tunnel = TokioIo<Upgraded>;

impl Answering {
    pub(crate) fn new(journal: Journal, response: Response<Incoming>) -> Self {
        Self { journal, response, line: None }
    }

    pub(crate) fn keep(&mut self, line: Line) {
        self.line = Some(line);
    }

    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub fn decision_id(&self) -> DecisionId {
        decision_id(self.response.headers())
    }

    /// The next piece of the body as it arrives; `None` at its end.
    pub async fn piece(&mut self) -> Option<Bytes> {
        loop {
            let frame = self.response.body_mut().frame().await?.unwrap();
            // An empty one only marks the end.
            if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
                return Some(data);
            }
        }
    }

    /// Everything that is still to come.
    pub async fn whole(mut self) -> Reply {
        let (mut body, mut trailers, mut broken) = (Vec::new(), None, None);
        while let Some(frame) = self.response.body_mut().frame().await {
            match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(data)) => body.extend_from_slice(&data),
                Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        Reply {
            status: self.response.status(),
            version: self.response.version(),
            headers: self.response.headers().clone(),
            body: body.into(),
            trailers,
            broken,
            journal: self.journal,
        }
    }

    /// The tunnel behind a `101`.
    pub async fn tunnel(self) -> Tunnel {
        assert_eq!(self.status(), StatusCode::SWITCHING_PROTOCOLS);
        TokioIo::new(hyper::upgrade::on(self.response).await.unwrap())
    }
}

impl Reply {
    #[track_caller]
    pub fn is_ok(&self) -> &Self {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        assert!(self.broken.is_none(), "{:?}", self.broken);
        self
    }

    /// The call was refused for this reason, told as problem details, and its record says the same.
    #[track_caller]
    pub fn is_refused(&self, reason: Reason) -> &Self {
        let problem = self.problem();
        assert_eq!(problem["reason"], reason.code(), "{problem:#}");
        assert_eq!(problem["what_to_do"], reason.advice());
        assert_eq!(problem["status"], self.status.as_u16());
        assert_eq!(problem["decision_id"], self.decision_id().as_str());
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"));
        let says_when = self.header("retry-after").is_some();
        assert!(says_when || self.header("x-should-retry").as_deref() == Some("false"));
        self
    }

    /// Like `is_refused`, before anything was sent: the decision itself is the refusal.
    #[track_caller]
    pub fn is_denied(&self, reason: Reason) -> DecisionEntry {
        self.is_refused(reason);
        let record = self.record();
        assert!(matches!(record.decision, Effect::Deny | Effect::ApprovalNeeded), "{record:?}");
        assert_eq!(record.reason, reason);
        record
    }

    /// The decision record of this call.
    #[track_caller]
    pub fn record(&self) -> DecisionEntry {
        let id = self.decision_id();
        self.journal.decision(id).unwrap_or_else(|| unreachable!("decision {id} is not on record"))
    }

    #[track_caller]
    pub fn decision_id(&self) -> DecisionId {
        decision_id(&self.headers)
    }

    /// Why the call was refused, if it was.
    pub fn refused_for(&self) -> Option<Reason> {
        let problem = (!self.status.is_success()).then(|| self.problem())?;
        Reason::ALL.iter().copied().find(|reason| problem["reason"] == reason.code())
    }

    #[track_caller]
    pub fn problem(&self) -> Value {
        let content_type = self.header("content-type");
        let is_problem = content_type.as_deref() == Some("application/problem+json");
        assert!(is_problem, "{} {content_type:?} {}", self.status, self.text());
        self.json()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

#[track_caller]
fn decision_id(headers: &HeaderMap) -> DecisionId {
    let id = headers.get("aegis-decision-id").expect("an answer names its decision");
    DecisionId::parse(id.to_str().unwrap()).unwrap()
}
