//! Decodes a body, finds what must not leave, and blanks it out.
//!
//! Laid out with the workspace; its modules follow.
