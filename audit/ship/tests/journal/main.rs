//! The journal on a real disk, and the verifier over what it leaves there.

mod append;
mod attacks;
mod support;
