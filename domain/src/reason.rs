//! Why a call ended as it did: one stable code each, one row each in `docs/reasons.md`.
//!
//! Not here: HTTP statuses (`gateway::door::answer`). Invariant: no code changes its meaning or is given out again.

/// Whose doing it was, which decides what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody's: the call went through.
    None,
    /// The call itself is malformed or too large.
    Call,
    /// The caller is not who it must be.
    Identity,
    /// The tenant's policy says no, or not yet.
    Policy,
    /// A limit was reached; later may work.
    Limit,
    /// The upstream, or the way to it, failed.
    Upstream,
    /// Aegis cannot do its duty, so it refuses.
    Gateway,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident: $fault:ident, $advice:literal;)+) => {
        /// The stable reason code of a decision or an outcome.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason, in the order of `docs/reasons.md`.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)+];

            /// The code as it stands in records, logs, metrics and refusals.
            pub fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => stringify!($name),)+
                }
            }

            /// Whose doing it was.
            pub fn fault(self) -> Fault {
                match self {
                    $(Reason::$name => Fault::$fault,)+
                }
            }

            /// What the caller can do now, in one sentence.
            pub fn advice(self) -> &'static str {
                match self {
                    $(Reason::$name => $advice,)+
                }
            }
        }
    };
}

reasons! {
    /// The policy lets the call through as it is.
    Allowed: None, "nothing to do";
    /// The policy lets the call through after redaction.
    Sanitized: None, "nothing to do; what left was redacted";
    /// A person must approve this exact call first.
    ApprovalNeeded: Policy, "wait until the approval is granted, then send the same call again";

    /// The request head or framing is not plain HTTP.
    MalformedRequest: Call, "send a well-formed HTTP request; see the reason list for what is refused";
    /// The request head is larger than the limit.
    HeadTooLarge: Call, "send fewer or shorter headers";
    /// The request head or body took longer than its deadline.
    RequestTimeout: Call, "send the whole request within the deadline";
    /// The request body is larger than the configured limit.
    BodyTooLarge: Call, "send a smaller body, or have the tool's body limit raised";
    /// The body is not what its content type says, or has duplicate keys.
    UnreadableBody: Call, "send valid, unambiguous JSON, form or multipart data with the matching content type";
    /// The content encoding or type cannot be inspected.
    UnsupportedEncoding: Call, "send the body without that content encoding";
    /// The route names no tool of this tenant.
    UnknownTool: Call, "call /<tool>/<path> with a tool your tenant has";

    /// No token was sent.
    TokenMissing: Identity, "send a token as Authorization: Bearer, or as Aegis-Authorization: Bearer";
    /// The token is not a JWS this gateway can read.
    TokenMalformed: Identity, "get a new token";
    /// The token's algorithm is not one its key declares.
    TokenAlgorithm: Identity, "get a new token";
    /// No known key has the token's key id.
    TokenKeyUnknown: Identity, "get a new token from an issuer this gateway trusts";
    /// The token's signature does not verify.
    TokenSignature: Identity, "get a new token";
    /// The token has expired.
    TokenExpired: Identity, "get a new token";
    /// The token is not valid yet.
    TokenNotYetValid: Identity, "wait, or correct the clock";
    /// The token is for somebody else.
    TokenAudience: Identity, "get a token whose audience is this gateway";
    /// The token's issuer is not trusted here.
    TokenIssuer: Identity, "get a token from an issuer this gateway trusts";
    /// A claim is missing, malformed, or the token lives too long.
    TokenClaims: Identity, "get a token with all the claims this gateway needs";
    /// The token was used before, by someone else or at all.
    TokenReplayed: Identity, "get a new token; if you did not use this one before, report it as stolen";
    /// The token, its agent, its key or all its tenant's tokens were taken back.
    TokenRevoked: Identity, "get a new token";
    /// The tenant, the agent or the tool asks for a token that is used in a safer mode.
    TokenMode: Identity, "get a token bound to a key or certificate, or one for a single call, as the tool asks";
    /// The token is bound to a key, and no proof came with it.
    ProofMissing: Identity, "send the token as Authorization: DPoP, with a DPoP header signed for this request";
    /// The proof does not fit the key, the token or the request, or is too old.
    ProofInvalid: Identity, "sign a new proof for exactly this request and this token";
    /// The proof lacks the nonce this gateway asks for, or has one that is over.
    ProofNonce: Identity, "sign a new proof with the nonce in the DPoP-Nonce header of the answer";
    /// The token is bound to a certificate that this connection did not show.
    CertificateMismatch: Identity, "connect with the certificate the token is bound to";
    /// The agent is not registered with the tenant the token names, or is disabled.
    AgentUnknown: Identity, "have the agent registered";

    /// The policy denies the call.
    PolicyDenied: Policy, "change the call, or ask the policy's owners";
    /// What the policy wants blanked stands where nothing can blank it.
    Unredactable: Policy, "keep personal data out of the path and out of streamed bodies";
    /// Nothing in the policy grants the call.
    DefaultDeny: Policy, "ask the policy's owners to grant it";
    /// The tenant must be served in another region.
    WrongRegion: Policy, "call the gateway of the region named in the answer";

    /// Too many calls in a window.
    RateLimited: Limit, "slow down and retry after the time in Retry-After";
    /// As many calls are under way at once as may be.
    TooManyInFlight: Limit, "wait until a call under way has ended, or make fewer at once";
    /// The budget cannot cover the call's highest possible cost.
    OutOfBudget: Limit, "wait for the budget to reset, or have it raised";
    /// The answer used more than was held for it, and no more could be held.
    BudgetExhausted: Limit, "ask for fewer tokens, or have the budget raised; what was used is charged";

    /// The upstream's name did not resolve.
    UpstreamUnresolved: Upstream, "check the tool's upstream; retry later";
    /// The upstream's address is one no call may go to.
    AddressForbidden: Upstream, "have the tool's definition name the address, if it is meant";
    /// The upstream's address is this gateway itself.
    ProxyLoop: Upstream, "name the upstream itself, not this gateway";
    /// No connection to the upstream.
    UpstreamUnreachable: Upstream, "retry later";
    /// The upstream's certificate or handshake was refused.
    UpstreamTls: Upstream, "have the upstream's certificate repaired";
    /// The upstream took too long.
    UpstreamTimeout: Upstream, "retry later";
    /// The upstream broke off or spoke no HTTP.
    UpstreamFailed: Upstream, "retry later";
    /// The agent hung up before the answer was complete.
    AgentGone: Call, "nothing; the call was settled";
    /// The gateway stopped before it knew the outcome.
    OutcomeUnknown: Gateway, "ask the upstream; the estimate was charged";

    /// The hot state did not answer and the call may not go on without it.
    StateUnavailable: Gateway, "retry later";
    /// The decision record could not be made durable.
    AuditUnavailable: Gateway, "retry later";
    /// Too many records wait for their way into the audit bucket.
    AuditBacklog: Gateway, "retry after the time in Retry-After; the operator must see to the audit bucket, or to the region's voters";
    /// The region defines the tool, or the tenant's limits, in a way that this gateway may not follow or cannot read.
    DefinitionUnusable: Gateway, "have the operator see to the definition; the gateway's log names what it may not do or cannot read";
    /// The region was not heard of for so long that what it took back may not be known here, and the call writes.
    ControlStateStale: Gateway, "retry later; the operator must see to the region's voters, or to the way to them";
    /// The policy engine gave no well-formed answer.
    PolicyEngine: Gateway, "report the decision id to the operator";
    /// A failure nobody foresaw.
    Unavailable: Gateway, "retry later, and report the decision id to the operator";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_a_code_of_its_own_and_advice() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|reason| !reason.advice().is_empty()));
    }
}
