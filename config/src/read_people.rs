//! Who the people are that may command the region (`control.people`): an OpenID provider, and what its groups may do.
//!
//! Not here: checking tokens (`identity`), and what a role may do (`control/access`). Invariant: a group that is not in the
//! map brings no role.

use std::collections::BTreeMap;

use aegis_access::Role;
use aegis_document::{Node, Problems};
use aegis_identity::ClaimPath;

use crate::read_region::{ExchangeKeys, exchange_keys};
use crate::read_tool::Folder;

/// The provider whose people may command the region.
#[derive(Debug)]
pub struct PeopleIssuer {
    pub issuer: String,
    /// Our names with it; its tokens must be for one of them.
    pub audiences: Vec<String>,
    pub keys: ExchangeKeys,
    /// Where the groups stand in its tokens.
    pub groups: ClaimPath,
    /// What each group is.
    pub roles: BTreeMap<String, Role>,
    /// Where the tenants stand that someone is limited to, if anybody is.
    pub tenants: Option<ClaimPath>,
}

struct Claims {
    groups: ClaimPath,
    roles: BTreeMap<String, Role>,
    tenants: Option<ClaimPath>,
}

pub(super) fn people(
    node: &Node,
    problems: &mut Problems,
    folder: &Folder,
) -> Option<PeopleIssuer> {
    let mut map = node.mapping(problems)?;
    let issuer = map.required("issuer", problems, Node::text);
    let audiences = map.required("audiences", problems, |n, p| n.list(p, Node::text));
    let keys = exchange_keys(&mut map, problems, folder);
    let claims = map.required("claims", problems, claims);
    map.finish(problems);
    let Claims { groups, roles, tenants } = claims?;
    Some(PeopleIssuer {
        issuer: issuer?,
        audiences: audiences?,
        keys: keys?,
        groups,
        roles,
        tenants,
    })
}

/// `{ roles: groups, map: { platform-admins: admin }, tenants: [aegis, tenants] }`
fn claims(node: &Node, problems: &mut Problems) -> Option<Claims> {
    let mut map = node.mapping(problems)?;
    let groups = map.required("roles", problems, path);
    let roles = map.required("map", problems, |n, p| n.map(p, Node::text, Node::parsed::<Role>));
    let tenants = map.optional("tenants", problems, path);
    map.finish(problems);
    Some(Claims { groups: groups?, roles: roles?, tenants })
}

/// A claim by its name, dots and all; within objects, by the list of names that lead to it.
fn path(node: &Node, problems: &mut Problems) -> Option<ClaimPath> {
    let names = match node.as_text() {
        Some(name) => vec![name.to_owned()],
        None => node.list(problems, Node::text)?,
    };
    let path = ClaimPath::new(names);
    path.map_err(|error| problems.report(node.position(), error.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use aegis_document::Document;

    use super::*;

    fn read(text: &str) -> Result<PeopleIssuer, String> {
        let document = Document::parse("aegis.yaml", text).unwrap();
        let folder = Folder(PathBuf::from("/nowhere"));
        let read = document.decode(|root, problems| people(root, problems, &folder));
        read.map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn groups_become_roles_and_a_claim_may_stand_within_objects() {
        let people = read(
            "\
issuer: https://login.example.com/realms/acme
audiences: [aegis]
keys: https://login.example.com/realms/acme/certs
claims:
  roles: [realm_access, roles]
  map: { platform-admins: admin, oncall: operator }
  tenants: https://aegis.example/tenants
",
        )
        .unwrap();
        assert_eq!(people.roles["oncall"], Role::Operator);
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(people.groups, ClaimPath::new(names(&["realm_access", "roles"])).unwrap());
        let tenants = ClaimPath::new(names(&["https://aegis.example/tenants"])).unwrap();
        assert_eq!(people.tenants, Some(tenants));
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let with = |claims: &str| {
            format!("{{ issuer: i, audiences: [a], keys: 'https://i/k', claims: {claims} }}")
        };
        for (text, told) in [
            (with("{ roles: groups, map: { ops: root } }"), "a role is viewer"),
            (with("{ roles: [], map: {} }"), "a claim's path is 1 to 4 names"),
            (with("{ roles: groups }"), "map"),
            (with("{ roles: groups, map: {}, groups: x }"), "groups"),
            (
                "{ issuer: i, audiences: [a], keys: 'http://i/k', claims: { roles: g, map: {} } }"
                    .into(),
                "https",
            ),
        ] {
            let mistakes = read(&text).unwrap_err();
            assert!(
                mistakes.contains("aegis.yaml:1:") && mistakes.contains(told),
                "{text}\n{mistakes}"
            );
        }
    }
}
