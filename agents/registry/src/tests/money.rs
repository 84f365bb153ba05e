//! The rules of budgets and of their corrections.
//!
//! Not here: random histories (`histories`). Invariant: time is given, never read.

use super::*;

fn set(name: &str, seen: Option<u64>, terms: Option<BudgetTerms>) -> Action {
    Action::SetBudget { budget: budget(name), seen, terms }
}

fn adjust(correction: Correction) -> Action {
    let reason = Why::parse("a refund that the provider confirmed").unwrap();
    Action::Adjust { budget: budget("tenant/day"), correction, purpose: Purpose::Amend, reason }
}

#[test]
fn a_budget_is_set_changed_and_taken_back_by_its_name() {
    let mut desk = Desk::default();
    desk.act(set("agent:bot/day", None, Some(terms(25))), at(1)).unwrap();
    desk.act(set("agent:bot/month", None, Some(terms(500))), at(2)).unwrap();
    desk.act(set("agent:bot/day", None, Some(terms(30))), at(3)).unwrap();
    let key = budget("agent:bot/day");
    let known = desk.registry.view().budget(&key).unwrap();
    assert_eq!((known.terms, known.at, known.changed), (terms(30), at(3), 3));
    assert_eq!(known.by.as_str(), "tester");
    desk.act(set("agent:bot/day", None, None), at(4)).unwrap();
    assert_eq!(desk.registry.view().budget(&key), None);
    let again = desk.act(set("agent:bot/day", None, None), at(5));
    assert_eq!(again, Err(Refusal::BudgetUnknown));
}

#[test]
fn a_budget_that_changed_since_it_was_read_is_not_overwritten() {
    let mut desk = Desk::default();
    let unseen = desk.act(set("tenant/day", Some(1), Some(terms(1))), at(0));
    assert_eq!(unseen, Err(Refusal::Changed));
    desk.act(set("tenant/day", None, Some(terms(1))), at(1)).unwrap();
    let seen = desk.registry.view().budget(&budget("tenant/day")).map(|budget| budget.changed);
    desk.act(set("tenant/day", seen, Some(terms(2))), at(2)).unwrap();
    assert_eq!(desk.act(set("tenant/day", seen, None), at(3)), Err(Refusal::Changed));
}

#[test]
fn a_warning_never_lies_beyond_its_limit() {
    let mut desk = Desk::default();
    let warned = |at| Some(BudgetTerms { warn_at: Some(MicroUsd::new(at)), ..terms(10) });
    let over = Refusal::OverLimit { what: Limited::Warning, max: 10 };
    assert_eq!(desk.act(set("tenant/day", None, warned(11)), at(0)), Err(over));
    desk.act(set("tenant/day", None, warned(10)), at(0)).unwrap();
}

#[test]
fn a_tenants_budgets_are_listed_in_order_and_without_those_of_others() {
    let mut desk = Desk::default();
    for name in ["tool:pay/day", "tenant/24h", "agent:z/day", "tenant/day"] {
        desk.act(set(name, None, Some(terms(1))), at(0)).unwrap();
    }
    for tenant in ["aaa", "zzz"] {
        let budget = BudgetKey { tenant: TenantId::parse(tenant).unwrap(), ..budget("tenant/day") };
        desk.act(Action::SetBudget { budget, seen: None, terms: Some(terms(1)) }, at(1)).unwrap();
    }
    let view = desk.registry.view();
    let acme = TenantId::parse("acme").unwrap();
    let names = |after| {
        let budgets = view.budgets_of(&acme, after);
        budgets.map(|budget| budget.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(None), ["tenant/day", "tenant/24h", "agent:z/day", "tool:pay/day"]);
    assert_eq!(names(Some(&budget("tenant/24h"))), ["agent:z/day", "tool:pay/day"]);
}

#[test]
fn an_adjustment_says_who_when_why_and_how_much_for_thirteen_months() {
    let mut desk = Desk::default();
    let correction = Correction::Subtract(MicroUsd::new(1_500_000));
    desk.act(adjust(correction), at(5)).unwrap();
    let kept = desk.registry.adjustments(None).next().unwrap().clone();
    assert_eq!((kept.correction, kept.at, kept.applied_at), (correction, at(5), None));
    assert_eq!((kept.by.as_str(), kept.budget), ("tester", budget("tenant/day")));
    assert_eq!(kept.reason.as_str(), "a refund that the provider confirmed");

    let note = Action::NoteAdjusted { id: kept.id };
    desk.act(note.clone(), at(6)).unwrap();
    desk.act(note, at(7)).unwrap();
    let noted = |desk: &Desk| desk.registry.adjustments(None).map(|it| it.applied_at).next();
    assert_eq!(noted(&desk), Some(Some(at(6))), "the first time counts");

    let day = 24 * 60 * 60;
    desk.add_key(1, 0, at(5 + 400 * day - 1)).unwrap();
    assert!(noted(&desk).is_some());
    desk.add_key(2, 0, at(5 + 400 * day)).unwrap();
    assert_eq!(noted(&desk), None);
    let unknown = desk.act(Action::NoteAdjusted { id: kept.id }, at(0));
    assert_eq!(unknown, Err(Refusal::AdjustmentUnknown));
}

#[test]
fn an_adjustment_sent_again_has_the_id_it_had() {
    let mut desk = Desk::default();
    let command = desk.command(adjust(Correction::Add(MicroUsd::new(1))));
    let first = desk.registry.apply(&command, at(1)).unwrap();
    assert_eq!(desk.registry.apply(&command, at(9)), Ok(first));
    assert_eq!(desk.registry.adjustments(None).count(), 1);
    desk.act(adjust(Correction::Add(MicroUsd::new(1))), at(1)).unwrap();
    assert_eq!(desk.registry.adjustments(None).count(), 2, "another command is another one");
}

#[test]
fn gateways_hear_of_limits_and_not_of_corrections() {
    let mut desk = Desk::default();
    let limit = desk.act(set("tenant/day", None, Some(terms(1))), at(1)).unwrap();
    assert_eq!(limit.clone().public(), limit);
    let corrected = desk.act(adjust(Correction::Add(MicroUsd::new(1))), at(2)).unwrap();
    assert_eq!(corrected.public().changes, []);
}

#[test]
fn a_reason_is_one_line_of_text() {
    assert_eq!(
        Why::parse("Gutschrift für März – #17").unwrap().as_str(),
        "Gutschrift für März – #17"
    );
    for wrong in ["", "   ", " a", "a\nb", "a\u{1b}[2J", &"ü".repeat(501)] {
        assert_eq!(Why::parse(wrong), Err(WhyError), "{wrong:?}");
    }
}
