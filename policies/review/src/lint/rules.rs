//! Rules and exceptions that can never fire, always do, change nothing, or let through what they seem to stop.
//!
//! Not here: the reasoning (`truth`). A rule that an exception may lift proves nothing about others. Invariant: a finding about a rule holds for every call that the checks of its
//! tool let through and whose facts the host supplied.

use std::collections::BTreeSet;

use aegis_domain::{Effect, RuleId};

use super::finding::{Code, Findings};
use crate::truth::{Calls, Claim, Key, keys};
use aegis_policy_language::{
    Condition, Exception, Mode, Name, PolicySet, Presence, Rule, RuleEffect, Subject, Test, Tool,
};

/// The rules of one tool under examination.
pub(super) struct Examination<'s> {
    pub(super) set: &'s PolicySet,
    pub(super) tool: &'s Tool,
    pub(super) calls: Calls<'s>,
    pub(super) found: &'s mut Findings,
}

impl<'s> Examination<'s> {
    pub(super) fn run(&mut self) {
        if !self.params_have_values() {
            return;
        }
        self.tool.exceptions.iter().for_each(|exception| self.can_hold(exception));
        let live: Vec<&Rule> = self.tool.rules.iter().filter(|rule| self.can_fire(rule)).collect();
        let (enforced, shadow): (Vec<&Rule>, Vec<&Rule>) =
            live.into_iter().partition(|rule| rule.mode == Mode::Enforce);
        let lifted: BTreeSet<&RuleId> =
            self.set.exceptions_of(self.tool).flat_map(|exception| &exception.rules).collect();
        let firm: Vec<&Rule> =
            enforced.iter().copied().filter(|rule| !lifted.contains(&rule.id)).collect();
        let is_deny = |rule: &&Rule| rule.level() == Effect::Deny;
        let firm_denies: Vec<&Rule> = firm.iter().copied().filter(is_deny).collect();
        if self.leave_no_call(&firm_denies) {
            return;
        }
        self.without_effect(&enforced, &firm);
        shadow.iter().for_each(|rule| self.redundant(rule, &firm));
        enforced.iter().filter(|rule| is_deny(rule)).for_each(|rule| {
            self.vanishing(rule, &firm_denies);
        });
        enforced.iter().for_each(|rule| self.unbound(rule));
    }

    fn claim<'c>(&self, rule: &'c Rule, holds: bool) -> Claim<'c>
    where
        's: 'c,
    {
        Claim { set: self.set, condition: &rule.when, holds }
    }

    /// Whether any call can pass the checks of all parameters.
    fn params_have_values(&mut self) -> bool {
        let mut passable = true;
        for (name, param) in &self.tool.params {
            if self.calls.has_value(name) {
                continue;
            }
            passable &= param.required == Presence::Optional;
            let message = format!("no value of `{name}` passes its checks");
            let help = "its bounds contradict each other; widen one of them";
            self.found.add(Code::ImpossibleParam, &param.at, message, help);
        }
        passable
    }

    fn can_fire(&mut self, rule: &Rule) -> bool {
        if self.calls.allow(&[self.claim(rule, true)]) {
            return true;
        }
        let message = format!("the rule `{}` can never fire", rule.id);
        let help = "its condition contradicts itself or the checks of the tool";
        self.found.add(Code::UnreachableRule, &rule.at, message, help);
        false
    }

    fn can_hold(&mut self, exception: &Exception) {
        let claim = Claim { set: self.set, condition: &exception.when, holds: true };
        if !self.calls.allow(&[claim]) {
            let message = format!("the exception `{}` is for no call at all", exception.id);
            let help = "its condition contradicts itself or the checks of the tool";
            self.found.add(Code::UnreachableException, &exception.at, message, help);
        }
    }

    fn leave_no_call(&mut self, denies: &[&Rule]) -> bool {
        for rule in denies {
            if !self.calls.allow(&[self.claim(rule, false)]) {
                let message = format!("the rule `{}` denies every call of the tool", rule.id);
                let help = "narrow its condition, or remove the tool";
                self.found.add(Code::AlwaysDenies, &rule.at, message, help);
                return true;
            }
        }
        let claims: Vec<Claim<'_>> = denies.iter().map(|rule| self.claim(rule, false)).collect();
        let none = !claims.is_empty() && !self.calls.allow(&claims);
        if none {
            let message = "the deny rules of this tool leave no call to allow".to_owned();
            let help = "every call fires one of them; narrow one, or remove the tool";
            self.found.add(Code::NeverAllowed, &self.tool.at, message, help);
        }
        none
    }

    /// Goes from the last rule to the first, so that of two equal rules the later one is named.
    fn without_effect(&mut self, enforced: &[&Rule], firm: &[&Rule]) {
        let mut kept: Vec<&Rule> = firm.to_vec();
        for rule in enforced.iter().rev() {
            let stands_in = |other: &&&Rule| {
                other.id != rule.id
                    && (other.level() == Effect::Deny && rule.level() != Effect::Deny
                        || has_outcome_of(other, rule))
            };
            let others: Vec<&Rule> = kept.iter().filter(stands_in).copied().collect();
            let Some(stronger) = self.implied_by(rule, &others) else { continue };
            kept.retain(|other| other.id != rule.id);
            let stronger: Vec<String> =
                stronger.iter().map(|rule| format!("`{}`", rule.id)).collect();
            let message = format!(
                "the rule `{}` changes nothing: whenever it fires, {} {} too",
                rule.id,
                stronger.join(" or "),
                if stronger.len() == 1 { "does" } else { "fires" },
            );
            let help = "remove it, or give it a condition that the other does not cover";
            self.found.add(Code::IneffectiveRule, &rule.at, message, help);
        }
    }

    /// The rules of which one fires whenever `rule` does: a single one, if that is enough.
    fn implied_by<'r>(&self, rule: &Rule, others: &[&'r Rule]) -> Option<Vec<&'r Rule>> {
        let own: BTreeSet<Key<'_>> = keys(&rule.when).into_iter().collect();
        let related = |other: &&&Rule| {
            let keys = keys(&other.when);
            keys.is_empty() || keys.iter().any(|key| own.contains(key))
        };
        let others: Vec<&Rule> = others.iter().filter(related).copied().collect();
        let fires = self.claim(rule, true);
        let single =
            others.iter().find(|other| !self.calls.allow(&[fires, self.claim(other, false)]));
        if let Some(other) = single {
            return Some(vec![other]);
        }
        let mut claims = vec![fires];
        claims.extend(others.iter().map(|other| self.claim(other, false)));
        (others.len() > 1 && !self.calls.allow(&claims)).then_some(others)
    }

    fn redundant(&mut self, rule: &Rule, enforced: &[&Rule]) {
        let same =
            |other: &&&Rule| other.level() == rule.level() && outcome(other) == outcome(rule);
        let others: Vec<&Rule> = enforced.iter().filter(same).copied().collect();
        let Some(others) = self.implied_by(rule, &others) else { return };
        let names: Vec<String> = others.iter().map(|other| format!("`{}`", other.id)).collect();
        let message = format!(
            "the shadow rule `{}` shows nothing that {} does not enforce already",
            rule.id,
            names.join(" or "),
        );
        let help = "remove it, or shadow a condition that differs";
        self.found.add(Code::RedundantShadow, &rule.at, message, help);
    }

    /// A leaf on a missing value is false (clause 5), so a call escapes a limit by saying nothing. Only limits count:
    /// a test for a bad value misses nothing in a value that is not there.
    fn vanishing(&mut self, rule: &Rule, denies: &[&Rule]) {
        let mut limited: BTreeSet<&Name> = BTreeSet::new();
        rule.when.walk(&mut |part| {
            if let Condition::Leaf {
                subject: Subject::Param(name), test: Test::Compare(..), ..
            } = part
            {
                limited.insert(name);
            }
        });
        let optional = |name: &&Name| {
            self.tool.params.get(*name).is_some_and(|param| param.required == Presence::Optional)
        };
        for name in limited.into_iter().filter(optional) {
            let fires = self.calls.allow_without(name, &[self.claim(rule, true)]);
            let others: Vec<Claim<'_>> =
                denies.iter().map(|other| self.claim(other, false)).collect();
            if fires || !self.calls.allow_without(name, &others) {
                continue;
            }
            let message = format!("a call that leaves out `{name}` escapes the rule `{}`", rule.id);
            let help =
                "make the parameter required, or deny what stays within the limit under a `not`";
            self.found.add(Code::VanishingDeny, &rule.at, message, help);
        }
    }

    /// An approval without `bind` is for the whole call.
    fn unbound(&mut self, rule: &Rule) {
        let RuleEffect::ApprovalNeeded { approval: name } = &rule.effect else { return };
        let Some(approval) = self.set.approvals.get(name) else { return };
        if approval.bind.is_empty() {
            return;
        }
        for key in keys(&rule.when) {
            let Key::Param(param) = key else { continue };
            if !approval.bind.contains(param) {
                let message = format!(
                    "the rule `{}` tests `{param}`, which its approval `{name}` does not bind",
                    rule.id
                );
                let help = "add the parameter to `bind`, so that the approver sees and grants it";
                self.found.add(Code::UnboundApproval, &rule.at, message, help);
            }
        }
    }
}

/// Whether what `other` asks for makes the same request of `rule` superfluous. Approvals are granted for the rules
/// that fired when a person was asked: only if both look at nothing but the call, the same ones fire again.
fn has_outcome_of(other: &Rule, rule: &Rule) -> bool {
    let of_the_call = |rule: &Rule| keys(&rule.when).iter().all(|key| matches!(key, Key::Param(_)));
    let lasting = rule.level() != Effect::ApprovalNeeded || of_the_call(rule) && of_the_call(other);
    let silent = rule.reason().is_none() || rule.reason() == other.reason();
    other.level() == rule.level() && outcome(other) == outcome(rule) && lasting && silent
}

/// The approval or obligation a rule names.
fn outcome(rule: &Rule) -> Option<&Name> {
    match &rule.effect {
        RuleEffect::Deny { .. } => None,
        RuleEffect::ApprovalNeeded { approval } => Some(approval),
        RuleEffect::Sanitize { obligation } => Some(obligation),
    }
}
