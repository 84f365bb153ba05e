//! What one tool's program reads of the input document, taken from the program itself.
//!
//! Not here: building the input (`rego::input`), finding the reads in a line (`lower::linter`). Invariant: a path that
//! is not here cannot change the tool's decision, so it is neither given to the program nor kept in a record.

use std::collections::BTreeMap;

use serde_json::Value;

/// How much of a value is read; more includes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reads {
    /// Only its type, so texts, lists and objects are passed empty.
    Type,
    /// The keys of an object; values that have no path of their own are passed as null.
    Keys,
    Value,
}

impl Reads {
    pub fn as_str(self) -> &'static str {
        match self {
            Reads::Type => "type",
            Reads::Keys => "keys",
            Reads::Value => "value",
        }
    }
}

/// The exact input paths of one tool, as JSON pointers (RFC 6901).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projection(BTreeMap<String, Reads>);

impl Projection {
    pub(crate) fn add(&mut self, path: &[String], reads: Reads) {
        let entry = self.0.entry(pointer(path)).or_insert(reads);
        *entry = reads.max(*entry);
    }

    /// Every path, sorted.
    pub fn paths(&self) -> impl Iterator<Item = (&str, Reads)> {
        self.0.iter().map(|(path, reads)| (path.as_str(), *reads))
    }

    /// The paths that `other` reads and an input made for this one does not hold: where there are any, such an input
    /// cannot tell what `other`'s program would decide.
    pub fn lacks<'o>(&self, other: &'o Projection) -> impl Iterator<Item = &'o str> {
        let kept = |path: &str, reads: Reads| self.0.get(path).is_some_and(|kept| *kept >= reads);
        other.paths().filter(move |(path, reads)| !kept(path, *reads)).map(|(path, _)| path)
    }

    /// `{"/params/amount": "value", ..}`.
    pub fn to_json(&self) -> Value {
        self.0.iter().map(|(path, reads)| (path.clone(), Value::from(reads.as_str()))).collect()
    }
}

/// The members of the input document, as a tree: every path, by its parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Branches {
    pub(crate) here: Option<Reads>,
    pub(crate) below: BTreeMap<String, Branches>,
}

impl Projection {
    pub(crate) fn tree(&self) -> Branches {
        let mut root = Branches::default();
        for (path, reads) in &self.0 {
            let mut branch = &mut root;
            for part in path.split('/').skip(1) {
                let name = part.replace("~1", "/").replace("~0", "~");
                branch = branch.below.entry(name).or_default();
            }
            branch.here = Some(*reads);
        }
        root
    }
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn projection(paths: &[(&[&str], Reads)]) -> Projection {
        let mut projection = Projection::default();
        for (path, reads) in paths {
            let path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
            projection.add(&path, *reads);
        }
        projection
    }

    #[test]
    fn names_with_slashes_are_escaped_and_found_again() {
        let found = projection(&[(&["context", "approved", "a/b~c"], Reads::Value)]);
        assert_eq!(found.paths().next(), Some(("/context/approved/a~1b~0c", Reads::Value)));
        assert!(found.tree().below["context"].below["approved"].below.contains_key("a/b~c"));
    }

    #[test]
    fn a_candidate_that_reads_more_is_told_what_is_missing() {
        let kept = projection(&[(&["params"], Reads::Keys), (&["params", "a"], Reads::Type)]);
        let wanted = projection(&[
            (&["params"], Reads::Type),
            (&["params", "a"], Reads::Value),
            (&["agent", "tier"], Reads::Value),
        ]);
        assert_eq!(kept.lacks(&wanted).collect::<Vec<_>>(), ["/agent/tier", "/params/a"]);
        assert_eq!(wanted.lacks(&wanted).count(), 0);
    }
}
