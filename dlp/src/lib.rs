//! Decodes a body, finds what must not leave, and blanks it out.
//!
//! Pure: bytes in, bytes out. What is done about a finding is `decide`'s, which body is read is the gateway's.
//! Invariant: no finding's text leaves this crate, neither in a count, nor in an error, nor in a redacted body.

mod content;
mod detect;
mod encoded;
mod error;
mod escapes;
mod fields;
mod form;
mod glance;
mod hit;
mod inflate;
mod inspect;
mod json;
mod multipart;
mod params;
mod redact;
mod scan;
mod view;

/// Builds every pattern, some 30 ms of work that otherwise falls to the first call that needs one.
pub fn prepare() {
    detect::prepare();
}

pub use content::{ContentCoding, ContentKind};
pub use error::DlpError;
pub use inflate::decode_body;
pub use params::{check_json, form_params, json_params, multipart_params};
pub use redact::{Redacted, redact, redact_query};
pub use scan::{Scan, scan, scan_query};
