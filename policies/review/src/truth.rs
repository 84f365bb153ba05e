//! Whether conditions can hold together, for any call that the checks of a tool let through.
//!
//! A tableau over intervals, lists, beginnings and ends: conditions are taken apart until every branch either
//! contradicts itself on one subject or stands. Not here: what follows from that (`lint`, `diff`).
//! Invariant: "impossible" is proved; whatever is not proved within the effort granted counts as possible.

mod interval;
mod texts;
mod values;

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BTreeMap;

use aegis_domain::Detector;
use serde_json::Number;

use aegis_policy_language::{
    Condition, ContextFact, Literal, Match, MoneyBound, MoneyFact, Name, Order, Param, ParamKind,
    PathPattern, PolicySet, Presence, Subject, Test, Text, Tool,
};
use interval::{Exact, Interval};
use texts::{Pattern, TextBounds, TextTest};
use values::{Question, Values};

/// How much may be tried in all before everything counts as possible; counted, so that it is the same on any machine.
#[derive(Debug)]
pub(crate) struct Effort {
    total: Cell<usize>,
    question: Cell<usize>,
}

impl Effort {
    const TOTAL: usize = 5_000_000;
    const QUESTION: usize = 50_000;

    pub(crate) fn new() -> Self {
        Self { total: Cell::new(Self::TOTAL), question: Cell::new(0) }
    }

    /// Grants what one question may cost.
    fn begin(&self) {
        self.question.set(self.total.get().min(Self::QUESTION));
    }

    fn spend(&self, steps: usize) {
        self.question.set(self.question.get().saturating_sub(steps));
        self.total.set(self.total.get().saturating_sub(steps));
    }

    fn is_spent(&self) -> bool {
        self.question.get() == 0
    }
}

/// A condition and whether it is to hold; its set says what is in its lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'c> {
    pub(crate) set: &'c PolicySet,
    pub(crate) condition: &'c Condition,
    pub(crate) holds: bool,
}

/// What conditions are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key<'c> {
    Param(&'c Name),
    Agent(&'c Name),
    Request(&'static str),
    Calendar(&'c Name),
    Dlp(Detector),
    Money(MoneyFact),
    /// What is left of the budget against what the call costs: -1, 0 or 1.
    Balance,
}

/// The calls that the checks of one tool let through.
#[derive(Debug)]
pub(crate) struct Calls<'s> {
    tool: &'s Tool,
    effort: &'s Effort,
    texts: BTreeMap<Key<'s>, TextBounds<'s>>,
    open: TextBounds<'s>,
}

impl<'s> Calls<'s> {
    pub(crate) fn of(set: &'s PolicySet, tool: &'s Tool, effort: &'s Effort) -> Self {
        let params = tool.params.iter().filter(|(_, param)| param.kind == ParamKind::String);
        let mut texts: BTreeMap<Key<'s>, TextBounds<'s>> =
            params.map(|(name, param)| (Key::Param(name), declared(set, param))).collect();
        let Match { methods, paths, mcp, .. } = &tool.matching;
        if mcp.is_none() {
            let methods = methods.iter().map(|method| method.as_str()).collect();
            texts.insert(Key::Request("method"), one_of(methods));
            texts.insert(Key::Request("path"), self::paths(paths));
        }
        if let Some(regions) = &tool.allow.regions {
            let regions = regions.iter().map(|region| region.as_str()).collect();
            texts.insert(Key::Request("region"), one_of(regions));
        }
        Self { tool, effort, texts, open: TextBounds::default() }
    }

    /// Whether some value of the parameter passes its checks.
    pub(crate) fn has_value(&self, name: &Name) -> bool {
        self.effort.begin();
        let present = self.values(Key::Param(name)).or_missing(false);
        !present.is_empty(self.effort) || self.effort.is_spent()
    }

    /// False only when no call makes all the claims come true.
    pub(crate) fn allow(&self, claims: &[Claim<'_>]) -> bool {
        self.search(claims, None)
    }

    /// As `allow`, among the calls that lack a parameter.
    pub(crate) fn allow_without(&self, absent: &Name, claims: &[Claim<'_>]) -> bool {
        self.search(claims, Some(absent))
    }

    fn search(&self, claims: &[Claim<'_>], absent: Option<&Name>) -> bool {
        self.effort.begin();
        let goals = claims.iter().map(|claim| Goal::Claim(*claim)).collect();
        let known = absent.map(|name| (Key::Param(name), Values::MISSING)).into_iter().collect();
        let mut open = vec![Branch { goals, choices: Vec::new(), known }];
        while let Some(branch) = open.pop() {
            if self.effort.is_spent() || self.walk(branch, &mut open) == Walk::Stands {
                return true;
            }
        }
        false
    }

    /// Takes a branch apart until it closes, stands, or must be split.
    fn walk<'b>(&'b self, mut branch: Branch<'b>, open: &mut Vec<Branch<'b>>) -> Walk {
        while let Some(goal) = branch.goals.pop() {
            self.effort.spend(1);
            if self.step(goal, &mut branch) == Walk::Closed {
                return Walk::Closed;
            }
        }
        let Some(choice) = branch.choices.pop() else { return Walk::Stands };
        for goal in choice.into_iter().rev() {
            self.effort.spend(branch.known.len().saturating_add(branch.choices.len()));
            if self.effort.is_spent() {
                return Walk::Stands;
            }
            open.push(Branch { goals: vec![goal], ..branch.clone() });
        }
        Walk::Closed
    }

    fn step<'b>(&'b self, goal: Goal<'b>, branch: &mut Branch<'b>) -> Walk {
        let Claim { set, condition, holds } = match goal {
            Goal::Found(detector) => {
                return self.narrow(branch, Key::Dlp(detector), (FOUND, true));
            }
            Goal::Claim(claim) => claim,
        };
        let inside = |condition, holds| Goal::Claim(Claim { set, condition, holds });
        match condition {
            Condition::Always => return if holds { Walk::Stands } else { Walk::Closed },
            Condition::Not(inner) => branch.goals.push(inside(inner, !holds)),
            Condition::All(parts) | Condition::Any(parts) => {
                let all = matches!(condition, Condition::All(_));
                let parts = parts.iter().map(|part| inside(part, holds));
                branch.take(parts.collect(), all == holds);
            }
            Condition::Dlp(detectors) if holds => {
                branch.take(detectors.iter().map(|found| Goal::Found(*found)).collect(), false);
            }
            Condition::Dlp(detectors) => {
                for detector in detectors {
                    if self.narrow(branch, Key::Dlp(*detector), (FOUND, false)) == Walk::Closed {
                        return Walk::Closed;
                    }
                }
            }
            Condition::Calendar { name, .. } => {
                return self.narrow(branch, Key::Calendar(name), (Question::Bool(true), holds));
            }
            Condition::Money { fact, order, bound } => {
                let (key, question) = money(*fact, *order, bound);
                return self.narrow(branch, key, (question, holds));
            }
            Condition::Leaf { subject, test, .. } => {
                let (question, answer) = question(set, test, holds);
                let Some(question) = question else { return Walk::Stands };
                return self.narrow(branch, key_of(subject), (question, answer));
            }
        }
        Walk::Stands
    }

    fn narrow<'b>(
        &'b self,
        branch: &mut Branch<'b>,
        key: Key<'b>,
        (question, answer): (Question<'b>, bool),
    ) -> Walk {
        let values = branch.known.entry(key).or_insert_with(|| self.values(key));
        values.keep(question, answer);
        if values.is_empty(self.effort) && !self.effort.is_spent() {
            Walk::Closed
        } else {
            Walk::Stands
        }
    }

    /// What a subject may be before any condition.
    fn values<'b>(&'b self, key: Key<'b>) -> Values<'b> {
        match key {
            Key::Param(name) => match self.tool.params.get(name) {
                Some(param) => self.param(key, param),
                None => Values::any(&self.open),
            },
            Key::Agent(_) => Values::any(&self.open),
            Key::Request(_) => Values::texts(self.texts.get(&key).unwrap_or(&self.open)),
            Key::Calendar(_) => Values::booleans().or_missing(true),
            Key::Dlp(_) | Key::Money(_) => {
                let mut amounts = Interval::all(true);
                amounts.keep(Order::Gte, Exact::Integer(0));
                Values::numbers(amounts).or_missing(true)
            }
            Key::Balance => {
                let mut signs = Interval::all(true);
                signs.keep(Order::Gte, Exact::Integer(-1));
                signs.keep(Order::Lte, Exact::Integer(1));
                Values::numbers(signs).or_missing(true)
            }
        }
    }

    fn param<'b>(&'b self, key: Key<'b>, param: &Param) -> Values<'b> {
        let values = match param.kind {
            ParamKind::Integer | ParamKind::Number => {
                let mut numbers = Interval::all(param.kind == ParamKind::Integer);
                let ends = [(Order::Gte, &param.min), (Order::Lte, &param.max)];
                for (order, end) in ends {
                    let end = end.as_ref().and_then(Exact::of);
                    end.into_iter().for_each(|end| numbers.keep(order, end));
                }
                Values::numbers(numbers)
            }
            ParamKind::String => Values::texts(self.texts.get(&key).unwrap_or(&self.open)),
            ParamKind::Boolean => Values::booleans(),
            ParamKind::Array | ParamKind::Object => Values::others(),
        };
        values.or_missing(param.required == Presence::Optional)
    }
}

/// A detector found something: it counted more than nothing.
const FOUND: Question<'static> = Question::Order(Order::Gt, Exact::Integer(0));

/// Something that must be so on a branch.
#[derive(Clone, Copy, Debug)]
enum Goal<'c> {
    Claim(Claim<'c>),
    Found(Detector),
}

/// One way in which the claims could come true.
#[derive(Clone, Debug)]
struct Branch<'c> {
    goals: Vec<Goal<'c>>,
    /// Of each, one goal must come true.
    choices: Vec<Vec<Goal<'c>>>,
    known: BTreeMap<Key<'c>, Values<'c>>,
}

impl<'c> Branch<'c> {
    /// Takes on all of the goals, or one of them.
    fn take(&mut self, mut goals: Vec<Goal<'c>>, all: bool) {
        if all || goals.len() == 1 {
            self.goals.append(&mut goals);
        } else {
            self.choices.push(goals);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Stands,
    Closed,
}

fn key_of(subject: &Subject) -> Key<'_> {
    match subject {
        Subject::Param(name) => Key::Param(name),
        Subject::Agent(name) => Key::Agent(name),
        Subject::Request(part) => Key::Request(part),
        Subject::Fact(detector) => Key::Dlp(*detector),
        Subject::Context(ContextFact::Money(fact)) => Key::Money(*fact),
        Subject::Context(ContextFact::Calendar(name)) => Key::Calendar(name),
    }
}

/// How two declared bounds stand to each other; `None` when one is missing.
pub(crate) fn bounds_order(a: &Option<Number>, b: &Option<Number>) -> Option<Ordering> {
    let exact = |bound: &Option<Number>| bound.as_ref().and_then(Exact::of);
    Some(exact(a)?.compare(exact(b)?))
}

/// What the condition is about.
pub(crate) fn keys(condition: &Condition) -> Vec<Key<'_>> {
    let mut keys = Vec::new();
    condition.walk(&mut |part| match part {
        Condition::Always | Condition::All(_) | Condition::Any(_) | Condition::Not(_) => {}
        Condition::Dlp(detectors) => keys.extend(detectors.iter().map(|found| Key::Dlp(*found))),
        Condition::Calendar { name, .. } => keys.push(Key::Calendar(name)),
        Condition::Money { fact, order, bound } => keys.push(money(*fact, *order, bound).0),
        Condition::Leaf { subject, .. } => keys.push(key_of(subject)),
    });
    keys.sort();
    keys.dedup();
    keys
}

/// The test as a question and the answer it wants; no question for a number that cannot be compared exactly.
fn question<'c>(set: &'c PolicySet, test: &'c Test, holds: bool) -> (Option<Question<'c>>, bool) {
    let literal = |literal: &'c Literal| match literal {
        Literal::Bool(value) => Some(Question::Bool(*value)),
        Literal::Number(value) => Exact::of(value).map(Question::Number),
        Literal::Text(text) => Some(Question::Text(TextTest::Equals(text.as_str()))),
    };
    let text = |test| Some(Question::Text(test));
    match test {
        Test::Compare(order, bound) => (Question::order(*order, bound), holds),
        Test::Equals(value) => (literal(value), holds),
        Test::Differs(value) => (literal(value), !holds),
        Test::In(list) => (text(TextTest::OneOf(set.members(list))), holds),
        Test::Prefix(part) => (text(TextTest::Prefix(part.as_str())), holds),
        Test::Suffix(part) => (text(TextTest::Suffix(part.as_str())), holds),
        Test::Contains(part) => (text(TextTest::Contains(part.as_str())), holds),
    }
}

fn money<'c>(fact: MoneyFact, order: Order, bound: &MoneyBound) -> (Key<'c>, Question<'c>) {
    let compare = |order, bound| Question::Order(order, Exact::Integer(bound));
    match bound {
        MoneyBound::MicroUsd(bound) => (Key::Money(fact), compare(order, i128::from(*bound))),
        // An amount against itself: never more or less, never different.
        MoneyBound::Fact(other) if *other == fact => {
            let bound = if matches!(order, Order::Gt | Order::Lt) { -1 } else { 0 };
            let order = if bound < 0 { Order::Lt } else { Order::Gte };
            (Key::Money(fact), compare(order, bound))
        }
        MoneyBound::Fact(_) => {
            let order = match (fact, order) {
                (MoneyFact::BudgetRemaining, order) => order,
                (MoneyFact::EstimatedCost, Order::Gt) => Order::Lt,
                (MoneyFact::EstimatedCost, Order::Gte) => Order::Lte,
                (MoneyFact::EstimatedCost, Order::Lt) => Order::Gt,
                (MoneyFact::EstimatedCost, Order::Lte) => Order::Gte,
            };
            (Key::Balance, compare(order, 0))
        }
    }
}

fn one_of(texts: Vec<&str>) -> TextBounds<'_> {
    TextBounds { one_of: Some(texts), ..TextBounds::default() }
}

fn declared<'s>(set: &'s PolicySet, param: &'s Param) -> TextBounds<'s> {
    let members = param.one_of.as_ref().map(|list| set.members(list));
    TextBounds {
        one_of: members.map(|members| members.iter().map(Text::as_str).collect()),
        length_max: param.max_length.and_then(|max| usize::try_from(max).ok()),
        pattern: param.pattern.as_deref().and_then(Pattern::of),
        prefixes: Vec::new(),
    }
}

/// The whole paths, if each is fixed, or else what they begin with, if no braces stand in them.
fn paths(paths: &[PathPattern]) -> TextBounds<'_> {
    let literals: Vec<&str> = paths.iter().filter_map(PathPattern::literal).collect();
    if literals.len() < paths.len() {
        TextBounds::default()
    } else if paths.iter().any(PathPattern::is_open) {
        let prefixes = literals.iter().map(|literal| literal.as_bytes().to_vec()).collect();
        TextBounds { prefixes, ..TextBounds::default() }
    } else {
        one_of(literals)
    }
}
