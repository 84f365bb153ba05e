//! How much a peer may send before it is refused.
//!
//! Not here: bodies, whose limits belong to tools, and time (`pace`). Invariant: each is checked before the bytes are
//! interpreted, and before a head that grows past it has ended.

/// Bounds on one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The whole head, line ends included.
    pub head_bytes_max: usize,
    pub headers_max: usize,
    /// One header line without its CRLF.
    pub line_bytes_max: usize,
    /// The request target (RFC 9112 §3 asks for room for at least 8,000).
    pub target_bytes_max: usize,
}

impl Limits {
    /// What agents may send: room for a few tokens and cookies, no more.
    pub const REQUEST: Self = Self {
        head_bytes_max: 32 * 1_024,
        headers_max: 100,
        line_bytes_max: 16 * 1_024,
        target_bytes_max: 8 * 1_024,
    };

    /// What upstreams may answer with: providers send many, and long policies in one line.
    pub const RESPONSE: Self = Self {
        head_bytes_max: 64 * 1_024,
        headers_max: 200,
        line_bytes_max: 32 * 1_024,
        target_bytes_max: 0,
    };

    /// The trailer section of a chunked body.
    pub(crate) const TRAILERS: Self = Self {
        head_bytes_max: 8 * 1_024,
        headers_max: 32,
        line_bytes_max: 4 * 1_024,
        target_bytes_max: 0,
    };
}
