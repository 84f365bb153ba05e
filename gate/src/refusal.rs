//! Why a head or a body was refused: one variant for each rule of `docs/spec/front-door.md`.
//!
//! Not here: which reason the agent reads; the door translates. Invariant: no message quotes what the peer sent.

/// Why a peer's bytes go no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("a line does not end in CRLF, or a CR or LF stands alone")]
    LineEnd,
    #[error("the head holds a NUL or another control byte")]
    ControlByte,
    #[error("a header line begins with white space, or would continue another")]
    Fold,
    #[error("the first line is not method, target and version between single spaces")]
    StartLine,
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
    #[error("the method is not 1 to 32 upper-case letters, digits or hyphens")]
    Method,
    #[error("the method makes an upstream echo what it was sent")]
    EchoMethod,
    #[error("the method is not one that is served")]
    UnknownMethod,

    #[error("the target has none of the forms that are served")]
    TargetForm,
    #[error("the target holds a byte that a URI cannot hold")]
    TargetByte,
    #[error("the target has a fragment where its path would end")]
    Fragment,
    #[error("an escape in the path is malformed")]
    Escape,
    #[error("an escape in the target hides a character that changes its meaning")]
    HiddenCharacter,
    #[error("the escapes in the path are not UTF-8")]
    PathNotUtf8,
    #[error("the path has a dot segment")]
    DotSegment,
    #[error("the path has an empty segment")]
    EmptySegment,
    #[error("an authority is not a host with an optional port")]
    Authority,
    #[error("a target in authority form has no port")]
    PortMissing,

    #[error("a header name is not a token, or no colon follows it")]
    HeaderName,
    #[error("a header value holds a byte that a value cannot hold")]
    HeaderValue,
    #[error("a header name looks like one that frames or routes")]
    LookAlike,
    #[error("a header that may come once comes twice")]
    Repeated,
    #[error("there is no Host")]
    HostMissing,
    #[error("Host and target name different hosts")]
    HostMismatch,
    #[error("Content-Length is not a plain decimal number")]
    ContentLength,
    #[error("Transfer-Encoding is not chunked alone")]
    TransferEncoding,
    #[error("both Content-Length and Transfer-Encoding are given")]
    TwoFramings,
    #[error("Transfer-Encoding is given in HTTP/1.0")]
    OldChunked,
    #[error("the method takes no body")]
    BodyOfBodiless,
    #[error("Connection names more than connection options")]
    ConnectionOption,
    #[error("a header asks for another method or path than the first line")]
    Override,
    #[error("Upgrade is not a bodiless WebSocket handshake")]
    Upgrade,
    #[error("Expect is not 100-continue before a body")]
    Expect,

    #[error("the head is larger than the limit")]
    HeadTooLarge,
    #[error("a header line is longer than the limit")]
    LineTooLong,
    #[error("there are more headers than the limit")]
    TooManyHeaders,
    #[error("the target is longer than the limit")]
    TargetTooLong,

    #[error("a chunk size is not 1 to 16 hexadecimal digits")]
    ChunkSize,
    #[error("a chunk has an extension")]
    ChunkExtension,
    #[error("a chunk does not end where its size says")]
    ChunkEnd,
    #[error("a trailer has a name that frames, routes or identifies")]
    TrailerName,

    #[error("a tunnel does not begin with one whole TLS client hello")]
    ClientHello,
    #[error("a client hello hides the name it asks for")]
    HiddenName,

    #[error("a pseudo header is missing or out of place")]
    PseudoHeader,
    #[error("an HTTP/2 message has a header of one HTTP/1 connection")]
    ConnectionHeader,

    #[error("the status line is malformed")]
    StatusLine,
    #[error("too many interim responses come before the final one")]
    TooManyInterim,
    #[error("the upstream switches protocols unasked")]
    SwitchUnasked,
    #[error("a response that has no body announces one")]
    BodyOfBodilessResponse,
}

impl Refusal {
    /// Whether the message was too large rather than wrong. What is answered is the door's affair.
    pub fn is_size(self) -> bool {
        matches!(
            self,
            Refusal::TargetTooLong
                | Refusal::HeadTooLarge
                | Refusal::LineTooLong
                | Refusal::TooManyHeaders
        )
    }
}
