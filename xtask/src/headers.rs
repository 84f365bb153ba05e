//! Every file opens by saying what it is, what it is not, and what always holds.
//!
//! Not here: whether the sentences are good; review reads them. Invariant: a file of tests and a build script need one
//! sentence, every other file three.

use crate::finding::Finding;
use crate::source::Source;
use crate::tree::Tree;

const SENTENCES_MIN: usize = 3;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.crates.iter().flat_map(|krate| &krate.sources).filter_map(judge).collect()
}

fn judge(source: &Source) -> Option<Finding> {
    let wanted = if source.is_auxiliary() { 1 } else { SENTENCES_MIN };
    let has = sentences(&source.text);
    (has < wanted).then(|| Finding {
        file: source.path.clone(),
        line: 1,
        problem: format!("the header has {has} of {wanted} sentences"),
        cure: "open with //! lines: what it is, what it is not, what always holds".into(),
    })
}

/// Sentences of the opening `//!` lines; a line that goes on without a stop still counts, as lists do.
fn sentences(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let written = lines.iter().filter(|line| !line.trim().is_empty()).count();
    let stops = lines.join(" ").split(' ').filter(|word| word.ends_with(['.', '?', '!'])).count();
    written.max(stops)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    #[test]
    fn a_file_that_does_not_say_what_it_is_fails() {
        let (_home, tree) = sample::tree(
            &[("a", "")],
            &[
                ("a/src/bare.rs", "fn a() {}\n"),
                ("a/src/short.rs", "//! One.\n//!\n//! Two.\n"),
                ("a/src/good.rs", "//! One.\n//!\n//! Two. Three.\n"),
                ("a/src/list.rs", "//! One:\n//! - two\n//! - three\n"),
                ("a/tests/rule.rs", "//! One sentence.\n"),
                ("a/build.rs", "fn main() {}\n"),
            ],
        );
        let files: Vec<_> = check(&tree).into_iter().map(|finding| finding.file).collect();
        assert_eq!(files, ["a/build.rs", "a/src/bare.rs", "a/src/short.rs"]);
    }
}
