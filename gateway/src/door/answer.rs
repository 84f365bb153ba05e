//! Refusals as HTTP: the only place that knows a status code.
//!
//! Not here: why a call is refused. Sources: problem details RFC 9457, Proxy-Status RFC 9209, Bearer RFC 6750.
//! Invariant: no refusal is one that an SDK retries by itself (no 408, 409; 429 and 503 only with Retry-After), and no
//! caller data is echoed.

use aegis_corridor::refusal::Refusal;
use aegis_domain::{Fault, Reason, Verdict};
use aegis_identity::Challenge;
use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PROXY_AUTHENTICATE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderName, StatusCode};

use crate::door::allowance;
use crate::proofs::NoProof;
use aegis_corridor::context::Asked;
use aegis_corridor::headers::{
    AEGIS_APPROVAL_ID, AEGIS_ATTESTATION, AEGIS_DECISION_ID, AEGIS_POLICY_VERSION, DPOP_NONCE,
    PROXY_STATUS, SHOULD_RETRY,
};

/// A refusal as status, headers and body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, String)>,
    pub body: Bytes,
}

impl Answer {
    pub fn to(refusal: &Refusal) -> Self {
        let (told, reason) = (Told(refusal), refusal.decision.verdict.reason());
        let body = Bytes::from(told.problem(reason).to_string());
        Self { status: told.status(reason), headers: told.headers(reason, body.len()), body }
    }
}

impl Answer {
    /// A document of ours.
    pub fn json(body: Bytes) -> Self {
        let headers = vec![
            (CONTENT_TYPE, "application/json".to_owned()),
            (CONTENT_LENGTH, body.len().to_string()),
        ];
        Self { status: StatusCode::OK, headers, body }
    }

    /// A proof, or why there is none.
    pub fn to_proof_asked(found: Result<String, NoProof>) -> Self {
        let (status, text, wait_s) = match found {
            Ok(proof) => (StatusCode::OK, proof, None),
            Err(none @ (NoProof::Unknown | NoProof::Uncovered)) => {
                (StatusCode::NOT_FOUND, format!("{none}\n"), None)
            }
            Err(NoProof::Early { wait_s }) => {
                let text = format!("{}\n", NoProof::Early { wait_s });
                (StatusCode::NOT_FOUND, text, Some(wait_s))
            }
            Err(none @ NoProof::Deleted) => (StatusCode::GONE, format!("{none}\n"), None),
            Err(none @ NoProof::Broken) => {
                (StatusCode::INTERNAL_SERVER_ERROR, format!("{none}\n"), None)
            }
            Err(none @ NoProof::Busy) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{none}\n"), Some(1))
            }
        };
        let mut headers = vec![
            (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
            (CONTENT_LENGTH, text.len().to_string()),
            (CACHE_CONTROL, "no-store".to_owned()),
        ];
        headers.extend(wait_s.map(|wait_s| (RETRY_AFTER, wait_s.to_string())));
        Self { status, headers, body: Bytes::from(text) }
    }
}

/// A refusal on its way to becoming HTTP.
struct Told<'r>(&'r Refusal);

impl Told<'_> {
    /// A proxy that wants to know who asks says so with a status of its own (RFC 9110 §15.5.8).
    fn status(&self, reason: Reason) -> StatusCode {
        match (status(reason), self.0.asked) {
            (StatusCode::UNAUTHORIZED, Asked::Proxy) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            (status, Asked::Proxy | Asked::Server) => status,
        }
    }

    fn headers(&self, reason: Reason, length: usize) -> Vec<(HeaderName, String)> {
        let mut headers = vec![
            (CONTENT_TYPE, "application/problem+json".to_owned()),
            (CONTENT_LENGTH, length.to_string()),
            (CACHE_CONTROL, "no-store".to_owned()),
            (AEGIS_DECISION_ID, self.0.decision.id.to_string()),
            (
                PROXY_STATUS,
                format!("aegis; error={}; details=\"{}\"", proxy_error(reason), reason.code()),
            ),
        ];
        if let Some(policy) = &self.0.decision.policy {
            headers.push((AEGIS_POLICY_VERSION, policy.version.to_string()));
        }
        if let Some(attestation) = &self.0.attestation {
            headers.push((AEGIS_ATTESTATION, attestation.clone()));
        }
        if let Verdict::ApprovalNeeded(approval) = &self.0.decision.verdict {
            headers.push((AEGIS_APPROVAL_ID, approval.id.to_string()));
        }
        headers.extend(self.0.allowance.iter().flat_map(allowance::lines));
        if let Some(wait) = self.0.retry_after.filter(|_| is_worth_waiting(reason)) {
            headers.push((RETRY_AFTER, wait.s_ceil().max(1).to_string()));
        } else {
            headers.push((SHOULD_RETRY, "false".to_owned()));
        }
        if status(reason) == StatusCode::UNAUTHORIZED {
            let metadata = self.0.entry.metadata.as_deref();
            let challenges = Challenge::of(reason, self.0.tried).into_iter();
            let challenges = challenges.map(|one| match metadata {
                Some(url) => one.with_metadata(url),
                None => one,
            });
            match self.0.asked {
                Asked::Server => {
                    headers.extend(challenges.map(|one| (WWW_AUTHENTICATE, one.to_string())));
                }
                Asked::Proxy => {
                    headers.extend(challenges.map(|one| (PROXY_AUTHENTICATE, one.to_string())));
                    headers.push((PROXY_AUTHENTICATE, "Basic realm=\"aegis\"".to_owned()));
                }
            }
        }
        if let Some(nonce) = &self.0.entry.nonce {
            headers.push((DPOP_NONCE, nonce.clone()));
        }
        headers
    }

    fn problem(&self, reason: Reason) -> serde_json::Value {
        let decision = &self.0.decision;
        let title = title(reason);
        let detail = decision.detail.clone().unwrap_or_else(|| reason.advice().to_owned());
        let mut problem = serde_json::json!({
            "type": format!("https://aegis.dev/problems/{}", reason.code()),
            "title": title,
            "status": self.status(reason).as_u16(),
            "detail": detail,
            "instance": format!("urn:aegis:decision:{}", decision.id),
            "decision": decision.verdict.effect().as_str(),
            "decision_id": decision.id.as_str(),
            "reason": reason.code(),
            "what_to_do": reason.advice(),
            "trace_id": self.0.trace_id,
            // Provider SDKs print this member.
            "error": { "message": format!("{title}: {detail}"), "type": "aegis_refusal", "code": reason.code() },
        });
        if let Some(members) = problem.as_object_mut() {
            let rules: Vec<_> = decision.rules.iter().map(|rule| rule.as_str()).collect();
            if !rules.is_empty() && !matches!(reason.fault(), Fault::Identity) {
                members.insert("rules".to_owned(), rules.into());
            }
            if let Some(allowance) = self.0.allowance.as_ref().filter(|_| is_quota(reason)) {
                members
                    .insert("violated-policies".to_owned(), allowance::violated(allowance).into());
            }
            if let Some(policy) = &decision.policy {
                members.insert("policy_version".to_owned(), policy.version.into());
            }
            if let Some(url) = self.0.home_url.as_ref().filter(|_| reason == Reason::WrongRegion) {
                members.insert("home".to_owned(), url.clone().into());
            }
            if let Verdict::ApprovalNeeded(approval) = &decision.verdict {
                members.insert("approval".to_owned(), approval_member(approval));
            }
        }
        problem
    }
}

fn approval_member(approval: &aegis_domain::ApprovalRequest) -> serde_json::Value {
    serde_json::json!({
        "id": approval.id.as_str(),
        "routes": approval.routes,
        "params_hash": approval.params_hash.to_string(),
        "expires_at_unix_s": approval.expires_at.unix_s(),
    })
}

/// The refusal as bytes, for a head that Pingora never saw.
pub fn raw_http1(refusal: &Refusal) -> Vec<u8> {
    let answer = Answer::to(refusal);
    let phrase = answer.status.canonical_reason().unwrap_or("Refused");
    let mut head = format!("HTTP/1.1 {} {phrase}\r\n", answer.status.as_u16());
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("connection: close\r\n\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}

fn status(reason: Reason) -> StatusCode {
    match reason {
        Reason::Allowed | Reason::Sanitized => StatusCode::OK,
        Reason::ApprovalNeeded
        | Reason::PolicyDenied
        | Reason::Unredactable
        | Reason::DefaultDeny
        | Reason::AgentUnknown => StatusCode::FORBIDDEN,
        Reason::MalformedRequest | Reason::RequestTimeout | Reason::UnreadableBody => {
            StatusCode::BAD_REQUEST
        }
        Reason::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Reason::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Reason::UnknownTool => StatusCode::NOT_FOUND,
        Reason::TokenMissing
        | Reason::TokenMalformed
        | Reason::TokenAlgorithm
        | Reason::TokenKeyUnknown
        | Reason::TokenSignature
        | Reason::TokenExpired
        | Reason::TokenNotYetValid
        | Reason::TokenAudience
        | Reason::TokenIssuer
        | Reason::TokenClaims
        | Reason::TokenReplayed
        | Reason::TokenRevoked
        | Reason::TokenMode
        | Reason::ProofMissing
        | Reason::ProofInvalid
        | Reason::ProofNonce
        | Reason::CertificateMismatch => StatusCode::UNAUTHORIZED,
        Reason::WrongRegion => StatusCode::MISDIRECTED_REQUEST,
        Reason::RateLimited | Reason::TooManyInFlight => StatusCode::TOO_MANY_REQUESTS,
        // A budget resets in hours: 429 would make SDKs hammer.
        Reason::OutOfBudget | Reason::BudgetExhausted => StatusCode::FORBIDDEN,
        Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::UpstreamUnresolved
        | Reason::AddressForbidden
        | Reason::UpstreamUnreachable
        | Reason::UpstreamTls
        | Reason::UpstreamFailed
        | Reason::ProxyLoop
        | Reason::AgentGone
        | Reason::OutcomeUnknown => StatusCode::BAD_GATEWAY,
        Reason::StateUnavailable
        | Reason::AuditUnavailable
        | Reason::AuditBacklog
        | Reason::DefinitionUnusable
        | Reason::ControlStateStale
        | Reason::PolicyEngine
        | Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Whether a limit refused the call, and not a failure.
fn is_quota(reason: Reason) -> bool {
    matches!(reason, Reason::RateLimited | Reason::TooManyInFlight | Reason::OutOfBudget)
}

fn is_worth_waiting(reason: Reason) -> bool {
    matches!(status(reason), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// RFC 9209 §2.3: the proxy error type nearest to the reason.
fn proxy_error(reason: Reason) -> &'static str {
    match reason {
        Reason::UpstreamUnresolved => "dns_error",
        Reason::AddressForbidden => "destination_ip_prohibited",
        Reason::ProxyLoop => "proxy_loop_detected",
        Reason::UpstreamUnreachable => "destination_unavailable",
        Reason::UpstreamTls => "tls_protocol_error",
        Reason::UpstreamTimeout => "http_response_timeout",
        Reason::UpstreamFailed | Reason::AgentGone => "http_response_incomplete",
        Reason::OutcomeUnknown
        | Reason::StateUnavailable
        | Reason::AuditUnavailable
        | Reason::AuditBacklog
        | Reason::DefinitionUnusable
        | Reason::ControlStateStale
        | Reason::PolicyEngine
        | Reason::Unavailable => "proxy_internal_error",
        Reason::MalformedRequest
        | Reason::HeadTooLarge
        | Reason::RequestTimeout
        | Reason::BodyTooLarge
        | Reason::UnreadableBody
        | Reason::UnsupportedEncoding => "http_request_error",
        Reason::Allowed
        | Reason::Sanitized
        | Reason::ApprovalNeeded
        | Reason::UnknownTool
        | Reason::TokenMissing
        | Reason::TokenMalformed
        | Reason::TokenAlgorithm
        | Reason::TokenKeyUnknown
        | Reason::TokenSignature
        | Reason::TokenExpired
        | Reason::TokenNotYetValid
        | Reason::TokenAudience
        | Reason::TokenIssuer
        | Reason::TokenClaims
        | Reason::TokenReplayed
        | Reason::TokenRevoked
        | Reason::TokenMode
        | Reason::ProofMissing
        | Reason::ProofInvalid
        | Reason::ProofNonce
        | Reason::CertificateMismatch
        | Reason::AgentUnknown
        | Reason::PolicyDenied
        | Reason::Unredactable
        | Reason::DefaultDeny
        | Reason::WrongRegion
        | Reason::RateLimited
        | Reason::TooManyInFlight
        | Reason::OutOfBudget
        | Reason::BudgetExhausted => "http_request_denied",
    }
}

fn title(reason: Reason) -> &'static str {
    match reason.fault() {
        Fault::None => "The call went through",
        Fault::Call => "The call cannot be read as it must be",
        Fault::Identity => "The caller is not known",
        Fault::Policy if reason == Reason::ApprovalNeeded => "A person must approve this call",
        Fault::Policy => "The policy does not allow this call",
        Fault::Limit => "A limit was reached",
        Fault::Upstream => "The upstream could not be used",
        Fault::Gateway => "The gateway cannot do its duty",
    }
}

#[cfg(test)]
mod tests {
    use aegis_domain::Ttl;

    use super::*;

    fn refusal(reason: Reason) -> Refusal {
        let id = aegis_domain::DecisionId::new(1, [7; 10]);
        Refusal { decision: aegis_decide::refuse(id, reason), ..Refusal::nameless() }
    }

    #[test]
    fn no_refusal_invites_an_sdk_to_retry_by_itself() {
        for reason in Reason::ALL {
            let answer = Answer::to(&refusal(*reason));
            assert!(![402, 408, 409].contains(&answer.status.as_u16()), "{reason:?}");
            assert!(
                answer
                    .headers
                    .iter()
                    .any(|(name, value)| *name == SHOULD_RETRY && value == "false")
            );
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_and_how_to_find_its_record() {
        let answer = Answer::to(&refusal(Reason::OutOfBudget));
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["reason"], "OutOfBudget");
        assert_eq!(problem["what_to_do"], Reason::OutOfBudget.advice());
        assert_eq!(problem["status"], 403);
        assert!(problem["instance"].as_str().unwrap().starts_with("urn:aegis:decision:0000000001"));
    }

    #[test]
    fn a_limit_that_passes_soon_says_when() {
        let mut refusal = refusal(Reason::RateLimited);
        refusal.retry_after = Some(Ttl::from_ms(1_200));
        let headers = Answer::to(&refusal).headers;
        assert!(headers.contains(&(RETRY_AFTER, "2".to_owned())));
    }
}
