//! Random histories under clocks that jump, against what must hold after each step.
//!
//! Not here: single rules (`rules`). Invariant: a failing history is printed by proptest, shrunk.

use proptest::prelude::*;

use super::definitions::{self, tool};
use super::*;

const AGENTS: [&str; 3] = ["a", "b", "c"];
const TOOLS: [&str; 2] = ["pay", "mail"];
const BUDGETS: [&str; 3] = ["tenant/day", "agent:a/month", "team:ops/24h"];

#[derive(Clone, Debug)]
enum Step {
    Register(usize, u8),
    Issue(usize, u8),
    Enrol(u8, u8),
    Stand(usize, Standing),
    AddKey(u8, u64),
    Retire(u8),
    RevokeAgent(usize),
    RevokeKey(u8),
    RevokeTenant,
    SetBudget(usize, Option<u64>),
    Define(usize, Option<u8>),
    Adjust(usize, u64),
    /// The adjustment by its place among those that were ordered.
    NoteAdjusted(usize),
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64, bool)>> {
    let agent = || 0..AGENTS.len();
    let step = prop_oneof![
        1 => (agent(), 0..6_u8).prop_map(|(agent, code)| Step::Register(agent, code)),
        1 => (agent(), 0..6_u8).prop_map(|(agent, code)| Step::Issue(agent, code)),
        3 => (0..6_u8, 1..6_u8).prop_map(|(code, key)| Step::Enrol(code, key)),
        1 => (agent(), any::<bool>()).prop_map(|(agent, on)| {
            Step::Stand(agent, if on { Standing::Active } else { Standing::Disabled })
        }),
        1 => (10..14_u8, 0..100_u64).prop_map(|(key, lead)| Step::AddKey(key, lead)),
        1 => (10..14_u8).prop_map(Step::Retire),
        1 => agent().prop_map(Step::RevokeAgent),
        1 => (1..14_u8).prop_map(Step::RevokeKey),
        1 => Just(Step::RevokeTenant),
        1 => (0..BUDGETS.len(), proptest::option::of(0..9_u64))
            .prop_map(|(budget, limit)| Step::SetBudget(budget, limit)),
        1 => (0..TOOLS.len(), proptest::option::of(0..9_u8))
            .prop_map(|(tool, text)| Step::Define(tool, text)),
        1 => (0..BUDGETS.len(), 1..9_u64).prop_map(|(budget, by)| Step::Adjust(budget, by)),
        1 => (0..4_usize).prop_map(Step::NoteAdjusted),
    ];
    proptest::collection::vec((step, -700..700_i64, any::<bool>()), 1..60)
}

fn action(step: &Step, registry: &Registry) -> Action {
    let text = |code: &u8| format!("code-{code}");
    match step {
        Step::Register(agent, code_of) => Action::Register {
            agent: Box::new(new_agent(AGENTS[*agent])),
            code: Some(code(&text(code_of))),
        },
        Step::Issue(agent, code_of) => {
            let code = NewCode { overlap: Ttl::from_s(30), ..code(&text(code_of)) };
            Action::IssueCode { agent: name(AGENTS[*agent]), seen: None, code }
        }
        Step::Enrol(code, seed) => {
            Action::Enrol { code: CodeHash::of(&text(code)), key: key(*seed) }
        }
        Step::Stand(agent, standing) => {
            Action::SetStanding { agent: name(AGENTS[*agent]), seen: None, standing: *standing }
        }
        Step::AddKey(seed, lead_s) => {
            let (lead, overlap) = (Ttl::from_s(*lead_s), Ttl::from_s(0));
            Action::AddKey { key: jwk(*seed), signer: u64::from(*seed % 2), lead, overlap }
        }
        Step::Retire(seed) => Action::RetireKey { id: jwk(*seed).id().clone(), seen: None },
        Step::RevokeAgent(agent) => {
            Action::Revoke { target: Target::Agent(name(AGENTS[*agent])), issued: None }
        }
        Step::RevokeKey(seed) => {
            Action::Revoke { target: Target::Key(jwk(*seed).id().clone()), issued: None }
        }
        Step::RevokeTenant => {
            Action::Revoke { target: Target::Tenant(name("a").tenant), issued: None }
        }
        Step::SetBudget(at, limit) => {
            let (budget, terms) = (budget(BUDGETS[*at]), limit.map(terms));
            Action::SetBudget { budget, seen: None, terms }
        }
        Step::Define(at, number) => {
            let (of, text) =
                (tool(TOOLS[*at]), number.map(|it| definitions::text(&format!("price: {it}\n"))));
            Action::Define { of, seen: None, text }
        }
        Step::Adjust(at, by) => Action::Adjust {
            budget: budget(BUDGETS[*at]),
            correction: Correction::Subtract(MicroUsd::new(*by)),
            purpose: Purpose::Reconcile,
            reason: Why::parse("a history").unwrap(),
        },
        Step::NoteAdjusted(at) => {
            let known = registry.adjustments(None).nth(*at).map(|adjustment| adjustment.id);
            Action::NoteAdjusted { id: known.unwrap_or(DecisionId::new(0, [0; 10])) }
        }
    }
}

/// What is remembered outside the registry to hold it to.
#[derive(Default)]
struct Witness {
    /// How often each code was handed out and spent.
    issued: BTreeMap<String, u32>,
    spent: BTreeMap<String, u32>,
    revoked: Vec<(Revocation, Timestamp)>,
    entries: Vec<Entry>,
    budgets: BTreeMap<BudgetKey, BudgetTerms>,
    definitions: BTreeMap<Defined, DefinitionText>,
    /// What was ordered, and whether it was noted.
    adjusted: BTreeMap<DecisionId, (Correction, bool)>,
}

impl Witness {
    fn see(&mut self, before: &Registry, entry: &Entry) {
        for change in &entry.event.changes {
            match change {
                Change::Code(code) => *self.issued.entry(code.hash.to_string()).or_default() += 1,
                Change::Agent(agent) => {
                    let known = before.view().agent(&agent.tenant, &agent.id);
                    let enrolled =
                        known.is_some_and(|known| agent.key.is_some() && known.key != agent.key);
                    let was_disabled =
                        known.is_some_and(|known| known.standing == Standing::Disabled);
                    assert!(!(enrolled && was_disabled), "a disabled agent enrolled");
                }
                Change::Revoked(it) => self.revoked.push((it.clone(), entry.event.at)),
                Change::Budget(budget) => {
                    self.budgets.insert(budget.key.clone(), budget.terms);
                }
                Change::BudgetGone(key) => {
                    self.budgets.remove(key);
                }
                Change::Definition(it) => {
                    self.definitions.insert(it.of.clone(), it.text.clone());
                }
                Change::DefinitionGone(of) => {
                    self.definitions.remove(of);
                }
                Change::Adjustment(it) => {
                    let known =
                        self.adjusted.insert(it.id, (it.correction, it.applied_at.is_some()));
                    let was_noted = known.is_some_and(|(_, noted)| noted);
                    assert!(!was_noted, "an adjustment was changed after it was done");
                }
                Change::CodeGone(_) | Change::Key(_) => {}
            }
        }
        self.entries.push(entry.clone());
    }

    fn spend(&mut self, code: &u8) {
        let hash = CodeHash::of(&format!("code-{code}")).to_string();
        let spent = self.spent.entry(hash.clone()).or_default();
        *spent += 1;
        assert!(*spent <= self.issued.get(&hash).copied().unwrap_or(0), "a code was spent twice");
    }
}

/// What must hold of a registry, whatever happened.
fn holds(registry: &Registry, witness: &Witness, now: Timestamp) {
    let view = registry.view();
    for (revocation, at) in &witness.revoked {
        let issued_at = Timestamp::from_unix_ns(at.unix_ns() - 1);
        // A token issued just before could live at most this long, by any clock that is not an hour off.
        let matters = revocation.until.is_none_or(|until| now < until);
        let still = match &revocation.target {
            Target::Agent(agent) => is_revoked(view, agent.id.as_str(), &[], issued_at),
            Target::Tenant(_) => is_revoked(view, "a", &[], issued_at),
            Target::Key(id) => is_revoked(view, "zzz", &[id], now),
            Target::Token { .. } => true,
        };
        assert!(still || !matters, "a revocation was forgotten: {revocation:?}");
    }
    for agent in view.agents(None) {
        for key in agent.keys(now) {
            assert!(!view.is_key_revoked(&key.id()), "an agent holds a revoked key");
        }
    }
    let set = view.budgets().map(|budget| (budget.key.clone(), budget.terms));
    assert_eq!(set.collect::<BTreeMap<_, _>>(), witness.budgets);
    let defined = registry.definitions().map(|it| (it.of.clone(), it.text.clone()));
    assert_eq!(defined.collect::<BTreeMap<_, _>>(), witness.definitions);
    let kept = registry.adjustments(None);
    let kept = kept.map(|it| (it.id, (it.correction, it.applied_at.is_some())));
    assert_eq!(kept.collect::<BTreeMap<_, _>>(), witness.adjusted, "money moved unexplained");
    for signer in 0..2 {
        let is_active = |key: &&TokenKey| key.standing(now) == KeyStanding::Active;
        let own = view.keys().filter(|key| key.signer == signer);
        let active = own.filter(is_active).count();
        assert!(active <= 1, "one signer has two keys that sign");
        let signs = view.signing_key(signer, now);
        assert_eq!(active == 0, signs.is_none(), "the key that signs was revoked");
    }
}

proptest! {
    #[test]
    fn no_history_breaks_a_rule(steps in steps()) {
        let mut desk = Desk::default();
        let mut witness = Witness::default();
        let mut clock = 1_000_000_i64;
        for (step, jump, repeat) in steps {
            clock += jump;
            let now = at(clock.unsigned_abs());
            let before = desk.registry.clone();
            let command = desk.command(action(&step, &before));
            match desk.registry.apply(&command, now) {
                Ok(event) => {
                    witness.see(&before, &Entry { origin: command.origin.clone(), event: event.clone() });
                    if let Step::Enrol(code, _) = &step {
                        witness.spend(code);
                    }
                    if repeat {
                        let once = desk.registry.hash();
                        prop_assert_eq!(desk.registry.apply(&command, now), Ok(event));
                        prop_assert_eq!(desk.registry.hash(), once);
                    }
                }
                Err(_) => prop_assert_eq!(&desk.registry, &before, "a refusal changed something"),
            }
            holds(&desk.registry, &witness, now.max(desk.registry.view().latest()));
        }

        let mut follower = View::default();
        let mut voter = Registry::default();
        for entry in &witness.entries {
            follower.apply(&entry.event).unwrap();
            voter.commit(entry).unwrap();
        }
        prop_assert_eq!(&follower, desk.registry.view(), "a view is its events");
        prop_assert_eq!(voter.hash(), desk.registry.hash(), "a registry is its entries");

        let text = serde_json::to_string(&desk.registry).unwrap();
        let read: Registry = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read.hash(), desk.registry.hash(), "a snapshot is the registry");
    }
}
