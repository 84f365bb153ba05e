//! One test a rule.
//!
//! Not here: random histories (`histories`). Invariant: time is given, never read.

use aegis_identity::{Claims, KeyError, KeySet, TokenLimits, TrustedIssuer, Verifier, mint};

use super::*;

#[test]
fn a_code_is_spent_once_and_sets_the_key_of_its_agent() {
    let mut desk = Desk::default();
    desk.register("bot", "secret", at(0));
    assert_eq!(desk.enrol("wrong", 1, at(1)), Err(Refusal::CodeUnknown));
    desk.enrol("secret", 1, at(1)).unwrap();
    assert_eq!(desk.agent("bot").key, Some(key(1)));
    assert_eq!(desk.enrol("secret", 2, at(2)), Err(Refusal::CodeUnknown));
}

#[test]
fn a_code_ends_with_its_life_also_when_the_clock_goes_back() {
    let mut desk = Desk::default();
    desk.register("bot", "secret", at(0));
    assert_eq!(desk.enrol("secret", 1, at(600)), Err(Refusal::CodeUnknown));
    desk.enrol("secret", 1, at(599)).unwrap();

    desk.register("late", "other", at(0));
    desk.add_key(9, 0, at(2_000)).unwrap();
    assert_eq!(desk.enrol("other", 2, at(10)), Err(Refusal::CodeUnknown));
}

#[test]
fn a_new_code_takes_the_place_of_the_one_before() {
    let mut desk = Desk::default();
    desk.register("bot", "first", at(0));
    desk.act(Action::IssueCode { agent: name("bot"), seen: None, code: code("second") }, at(1))
        .unwrap();
    assert_eq!(desk.enrol("first", 1, at(2)), Err(Refusal::CodeUnknown));
    desk.enrol("second", 1, at(2)).unwrap();
}

#[test]
fn a_disabled_agent_never_enrols_and_its_code_does_not_wait_for_it() {
    let mut desk = Desk::default();
    desk.register("bot", "secret", at(0));
    desk.stand("bot", Standing::Disabled, at(1));
    let issue = Action::IssueCode { agent: name("bot"), seen: None, code: code("more") };
    assert_eq!(desk.act(issue, at(2)), Err(Refusal::AgentDisabled));
    assert_eq!(desk.enrol("secret", 1, at(2)), Err(Refusal::CodeUnknown));
    desk.stand("bot", Standing::Active, at(3));
    assert_eq!(desk.enrol("secret", 1, at(4)), Err(Refusal::CodeUnknown));
}

#[test]
fn an_old_key_counts_for_the_overlap_and_no_longer() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    desk.enrol("one", 1, at(1)).unwrap();
    let code = NewCode { overlap: Ttl::from_s(60), ..code("two") };
    desk.act(Action::IssueCode { agent: name("bot"), seen: None, code }, at(2)).unwrap();
    desk.enrol("two", 2, at(10)).unwrap();
    let keys = |now| desk.agent("bot").keys(now).cloned().collect::<Vec<_>>();
    assert_eq!(keys(at(69)), [key(2), key(1)]);
    assert_eq!(keys(at(70)), [key(2)]);
}

#[test]
fn a_key_names_one_owner() {
    let mut desk = Desk::default();
    desk.add_key(9, 0, at(0)).unwrap();
    desk.register("a", "one", at(0));
    desk.register("b", "two", at(0));
    desk.enrol("one", 1, at(1)).unwrap();
    assert_eq!(desk.enrol("two", 1, at(1)), Err(Refusal::KeyTaken));
    assert_eq!(desk.enrol("two", 9, at(1)), Err(Refusal::KeyTaken), "the region's");
    assert_eq!(desk.add_key(1, 0, at(1)), Err(Refusal::KeyTaken), "an agent's");
}

#[test]
fn a_change_that_was_not_seen_is_not_overwritten() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    let seen = Some(desk.agent("bot").changed);
    let amendment = Box::new(Amendment { mode: Some(Mode::Proof), ..Amendment::default() });
    let amend = Action::Amend { agent: name("bot"), seen, amendment };
    desk.act(amend.clone(), at(1)).unwrap();
    assert_eq!(desk.agent("bot").mode, Mode::Proof);
    assert_eq!(desk.act(amend, at(2)), Err(Refusal::Changed));
}

#[test]
fn a_command_is_applied_once_by_client_and_serial() {
    let mut desk = Desk::default();
    let command =
        desk.command(Action::Revoke { target: Target::Tenant(name("x").tenant), issued: None });
    let first = desk.registry.apply(&command, at(1)).unwrap();
    let before = desk.registry.hash();
    assert_eq!(desk.registry.apply(&command, at(500)), Ok(first));
    let mut other = command.clone();
    other.origin.request = Fingerprint::of(b"something else");
    assert_eq!(desk.registry.apply(&other, at(500)), Err(Refusal::SerialReused));
    assert_eq!(desk.registry.hash(), before);
    desk.add_key(1, 0, at(501)).unwrap();
    assert_eq!(desk.registry.apply(&command, at(502)), Err(Refusal::Stale));
}

#[test]
fn a_key_changes_standing_by_time_alone_and_what_it_signed_lives_out() {
    let mut desk = Desk::default();
    desk.add_key(1, 0, at(0)).unwrap();
    desk.add_key(2, 60, at(100)).unwrap();
    let view = desk.registry.view().clone();
    let signs = |s| view.signing_key(1, at(s)).unwrap().id().clone();
    let standing = |seed: u8, s| view.key(jwk(seed).id()).unwrap().standing(at(s));
    assert_eq!((signs(159), signs(160)), (jwk(1).id().clone(), jwk(2).id().clone()));
    assert_eq!((standing(2, 159), standing(2, 160)), (KeyStanding::Next, KeyStanding::Active));
    assert_eq!((standing(1, 159), standing(1, 160)), (KeyStanding::Active, KeyStanding::Retiring));
    let end = 160 + TOKEN_LIFE_MAX.s_ceil();
    assert_eq!(
        (standing(1, end - 1), standing(1, end)),
        (KeyStanding::Retiring, KeyStanding::Retired)
    );
    assert_eq!(view.published(at(101)).count(), 2, "the next key is known before it signs");
    assert_eq!(view.published(at(end)).count(), 1);
}

#[test]
fn each_control_node_has_keys_of_its_own_and_those_of_one_that_is_gone_live_out() {
    let mut desk = Desk::default();
    let (lead, overlap) = (Ttl::from_s(0), Ttl::from_s(0));
    for (seed, signer) in [(1, 1), (2, 2), (3, 2)] {
        let add = Action::AddKey { key: jwk(seed), signer, lead, overlap };
        desk.act(add, at(u64::from(seed))).unwrap();
    }
    let view = desk.registry.view();
    let signs = |signer| view.signing_key(signer, at(9)).map(|key| key.id().clone());
    assert_eq!((signs(1), signs(2)), (Some(jwk(1).id().clone()), Some(jwk(3).id().clone())));
    assert_eq!(view.published(at(9)).count(), 3);

    desk.act(Action::EndKeys { signer: 2 }, at(10)).unwrap();
    let view = desk.registry.view();
    assert!(view.signing_key(2, at(10)).is_none() && view.signing_key(1, at(10)).is_some());
    let last = at(10).plus(TOKEN_LIFE_MAX);
    assert_eq!(view.key(jwk(3).id()).unwrap().standing(at(10)), KeyStanding::Retiring);
    assert_eq!(view.published(last).count(), 1, "what it signed has lived out");
}

#[test]
fn a_key_that_signs_is_not_taken_away_before_another_takes_over() {
    let mut desk = Desk::default();
    desk.add_key(1, 0, at(0)).unwrap();
    let id = jwk(1).id().clone();
    assert_eq!(
        desk.act(Action::RetireKey { id: id.clone(), seen: None }, at(1)),
        Err(Refusal::KeyInUse)
    );
    let revoke = Action::Revoke { target: Target::Key(id.clone()), issued: None };
    assert_eq!(desk.act(revoke.clone(), at(1)), Err(Refusal::KeyInUse));
    desk.add_key(2, 5, at(2)).unwrap();
    assert_eq!(desk.add_key(3, 0, at(3)), Err(Refusal::KeyPending));
    assert_eq!(
        desk.act(Action::RetireKey { id: id.clone(), seen: None }, at(6)),
        Err(Refusal::KeyInUse)
    );
    desk.act(revoke, at(7)).unwrap();
    assert!(is_revoked(desk.registry.view(), "bot", &[&id], at(8)));
    assert_eq!(desk.registry.view().published(at(8)).count(), 1);
}

#[test]
fn a_revoked_key_is_taken_from_its_agent_and_never_comes_back() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    desk.enrol("one", 1, at(1)).unwrap();
    let id = jwk(1).id().clone();
    desk.act(Action::Revoke { target: Target::Key(id.clone()), issued: None }, at(2)).unwrap();
    assert_eq!(desk.agent("bot").key, None);
    desk.act(Action::IssueCode { agent: name("bot"), seen: None, code: code("two") }, at(3))
        .unwrap();
    assert_eq!(desk.enrol("two", 1, at(4)), Err(Refusal::KeyRevoked));
    assert!(is_revoked(desk.registry.view(), "bot", &[&id], at(1_000_000)));
}

#[test]
fn everything_issued_before_a_revocation_is_worthless_and_what_comes_after_is_not() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    for target in [Target::Agent(name("bot")), Target::Tenant(name("bot").tenant)] {
        let mut desk = desk.clone();
        desk.act(Action::Revoke { target, issued: None }, at(50)).unwrap();
        let view = desk.registry.view();
        assert!(is_revoked(view, "bot", &[], at(49)));
        assert!(!is_revoked(view, "bot", &[], at(50)));
    }
}

#[test]
fn what_a_clock_that_was_ahead_issued_is_revoked_with_the_rest() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    let revoke = Action::Revoke { target: Target::Agent(name("bot")), issued: Some(at(650)) };
    desk.act(revoke, at(60)).unwrap();
    let view = desk.registry.view();
    assert!(is_revoked(view, "bot", &[], at(650)));
    assert!(!is_revoked(view, "bot", &[], at(651)));
}

#[test]
fn limits_are_checked_where_an_agent_comes_in_and_where_it_changes() {
    let mut desk = Desk::default();
    let limits = Limits { token_ttl_s: Some(901), ..Limits::default() };
    let agent = Box::new(NewAgent { limits, ..new_agent("bot") });
    let over = Refusal::OverLimit { what: Limited::TokenLife, max: 900 };
    assert_eq!(desk.act(Action::Register { agent, code: None }, at(0)), Err(over));
    desk.register("bot", "one", at(0));
    let amendment = Box::new(Amendment { limits: Some(limits), ..Amendment::default() });
    let amend = Action::Amend { agent: name("bot"), seen: None, amendment };
    assert_eq!(desk.act(amend, at(1)), Err(over));
    assert_eq!(desk.agent("bot").limits.token_ttl(), Ttl::from_s(300));
}

#[test]
fn a_parent_is_an_active_agent_of_the_same_tenant() {
    let mut desk = Desk::default();
    let child = || Box::new(NewAgent { parent: Some(name("boss").id), ..new_agent("child") });
    let register = |agent| Action::Register { agent, code: None };
    assert_eq!(desk.act(register(child()), at(0)), Err(Refusal::ParentUnknown));
    desk.register("boss", "one", at(1));
    desk.stand("boss", Standing::Disabled, at(2));
    assert_eq!(desk.act(register(child()), at(3)), Err(Refusal::ParentUnknown));
    desk.stand("boss", Standing::Active, at(4));
    desk.act(register(child()), at(5)).unwrap();
}

#[test]
fn a_jwk_is_named_by_its_thumbprint_and_holds_no_private_member() {
    // RFC 8037 appendix A.1 and A.3.
    let mut value = serde_json::json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "../../etc/passwd",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    });
    let key = PublicJwk::parse(&value).unwrap();
    assert_eq!(key.id().as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    value["d"] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A".into();
    assert_eq!(PublicJwk::parse(&value), Err(AgentKeyError::Jwk(KeyError::Private)));
    let symmetric = serde_json::json!({ "kty": "oct" });
    assert_eq!(PublicJwk::parse(&symmetric), Err(AgentKeyError::Jwk(KeyError::Unsupported)));
}

#[test]
fn gateways_that_ask_in_the_words_of_identity_are_told_the_same() {
    let mut desk = Desk::default();
    desk.register("bot", "one", at(0));
    for target in [
        Target::Agent(name("bot")),
        Target::Tenant(TenantId::parse("other").unwrap()),
        Target::Key(jwk(5).id().clone()),
        Target::Token { tenant: name("bot").tenant, jti: Jti::parse("gone").unwrap() },
    ] {
        desk.act(Action::Revoke { target, issued: None }, at(100)).unwrap();
    }
    let view = desk.registry.view();
    let taken = view.taken_back().unwrap();
    let region = SigningKey::from_seed([9; 32]);
    for (tenant, agent, jti, issued_s) in [
        ("acme", "bot", "a", 99),
        ("acme", "bot", "b", 100),
        ("acme", "helper", "c", 99),
        ("acme", "helper", "gone", 200),
        ("other", "bot", "d", 99),
        ("other", "bot", "e", 100),
    ] {
        let claims = Claims {
            issuer: "https://a".into(),
            org: OrgId::parse("acme").unwrap(),
            tenant: TenantId::parse(tenant).unwrap(),
            agent: AgentId::parse(agent).unwrap(),
            parent_agent: None,
            acts_for: Vec::new(),
            confirmation: None,
            scopes: BTreeSet::new(),
            audience: vec!["https://b".into()],
            expires_at: at(issued_s + 300),
            not_before: None,
            issued_at: Some(at(issued_s)),
            jti: Jti::parse(jti).unwrap(),
            token_use: aegis_domain::TokenUse::Bound,
        };
        let keys = KeySet::default().with(region.public_key().clone()).unwrap();
        let issuer =
            TrustedIssuer { issuer: "https://a".into(), audiences: vec!["https://b".into()], keys };
        let verifier = Verifier::new(vec![issuer], TokenLimits::default());
        let verified = verifier.verify(&mint(&region, &claims).unwrap(), at(issued_s)).unwrap();
        let issued = Issued {
            jti: &claims.jti,
            agent: &AgentName { tenant: claims.tenant.clone(), id: claims.agent.clone() },
            keys: &[verified.key_id()],
            issued_at: at(issued_s),
        };
        let revoked = view.revoked(&issued).is_some();
        assert_eq!(taken.check(&verified).is_err(), revoked, "{tenant} {agent} {jti}");
    }
}

/// A registry that remembers as many clients as it can, all of which sent a command at `now`.
fn crowded(now: Timestamp) -> Desk {
    let mut desk = Desk::default();
    desk.register("pay-bot", "a", at(0));
    desk.register("other", "b", at(0));
    let event = Event { serial: 1, at: now, by: Actor::parse("tester").unwrap(), changes: vec![] };
    for number in desk.registry.clients.len()..crate::decide::CLIENTS_MAX {
        let client = ClientId::of(&number.to_be_bytes());
        let origin = Origin { client: client.clone(), serial: 1, request: Fingerprint::of(b"") };
        desk.registry.clients.insert(client, crate::clients::Last::new(&origin, event.clone()));
    }
    desk
}

#[test]
fn clients_that_ask_no_more_give_way_and_what_takes_back_waits_for_nobody() {
    let mut desk = crowded(at(1));
    let mut stranger = |action, now| {
        let mut command = desk.command(action);
        command.origin.client = ClientId::of(format!("stranger-{}", desk.serial).as_bytes());
        let done = desk.registry.apply(&command, now).map(drop);
        (done, desk.registry.clients.len())
    };
    let issue = || Action::IssueCode { agent: name("pay-bot"), seen: None, code: code("c") };
    let suspend = || {
        let (agent, standing) = (name("other"), Standing::Disabled);
        Action::SetStanding { agent, seen: None, standing }
    };
    // The first of them sent its command at 0.
    assert_eq!(stranger(issue(), at(599)), (Err(Refusal::Full), crate::decide::CLIENTS_MAX));
    assert_eq!(stranger(suspend(), at(599)), (Ok(()), crate::decide::CLIENTS_MAX));
    assert_eq!(stranger(issue(), at(600)), (Err(Refusal::Full), crate::decide::CLIENTS_MAX));
    assert_eq!(stranger(issue(), at(601)), (Ok(()), crate::decide::CLIENTS_MAX));
}
