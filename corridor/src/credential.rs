//! Where a caller's token, and the proof that it holds its key, stand in what it sent.
//!
//! Not here: whether they are good (`rooms::identify`). Invariant: a call has one token or none; two are a contradiction,
//! never a choice.

use aegis_domain::{Reason, Secret};
use aegis_identity::Scheme;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use crate::context::{Arrival, Presented, Stands};
use crate::headers::{AEGIS_AUTHORIZATION, AEGIS_DPOP, DPOP};

/// A token as it was presented.
#[derive(Clone, Debug)]
pub struct Told {
    pub scheme: Scheme,
    pub token: Secret<String>,
}

/// The token of a call, and the proof that came with it.
#[derive(Clone, Copy, Debug)]
pub struct Credential<'a> {
    pub scheme: Scheme,
    pub token: &'a Secret<String>,
    /// Read only beside a token of scheme `DPoP`: elsewhere the header is the upstream's.
    pub proof: Option<&'a str>,
}

/// The token in the call's own headers.
pub fn in_headers(headers: &HeaderMap) -> Result<Option<Told>, Reason> {
    let Some(text) = only(headers, &own_header(headers), Reason::TokenMalformed)? else {
        return Ok(None);
    };
    let (scheme, token) = text.split_once(' ').ok_or(Reason::TokenMissing)?;
    let scheme = Scheme::parse(scheme).ok_or(Reason::TokenMissing)?;
    Ok(Some(Told { scheme, token: Secret::new(token.trim_start_matches(' ').to_owned()) }))
}

/// The token in `Proxy-Authorization`: under a scheme of ours, or as the password of `Basic`, which is what clients make
/// of `http://agent:<token>@gateway` in `HTTPS_PROXY` (RFC 9110 §11.7, RFC 7617).
pub fn to_proxy(headers: &HeaderMap) -> Result<Option<Told>, Reason> {
    let Some(text) = only(headers, &PROXY_AUTHORIZATION, Reason::TokenMalformed)? else {
        return Ok(None);
    };
    let (scheme, rest) = text.split_once(' ').ok_or(Reason::TokenMissing)?;
    let rest = rest.trim_start_matches(' ');
    if let Some(scheme) = Scheme::parse(scheme) {
        return Ok(Some(Told { scheme, token: Secret::new(rest.to_owned()) }));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Reason::TokenMissing);
    }
    let decoded = STANDARD.decode(rest).map_err(|_| Reason::TokenMalformed)?;
    let pair = String::from_utf8(decoded).map_err(|_| Reason::TokenMalformed)?;
    match pair.split_once(':') {
        Some((_, "")) | None => Err(Reason::TokenMissing),
        Some((_, token)) => {
            Ok(Some(Told { scheme: Scheme::Bearer, token: Secret::new(token.to_owned()) }))
        }
    }
}

/// What a call shows of its caller; `None` where it shows nothing.
pub fn of(arrival: &Arrival) -> Result<Option<Credential<'_>>, Reason> {
    let Presented { told: Some(Told { scheme, token }), .. } = &arrival.presented else {
        return Ok(None);
    };
    let proof = match scheme {
        Scheme::Bearer => None,
        Scheme::Dpop => only(&arrival.headers, &proof_header(arrival), Reason::ProofInvalid)?,
    };
    Ok(Some(Credential { scheme: *scheme, token, proof }))
}

/// Whether a header is the proof that was meant for us, so that it stays here.
pub fn is_own_proof(arrival: &Arrival, name: &HeaderName) -> bool {
    let is_dpop = arrival.presented.told.as_ref().is_some_and(|told| told.scheme == Scheme::Dpop);
    is_dpop && *name == proof_header(arrival)
}

/// An agent that keeps its own upstream credential in `Authorization` carries its token in our header.
fn own_header(headers: &HeaderMap) -> HeaderName {
    if headers.contains_key(AEGIS_AUTHORIZATION) { AEGIS_AUTHORIZATION } else { AUTHORIZATION }
}

/// The proof stands beside the token: under the name of RFC 9449 beside `Authorization`, under ours elsewhere, where a
/// `DPoP` is between agent and upstream.
fn proof_header(arrival: &Arrival) -> HeaderName {
    let is_beside = arrival.presented.stands == Stands::InHeaders
        && own_header(&arrival.headers) == AUTHORIZATION;
    if is_beside { DPOP } else { AEGIS_DPOP }
}

fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    otherwise: Reason,
) -> Result<Option<&'h str>, Reason> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str()).transpose().map_err(|_| otherwise)?;
    if values.next().is_some() { Err(otherwise) } else { Ok(first) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(value: &str) -> Result<(Scheme, String), Reason> {
        let headers = HeaderMap::from_iter([(PROXY_AUTHORIZATION, value.parse().unwrap())]);
        let told = to_proxy(&headers)?.ok_or(Reason::TokenMissing)?;
        Ok((told.scheme, told.token.expose().clone()))
    }

    #[test]
    fn a_proxy_is_told_a_token_as_bearer_as_dpop_or_as_a_password() {
        let bearer = Ok((Scheme::Bearer, "a.b.c".to_owned()));
        assert_eq!(told("Bearer a.b.c"), bearer);
        assert_eq!(told("bearer  a.b.c"), bearer);
        // agent:a.b.c and :a.b.c
        assert_eq!(told("Basic YWdlbnQ6YS5iLmM="), bearer);
        assert_eq!(told("Basic OmEuYi5j"), bearer);
        assert_eq!(told("DPoP a.b.c"), Ok((Scheme::Dpop, "a.b.c".to_owned())));
    }

    #[test]
    fn anything_else_said_to_a_proxy_is_no_token() {
        for (value, reason) in [
            ("Basic YWdlbnQ=", Reason::TokenMissing),
            ("Basic YWdlbnQ6", Reason::TokenMissing),
            ("Basic !", Reason::TokenMalformed),
            ("Digest x", Reason::TokenMissing),
            ("Bearer", Reason::TokenMissing),
        ] {
            assert_eq!(told(value), Err(reason), "{value}");
        }
        let one = (PROXY_AUTHORIZATION, http::HeaderValue::from_static("Bearer a"));
        let mut twice = HeaderMap::from_iter([one.clone()]);
        twice.append(one.0, one.1);
        assert_eq!(to_proxy(&twice).err(), Some(Reason::TokenMalformed));
    }
}
