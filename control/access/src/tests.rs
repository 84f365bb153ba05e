//! The rules of access, and that the document says the same.

use std::collections::BTreeSet;

use aegis_domain::TenantId;
use aegis_registry::Actor;

use crate::{Permission, Principal, Reach, Role, UnknownRole, Unpermitted};

const DOCUMENT: &str = include_str!("../../../docs/spec/access.md");

fn somebody(roles: &[Role], reach: Reach) -> Principal {
    let actor = Actor::parse("session alice").unwrap();
    Principal { actor, roles: roles.iter().copied().collect(), reach }
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

/// The rows of the table that stands under a heading with the names of all roles.
fn documented() -> Vec<(String, BTreeSet<Role>)> {
    let heading: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
    let heading = format!("| permission | {} |", heading.join(" | "));
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "the table with the heading {heading}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        let (name, marks) = cells.split_first().unwrap();
        let had = Role::ALL.into_iter().zip(marks).filter(|(_, mark)| **mark == "x");
        (name.trim_matches('`').to_owned(), had.map(|(role, _)| role).collect())
    };
    rows.map(row).collect()
}

#[test]
fn the_document_lists_every_permission_with_the_roles_that_have_it() {
    let had = |permission: Permission| {
        Role::ALL.into_iter().filter(|role| role.has(permission)).collect::<BTreeSet<_>>()
    };
    let true_rows: Vec<_> =
        Permission::ALL.into_iter().map(|it| (it.as_str().to_owned(), had(it))).collect();
    assert_eq!(documented(), true_rows);
}

#[test]
fn every_permission_stands_once_in_the_list_of_all() {
    let names: BTreeSet<_> = Permission::ALL.into_iter().map(Permission::as_str).collect();
    assert_eq!(names.len(), Permission::ALL.len());
}

#[test]
fn only_an_administrator_touches_keys_voters_people_and_turns_enforcement_off() {
    for permission in [
        Permission::KeysWrite,
        Permission::ClusterWrite,
        Permission::PeopleRead,
        Permission::PeopleWrite,
        Permission::PolicyDowngrade,
    ] {
        for role in Role::ALL {
            assert_eq!(role.has(permission), role == Role::Admin, "{role} {permission}");
        }
    }
}

#[test]
fn who_writes_a_version_does_not_put_it_into_force_and_the_other_way_round() {
    let both =
        |role: Role| role.has(Permission::PoliciesWrite) && role.has(Permission::PoliciesActivate);
    let able: Vec<_> = Role::ALL.into_iter().filter(|role| both(*role)).collect();
    assert_eq!(able, [Role::Admin]);
}

#[test]
fn a_machine_reads_nothing_but_what_it_follows() {
    let had: Vec<_> = Permission::ALL.into_iter().filter(|it| Role::Follower.has(*it)).collect();
    let (asks, shows) = (Permission::ApprovalsUse, Permission::AuditWrite);
    assert_eq!(had, [asks, shows, Permission::FeedRead, Permission::FleetReport]);
}

#[test]
fn roles_add_up_and_none_means_nothing() {
    let both = somebody(&[Role::Author, Role::Approver], Reach::Region);
    assert_eq!(both.needs(Permission::PoliciesWrite), Ok(()));
    assert_eq!(both.needs(Permission::ApprovalsAnswer), Ok(()));
    let missing = Permission::AgentsWrite;
    assert_eq!(both.needs(missing), Err(Unpermitted::Permission(missing)));
    let nobody = somebody(&[], Reach::Region);
    assert!(Permission::ALL.into_iter().all(|permission| nobody.needs(permission).is_err()));
}

#[test]
fn an_administrator_of_one_tenant_is_none_of_the_region() {
    let reach = Reach::Tenants([tenant("acme")].into());
    let admin = somebody(&[Role::Admin], reach);
    assert_eq!(admin.reaches(&tenant("acme")), Ok(()));
    assert_eq!(admin.reaches(&tenant("umbrella")), Err(Unpermitted::Tenant));
    assert_eq!(admin.reaches_region(), Err(Unpermitted::Region));
    assert!(!admin.sees(None) && !admin.sees(Some(&tenant("umbrella"))));
    let none = somebody(&[Role::Admin], Reach::Tenants(BTreeSet::new()));
    assert_eq!(none.reaches(&tenant("acme")), Err(Unpermitted::Tenant));
}

#[test]
fn a_role_is_read_by_its_name_and_by_nothing_else() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    for bad in ["", "Admin", "admin ", "root", "viewer,admin"] {
        assert_eq!(bad.parse::<Role>(), Err(UnknownRole), "{bad:?}");
    }
}
