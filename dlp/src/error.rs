//! Why a body could not be read, decoded or redacted.
//!
//! Not here: what the caller is told (`gateway::door::answer`). Invariant: an error says what and where, and
//! never quotes the body.

use aegis_domain::Reason;

/// Why a body is refused. Offsets are bytes from the start of the decoded body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DlpError {
    #[error("the body is not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("the body is not JSON at byte {at}: {what}")]
    Json { at: usize, what: &'static str },
    #[error("the body is nested deeper than {max} levels at byte {at}")]
    TooDeep { at: usize, max: usize },
    #[error("the body has the same field twice at byte {at}")]
    DuplicateField { at: usize },
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("the form is malformed at byte {at}: {what}")]
    Form { at: usize, what: &'static str },
    #[error("the multipart body is malformed at byte {at}: {what}")]
    Multipart { at: usize, what: &'static str },
    #[error("the content coding is not one that can be undone")]
    UnknownCoding,
    #[error("the compressed body is damaged")]
    Damaged,
    #[error("the body is larger than {limit} bytes once decoded")]
    TooLarge { limit: usize },
    #[error("the body has more encoded parts than may be undone")]
    TooMuchWork,
    #[error("the body's type has no fields that could be kept or blanked")]
    NoFields,
    #[error("the body is binary and cannot be redacted in place")]
    Binary,
    #[error("the body still held a finding after redaction")]
    Residue,
}

impl DlpError {
    /// The stable code of the refusal.
    pub fn reason(&self) -> Reason {
        match self {
            DlpError::NotUtf8 { .. }
            | DlpError::Json { .. }
            | DlpError::TooDeep { .. }
            | DlpError::DuplicateField { .. }
            | DlpError::NotAnObject
            | DlpError::Form { .. }
            | DlpError::Multipart { .. }
            | DlpError::Damaged => Reason::UnreadableBody,
            DlpError::TooLarge { .. } => Reason::BodyTooLarge,
            DlpError::UnknownCoding
            | DlpError::TooMuchWork
            | DlpError::NoFields
            | DlpError::Binary
            | DlpError::Residue => Reason::UnsupportedEncoding,
        }
    }
}
