//! What no request may break, whatever it says.
//!
//! Not here: whole requests over sockets (`control/tests`). Invariant: an agent's bounds are made up here, and what is
//! granted is held against them.

mod clocks;

use std::collections::{BTreeMap, BTreeSet};

use aegis_domain::{AgentId, OrgId, TenantId, Timestamp, Ttl};
use aegis_registry::{Agent, Limits, Mode, Scope, Standing, TOKEN_LIFE_MAX};
use proptest::prelude::*;

use crate::form::Form;
use crate::grant::Narrowed;
use crate::{FormError, Refusal};

fn agent(scopes: &BTreeSet<String>, token_ttl_s: Option<u32>) -> Agent {
    Agent {
        tenant: TenantId::parse("acme").unwrap(),
        id: AgentId::parse("bot").unwrap(),
        org: OrgId::parse("acme").unwrap(),
        parent: None,
        scopes: scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect(),
        groups: BTreeSet::new(),
        attributes: BTreeMap::new(),
        mode: Mode::Bound,
        limits: Limits { token_ttl_s, ..Limits::default() },
        standing: Standing::Active,
        key: None,
        retiring: None,
        registered_at: Timestamp::from_unix_s(0),
        changed: 1,
    }
}

fn scopes() -> impl Strategy<Value = BTreeSet<String>> {
    proptest::collection::btree_set("[abc]", 0..3)
}

proptest! {
    #[test]
    fn a_grant_says_no_more_than_its_agent_and_its_subject_may(
        (own, parents, asked) in (scopes(), scopes(), proptest::option::of(scopes())),
        (ttl_s, left_s, now_s) in (proptest::option::of(1..2_000_u32), 0..2_000_u64, 1..1_000_000_u64),
    ) {
        let now = Timestamp::from_unix_s(now_s);
        let until = now.plus(Ttl::from_s(left_s));
        let agent = agent(&own, ttl_s);
        let narrowed = Narrowed::of(&agent).within(&parents, until);
        let both: BTreeSet<_> = own.intersection(&parents).cloned().collect();
        let text = asked.as_ref().map(|asked| asked.iter().cloned().collect::<Vec<_>>().join(" "));
        match (narrowed.scopes(text.as_deref().filter(|text| !text.is_empty())), &asked) {
            (Ok(granted), Some(asked)) if !asked.is_empty() => prop_assert_eq!(&granted, asked),
            (Ok(granted), _) => prop_assert_eq!(&granted, &both),
            (Err(refusal), asked) => {
                prop_assert_eq!(refusal, Refusal::Scope);
                prop_assert!(!asked.as_ref().unwrap().is_subset(&both));
            }
        }
        match narrowed.expires_at(&agent, now) {
            Ok(end) => {
                prop_assert!(end <= until && end <= now.plus(TOKEN_LIFE_MAX) && end > now);
            }
            Err(_) => prop_assert_eq!(left_s, 0),
        }
    }

    #[test]
    fn no_body_breaks_the_reader_and_no_parameter_has_two_values(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        if Form::read(&body).is_ok() {
            let mut names: Vec<_> = form_urlencoded::parse(&body).map(|(name, _)| name.into_owned()).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), all);
        }
    }
}

#[test]
fn a_form_is_bounded_and_each_parameter_comes_once_however_it_is_spelt() {
    assert_eq!(Form::read(b"scope=a&scope=b").err(), Some(FormError::Twice));
    assert_eq!(Form::read(b"scope=a&%73cope=").err(), Some(FormError::Twice));
    assert_eq!(Form::read(b"scope=%ff").err(), Some(FormError::NotText));
    assert_eq!(Form::read(&vec![b'a'; 70_000]).err(), Some(FormError::TooLong));
    let many: Vec<_> = (0..33).map(|number| format!("p{number}=1")).collect();
    assert_eq!(Form::read(many.join("&").as_bytes()).err(), Some(FormError::TooLong));
    let form = Form::read(b"a=&b=x+y%2Bz").unwrap();
    assert_eq!((form.get("a"), form.get("b")), (None, Some("x y+z")));
}
