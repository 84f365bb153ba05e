//! The methods that are served: those of the registry, and two that widely used upstreams need.
//!
//! Not here: which of them read and which write. Invariant: a method that is not listed goes nowhere, so no server is
//! asked for something that only it knows, and none in another case (RFC 9110 §§9.1, 16.1).

use crate::Refusal;

/// The HTTP method registry of IANA without PRI, TRACE and the versioning methods that nobody serves any more.
const REGISTERED: [&str; 28] = [
    "ACL",
    "BIND",
    "CHECKIN",
    "CHECKOUT",
    "CONNECT",
    "COPY",
    "DELETE",
    "GET",
    "HEAD",
    "LINK",
    "LOCK",
    "MERGE",
    "MKCALENDAR",
    "MKCOL",
    "MOVE",
    "OPTIONS",
    "PATCH",
    "POST",
    "PROPFIND",
    "PROPPATCH",
    "PUT",
    "QUERY",
    "REBIND",
    "REPORT",
    "SEARCH",
    "UNBIND",
    "UNLINK",
    "UNLOCK",
];

/// HashiCorp Vault lists with `LIST`; caches are purged with `PURGE`.
const IN_USE: [&str; 2] = ["LIST", "PURGE"];

pub(crate) fn parse_method(method: &[u8]) -> Result<&str, Refusal> {
    let is_plain = method.iter().all(|&byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'-'));
    let text = std::str::from_utf8(method).map_err(|_| Refusal::Method)?;
    let is_known = || REGISTERED.contains(&text) || IN_USE.contains(&text);
    match text {
        _ if !is_plain || !(1..=32).contains(&method.len()) => Err(Refusal::Method),
        "TRACE" | "TRACK" => Err(Refusal::EchoMethod),
        _ if is_known() => Ok(text),
        _ => Err(Refusal::UnknownMethod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_methods_in_capitals_are_served() {
        for method in ["GET", "POST", "DELETE", "PROPFIND", "LIST", "M-SEARCH"] {
            let is_known = method != "M-SEARCH";
            assert_eq!(parse_method(method.as_bytes()).is_ok(), is_known, "{method}");
        }
        for (method, refusal) in [
            ("get", Refusal::Method),
            ("Get", Refusal::Method),
            ("GE,T", Refusal::Method),
            ("GET\u{0}", Refusal::Method),
            ("", Refusal::Method),
            ("A2345678901234567890123456789012345", Refusal::Method),
            ("TRACE", Refusal::EchoMethod),
            ("TRACK", Refusal::EchoMethod),
            ("ANNOUNCE", Refusal::UnknownMethod),
            ("GETT", Refusal::UnknownMethod),
        ] {
            assert_eq!(parse_method(method.as_bytes()), Err(refusal), "{method}");
        }
    }
}
