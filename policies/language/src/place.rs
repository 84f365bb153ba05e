//! Where the declarations of a set stand: lists, calendars, approvals, obligations, by kind and name.
//!
//! Not here: tools, parameters and rules, which know their own places. Invariant: whatever a set declares has its
//! place, and the place is that of its name.

use std::collections::BTreeMap;

use aegis_document::{Document, Location, Node, Problems};

use crate::Name;

/// What can be declared beside tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Declared {
    List,
    Calendar,
    Approval,
    Obligation,
}

impl Declared {
    pub const ALL: [Declared; 4] =
        [Declared::List, Declared::Calendar, Declared::Approval, Declared::Obligation];

    pub fn as_str(self) -> &'static str {
        match self {
            Declared::List => "list",
            Declared::Calendar => "calendar",
            Declared::Approval => "approval",
            Declared::Obligation => "obligation",
        }
    }

    fn section(self) -> &'static str {
        match self {
            Declared::List => "lists",
            Declared::Calendar => "calendars",
            Declared::Approval => "approvals",
            Declared::Obligation => "obligations",
        }
    }
}

/// The places of one file; a file that does not decode has none, and says so elsewhere.
pub(crate) fn places(document: &Document) -> BTreeMap<(Declared, Name), Location> {
    document.decode(|root, problems| Some(sections(root, problems))).unwrap_or_default()
}

fn sections(root: &Node, problems: &mut Problems) -> BTreeMap<(Declared, Name), Location> {
    let mut places = BTreeMap::new();
    let Some(mut map) = root.mapping(problems) else { return places };
    for declared in Declared::ALL {
        let names = map.optional(declared.section(), problems, |node, p| {
            let name =
                |key: &Node, p: &mut Problems| Some((key.parsed::<Name>(p)?, key.position()));
            node.map(p, name, |_, _| Some(()))
        });
        for (name, position) in names.unwrap_or_default().into_keys() {
            places.insert((declared, name), problems.locate(position));
        }
    }
    places
}
