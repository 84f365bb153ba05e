//! One Rust file: its text, its tokens, and which of its lines are tests.
//!
//! Not here: what may stand in a file. Invariant: comments and string contents never count as code, because questions
//! about code are asked of tokens.

use std::ops::RangeInclusive;
use std::str::FromStr as _;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

pub(crate) struct Source {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: TokenStream,
    test_lines: Vec<RangeInclusive<usize>>,
}

impl Source {
    pub(crate) fn parse(path: String, text: String) -> anyhow::Result<Self> {
        let tokens = TokenStream::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{path}: does not lex as Rust: {error}"))?;
        let test_lines = test_modules(&tokens);
        Ok(Self { path, text, tokens, test_lines })
    }

    /// Whether the whole file is tests, benchmarks or a build script.
    pub(crate) fn is_auxiliary(&self) -> bool {
        let mut folders = self.path.split('/');
        let file = folders.next_back().unwrap_or_default();
        matches!(file, "build.rs" | "tests.rs")
            || folders.any(|folder| matches!(folder, "tests" | "benches" | "examples"))
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Lines outside test modules; none in a file that is all tests.
    pub(crate) fn lines_without_tests(&self) -> usize {
        if self.is_auxiliary() {
            return 0;
        }
        let tests: usize = self.test_lines.iter().map(|lines| lines.clone().count()).sum();
        self.text.lines().count().saturating_sub(tests)
    }
}

/// The line ranges of `#[cfg(test)] mod name { .. }` at the top of the file.
fn test_modules(tokens: &TokenStream) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    let mut attribute_line = None;
    let mut in_module = false;
    for token in tokens.clone() {
        match &token {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
                if group.stream().to_string().replace(' ', "") == "cfg(test)" {
                    attribute_line = Some(group.span().start().line);
                }
            }
            TokenTree::Ident(word) if word == "mod" => in_module = true,
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                if let (Some(first), true) = (attribute_line, in_module) {
                    found.push(first..=body.span_close().end().line);
                }
                (attribute_line, in_module) = (None, false);
            }
            TokenTree::Punct(mark) if mark.as_char() == ';' => {
                (attribute_line, in_module) = (None, false);
            }
            TokenTree::Group(_)
            | TokenTree::Ident(_)
            | TokenTree::Punct(_)
            | TokenTree::Literal(_) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::parse(path.into(), text.into()).unwrap()
    }

    #[test]
    fn lines_of_a_test_module_do_not_count() {
        let text = "fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn t() {}\n}\nfn b() {}\n";
        let file = source("x/src/a.rs", text);
        assert_eq!(file.lines_without_tests(), 3);
        assert!(file.is_test_line(5) && !file.is_test_line(7));
    }

    #[test]
    fn a_test_only_function_is_not_a_test_module() {
        let file = source("x/src/a.rs", "#[cfg(test)]\nfn a() {}\nmod b {\n}\n");
        assert_eq!(file.lines_without_tests(), 4);
    }

    #[test]
    fn files_of_tests_count_as_tests_whole() {
        for path in ["x/tests/a.rs", "x/src/a/tests.rs", "x/build.rs", "x/benches/b.rs"] {
            assert_eq!(source(path, "fn a() {}\n").lines_without_tests(), 0, "{path}");
        }
    }
}
