//! One breach of a house rule, as it is shown.
//!
//! Not here: the rules. Invariant: a finding prints on one line as `file:line: what is wrong; what to do`, the form
//! that editors turn into a link.

use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Relative to the repository, with `/`.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) problem: String,
    pub(crate) cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.file, self.line, self.problem, self.cure)
    }
}
