//! The rules of definitions: tools and limits as texts.
//!
//! Not here: random histories (`histories`). Invariant: time is given, never read.

use proptest::prelude::*;

use super::*;

const TEXT: &str = "upstream: https://api.stripe.com\n";

fn acme() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(super) fn tool(name: &str) -> Defined {
    Defined { tenant: acme(), part: Part::Tool(ToolName::parse(name).unwrap()) }
}

fn limits() -> Defined {
    Defined { tenant: acme(), part: Part::Limits }
}

pub(super) fn text(text: &str) -> DefinitionText {
    DefinitionText::parse(text).unwrap()
}

fn define(of: Defined, seen: Option<u64>) -> Action {
    Action::Define { of, seen, text: Some(text(TEXT)) }
}

fn withdraw(of: Defined, seen: Option<u64>) -> Action {
    Action::Define { of, seen, text: None }
}

#[test]
fn a_definition_is_made_changed_and_withdrawn_by_its_name() {
    let mut desk = Desk::default();
    desk.act(define(tool("pay"), None), at(1)).unwrap();
    desk.act(define(limits(), None), at(2)).unwrap();
    let (of, longer) = (tool("pay"), text("upstream: https://b.example\n"));
    desk.act(Action::Define { of, seen: Some(1), text: Some(longer.clone()) }, at(3)).unwrap();
    let known = desk.registry.definition(&tool("pay")).unwrap();
    assert_eq!((&known.text, known.at, known.changed), (&longer, at(3), 3));
    assert_eq!(known.by.as_str(), "tester");
    desk.act(withdraw(tool("pay"), Some(3)), at(4)).unwrap();
    assert_eq!(desk.registry.definition(&tool("pay")), None);
    assert!(desk.registry.definition(&limits()).is_some());
    let again = desk.act(withdraw(tool("pay"), None), at(5));
    assert_eq!(again, Err(Refusal::DefinitionUnknown));
}

#[test]
fn a_definition_that_changed_since_it_was_read_is_not_overwritten() {
    let mut desk = Desk::default();
    let unseen = desk.act(define(tool("pay"), Some(1)), at(0));
    assert_eq!(unseen, Err(Refusal::Changed));
    desk.act(define(tool("pay"), None), at(1)).unwrap();
    desk.act(define(tool("pay"), Some(1)), at(2)).unwrap();
    assert_eq!(desk.act(define(tool("pay"), Some(1)), at(3)), Err(Refusal::Changed));
    assert_eq!(desk.act(withdraw(tool("pay"), Some(1)), at(3)), Err(Refusal::Changed));
    // What there must be none of yet.
    desk.act(define(tool("crm"), Some(0)), at(4)).unwrap();
    assert_eq!(desk.act(define(tool("crm"), Some(0)), at(5)), Err(Refusal::Changed));
}

#[test]
fn a_tenants_definitions_are_listed_in_order_and_without_those_of_others() {
    let mut desk = Desk::default();
    for of in [tool("zip"), limits(), tool("pay")] {
        desk.act(define(of, None), at(0)).unwrap();
    }
    for tenant in ["aaa", "zzz"] {
        let of = Defined { tenant: TenantId::parse(tenant).unwrap(), ..tool("pay") };
        desk.act(define(of, None), at(1)).unwrap();
    }
    let acme = acme();
    let after = |part: Option<&Part>| {
        let definitions = desk.registry.definitions_of(&acme, part);
        definitions.map(|it| it.of.clone()).collect::<Vec<_>>()
    };
    assert_eq!(after(None), [limits(), tool("pay"), tool("zip")]);
    assert_eq!(after(Some(&tool("pay").part)), [tool("zip")]);
}

#[test]
fn a_tenant_has_at_most_two_hundred_tools_and_may_change_each() {
    let mut desk = Desk::default();
    for number in 0..200 {
        desk.act(define(tool(&format!("tool-{number}")), None), at(0)).unwrap();
    }
    let over = Refusal::OverLimit { what: Limited::Tools, max: 200 };
    assert_eq!(desk.act(define(tool("one-more"), None), at(1)), Err(over));
    desk.act(define(tool("tool-0"), None), at(1)).unwrap();
    desk.act(define(limits(), None), at(1)).unwrap();
    desk.act(withdraw(tool("tool-0"), None), at(2)).unwrap();
    desk.act(define(tool("one-more"), None), at(3)).unwrap();
}

#[test]
fn a_region_holds_at_most_thirty_two_mebibytes_and_withdrawing_makes_room() {
    let mut desk = Desk::default();
    let longest = text(&"a".repeat(16 * 1_024));
    let of = |number: usize| Defined {
        tenant: TenantId::parse(&format!("tenant-{number}")).unwrap(),
        part: Part::Limits,
    };
    for number in 0..2_048 {
        let definition = Definition {
            of: of(number),
            text: longest.clone(),
            by: Actor::parse("tester").unwrap(),
            at: at(0),
            changed: 0,
        };
        desk.registry.definitions.insert(of(number), definition);
    }
    assert_eq!(desk.act(define(of(2_048), None), at(1)), Err(Refusal::Full));
    desk.act(define(of(0), None), at(1)).unwrap();
    desk.act(withdraw(of(1), None), at(1)).unwrap();
    desk.act(define(of(2_048), None), at(1)).unwrap();
}

#[test]
fn definitions_have_one_spelling_in_what_is_kept() {
    let mut desk = Desk::default();
    let made = desk.act(define(tool("pay"), None), at(1)).unwrap();
    let gone = desk.act(withdraw(tool("pay"), Some(1)), at(2)).unwrap();
    let spelled = |event: &Event| serde_json::to_string(&event.changes).unwrap();
    let definition = r#"[{"definition":{"of":{"tenant":"acme","part":{"tool":"pay"}},"#.to_owned()
        + r#""text":"upstream: https://api.stripe.com\n","by":"tester","#
        + r#""at":1800000001000000000,"changed":1}}]"#;
    assert_eq!(spelled(&made), definition);
    let withdrawn = r#"[{"definition_gone":{"tenant":"acme","part":{"tool":"pay"}}}]"#;
    assert_eq!(spelled(&gone), withdrawn);
    assert_eq!(
        serde_json::to_string(&withdraw(limits(), None)).unwrap(),
        r#"{"define":{"of":{"tenant":"acme","part":"limits"},"seen":null,"text":null}}"#
    );
}

#[test]
fn where_nothing_is_defined_the_version_before_reads_the_snapshot() {
    let mut desk = Desk::default();
    let is_told = |desk: &Desk| {
        let snapshot = serde_json::to_value(&desk.registry).unwrap();
        snapshot.get("definitions").is_some()
    };
    assert!(!is_told(&desk));
    desk.act(define(limits(), None), at(1)).unwrap();
    assert!(is_told(&desk));
}

#[test]
fn the_registrys_followers_hear_of_no_definition() {
    let mut desk = Desk::default();
    let made = desk.act(define(tool("pay"), None), at(1)).unwrap();
    assert_eq!(made.public().changes, []);
    let view = serde_json::to_string(desk.registry.view()).unwrap();
    assert!(!view.contains("stripe"), "{view}");
}

#[test]
fn whoever_follows_definitions_holds_what_the_registry_defines_and_nothing_else_of_it() {
    let mut desk = Desk::default();
    let mut followed = desk.registry.defined();
    let budget = BudgetKey::parse(acme(), "tenant/day").unwrap();
    let terms = BudgetTerms { limit: MicroUsd::new(1), warn_at: None, overrun: Overrun::Refuse };
    let acts = [
        define(tool("pay"), None),
        Action::SetBudget { budget, seen: None, terms: Some(terms) },
        define(limits(), None),
        withdraw(tool("pay"), None),
    ];
    let mut events = Vec::new();
    for act in acts {
        events.push(desk.act(act, at(1)).unwrap().of_definitions());
    }
    assert_eq!(events.iter().map(|event| event.changes.len()).collect::<Vec<_>>(), [1, 0, 1, 1]);
    for event in &events {
        followed.apply(event).unwrap();
    }
    assert_eq!(followed, desk.registry.defined());
    assert_eq!(followed.iter().map(|it| it.of.clone()).collect::<Vec<_>>(), [limits()]);
    let again = followed.apply(&events[3]);
    assert_eq!(again, Err(RegistryError::OutOfOrder { wanted: 5, found: 4 }));
}

#[test]
fn a_definition_is_text_that_shows_in_an_editor() {
    for right in [TEXT, "a", "name: Käse # ✓\n\n", &"ä".repeat(8 * 1_024)] {
        assert_eq!(text(right).as_str(), right);
    }
    for wrong in ["", "a\tb", "a\r\n", "a\u{1b}[2J", "\u{85}", "\0", &"a".repeat(16 * 1_024 + 1)] {
        assert_eq!(DefinitionText::parse(wrong), Err(DefinitionTextError), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn what_is_read_back_is_what_was_written(wrote in "[^\\x00-\\x09\\x0b-\\x1f\\x7f-\\x{9f}]{1,300}") {
        let wrote = Action::Define { of: tool("pay"), seen: Some(7), text: Some(text(&wrote)) };
        let kept = serde_json::to_string(&wrote).unwrap();
        prop_assert_eq!(serde_json::from_str::<Action>(&kept).unwrap(), wrote);
    }

    #[test]
    fn no_text_gets_around_the_bounds(wrote in any::<String>()) {
        let kept = serde_json::to_string(&wrote).unwrap();
        let read = serde_json::from_str::<DefinitionText>(&kept);
        prop_assert_eq!(read.is_ok(), DefinitionText::parse(&wrote).is_ok());
    }
}
