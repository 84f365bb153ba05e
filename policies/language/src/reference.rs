//! `$name` where a tool takes scopes, regions, methods or paths: put there once all files of the set have been read.
//!
//! Not here: lists of plain texts (`ListRef`), which stay references so that the bundle holds them once. Invariant: after
//! `fill_in`, every such list stands in its tool, each member read as what it is there.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::name::{Name, Text};
use crate::tool::{Tool, method_of, scope_of};
use crate::{PolicySet, check};
use aegis_document::{Diagnostics, Location, Node, Problems};

/// Where in a tool a named list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Scopes,
    Regions,
    Methods,
    Paths,
}

/// A list by its name, and its place.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub(crate) place: Place,
    pub(crate) name: Name,
    at: Location,
}

/// Each member is written out in each tool that names the list, and becomes a check or a rule body there.
const MEMBERS_MAX: usize = 500;

/// Reads `$name`; `None` when the text is no reference or was reported.
pub(crate) fn name(node: &Node, problems: &mut Problems) -> Option<(Name, Location)> {
    let name = node.as_text()?.strip_prefix('$')?;
    match name.parse() {
        Ok(name) => Some((name, problems.locate(node.position()))),
        Err(error) => {
            problems.report(node.position(), format!("after `$`: {error}"));
            None
        }
    }
}

/// Reads a list in place, or notes by which name it goes and leaves it empty for now.
pub(crate) fn list<T>(
    node: &Node,
    problems: &mut Problems,
    (place, noted): (Place, &mut Vec<Reference>),
    decode: impl FnMut(&Node, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    if node.as_text().is_some_and(|text| text.starts_with('$')) {
        let (name, at) = name(node, problems)?;
        noted.push(Reference { place, name, at });
        return Some(Vec::new());
    }
    crate::tool::filled_list(node, problems, decode)
}

pub(crate) fn fill_in(set: &mut PolicySet, found: &mut Diagnostics) {
    for tool in set.tools.values_mut() {
        let references = std::mem::take(&mut tool.references);
        references.iter().for_each(|reference| put(tool, reference, &set.lists, found));
        tool.references = references;
    }
}

fn put(
    tool: &mut Tool,
    Reference { place, name, at }: &Reference,
    lists: &BTreeMap<Name, Vec<Text>>,
    found: &mut Diagnostics,
) {
    let mut members = check::members(lists, name, at, found);
    if members.len() > MEMBERS_MAX {
        let message =
            format!("the list `{name}` has more than {MEMBERS_MAX} members for this place");
        found.report(at, message, None);
        members = &[];
    }
    let mut kept = |error: String| {
        found.report(at, format!("in the list `{name}`: {error}"), None);
    };
    match place {
        Place::Scopes => tool.allow.scopes = read(members, scope_of, &mut kept),
        Place::Regions => {
            tool.allow.regions = Some(read(members, |text| text.parse(), &mut kept));
        }
        Place::Methods => tool.matching.methods = read(members, method_of, &mut kept),
        Place::Paths => tool.matching.paths = read(members, |text| text.parse(), &mut kept),
    }
}

fn read<T, E: Display>(
    members: &[Text],
    read: impl Fn(&str) -> Result<T, E>,
    report: &mut impl FnMut(String),
) -> Vec<T> {
    let read = members.iter().map(|member| read(member.as_str()));
    read.filter_map(|member| member.map_err(|error| report(error.to_string())).ok()).collect()
}
