//! How large a file and a crate may grow.
//!
//! Not here: functions and nesting, which clippy counts. Invariant: tests never count, so nobody saves lines on them.

use crate::finding::Finding;
use crate::tree::{Crate, Tree};

const FILE_LINES_MAX: usize = 500;
const CRATE_LINES_MAX: usize = 5_000;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.crates.iter().flat_map(judge).collect()
}

fn judge(krate: &Crate) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut total = 0_usize;
    for source in &krate.sources {
        let lines = source.lines_without_tests();
        total = total.saturating_add(lines);
        if lines > FILE_LINES_MAX {
            findings.push(Finding {
                file: source.path.clone(),
                line: FILE_LINES_MAX,
                problem: format!("{lines} lines without tests, at most {FILE_LINES_MAX}"),
                cure: "split it along a noun".into(),
            });
        }
    }
    let most = crate_lines_max(&krate.dir);
    if total > most {
        findings.push(Finding {
            file: format!("{}/Cargo.toml", krate.dir),
            line: 1,
            problem: format!("the crate has {total} lines without tests, at most {most}"),
            cure: "split it along a noun, never into core and extra".into(),
        });
    }
    findings
}

fn crate_lines_max(dir: &str) -> usize {
    match dir {
        "domain" => 1_500,
        "decide" => 1_000,
        _ => CRATE_LINES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::sample;

    fn file(lines: usize, test_lines: usize) -> String {
        let tests = "    // t\n".repeat(test_lines);
        format!("{}#[cfg(test)]\nmod tests {{\n{tests}}}\n", "// c\n".repeat(lines))
    }

    #[test]
    fn a_file_stops_at_500_lines_without_its_tests() {
        let (_home, tree) = sample::tree(
            &[("a", "")],
            &[("a/src/long.rs", &file(501, 0)), ("a/src/tested.rs", &file(500, 900))],
        );
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().starts_with("a/src/long.rs:500: 501 lines"), "{}", found[0]);
    }

    #[test]
    fn decide_stops_at_1000_lines_where_another_crate_may_go_on() {
        let files = [file(400, 0), file(400, 0), file(400, 0)];
        let at = |dir: &str, n: usize| format!("{dir}/src/f{n}.rs");
        let paths: Vec<_> = ["decide", "state"]
            .into_iter()
            .flat_map(|dir| (0..3).map(move |n| (at(dir, n), n)))
            .collect();
        let placed: Vec<_> = paths.iter().map(|(path, n)| (path.as_str(), &*files[*n])).collect();
        let (_home, tree) = sample::tree(&[("decide", ""), ("state", "")], &placed);
        let found = check(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "decide/Cargo.toml");
    }
}
