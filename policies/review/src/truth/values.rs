//! What one subject of a condition may be: a number, a text, a boolean, something else, or nothing at all.
//!
//! Not here: how conditions are taken apart (`truth`). Invariant: `keep` takes away only values that answer the
//! question otherwise, by the meaning the compiled leaf has: every leaf but `neq` is false on what is missing or
//! of another type.

use serde_json::Number;

use super::Effort;
use super::interval::{Exact, Interval};
use super::texts::{TextBounds, TextTest, Texts};
use aegis_policy_language::Order;

/// One question about a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'c> {
    Order(Order, Exact),
    Number(Exact),
    Bool(bool),
    Text(TextTest<'c>),
}

impl Question<'_> {
    pub(super) fn order(order: Order, bound: &Number) -> Option<Self> {
        Exact::of(bound).map(|bound| Question::Order(order, bound))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Values<'c> {
    missing: bool,
    /// Null, lists and objects, which no question is true of.
    other: bool,
    falsehood: bool,
    truth: bool,
    numbers: Option<Interval>,
    texts: Option<Texts<'c>>,
}

impl<'c> Values<'c> {
    pub(super) const MISSING: Self = Self {
        missing: true,
        other: false,
        falsehood: false,
        truth: false,
        numbers: None,
        texts: None,
    };
    const NONE: Self = Self { missing: false, ..Self::MISSING };

    /// Whatever JSON can hold.
    pub(super) fn any(bounds: &'c TextBounds<'c>) -> Self {
        Self {
            missing: true,
            other: true,
            falsehood: true,
            truth: true,
            numbers: Some(Interval::all(false)),
            texts: Some(Texts::within(bounds)),
        }
    }

    pub(super) fn booleans() -> Self {
        Self { falsehood: true, truth: true, ..Self::NONE }
    }

    pub(super) fn numbers(numbers: Interval) -> Self {
        Self { numbers: Some(numbers), ..Self::NONE }
    }

    pub(super) fn texts(bounds: &'c TextBounds<'c>) -> Self {
        Self { texts: Some(Texts::within(bounds)), ..Self::NONE }
    }

    pub(super) fn others() -> Self {
        Self { other: true, ..Self::NONE }
    }

    pub(super) fn or_missing(self, may_miss: bool) -> Self {
        Self { missing: may_miss, ..self }
    }

    pub(super) fn is_empty(&self, effort: &Effort) -> bool {
        let plain = self.missing || self.other || self.falsehood || self.truth;
        !plain
            && self.numbers.as_ref().is_none_or(Interval::is_empty)
            && self.texts.as_ref().is_none_or(|texts| texts.is_empty(effort))
    }

    /// Keeps the values of which the answer is `answer`.
    pub(super) fn keep(&mut self, question: Question<'c>, answer: bool) {
        if answer {
            self.keep_true(question);
        } else {
            self.keep_false(question);
        }
    }

    fn keep_true(&mut self, question: Question<'c>) {
        let before = std::mem::replace(self, Self::NONE);
        match question {
            Question::Order(order, bound) => {
                self.numbers = before.numbers;
                self.numbers.iter_mut().for_each(|numbers| numbers.keep(order, bound));
            }
            Question::Number(value) => {
                self.numbers = before.numbers;
                self.numbers.iter_mut().for_each(|numbers| numbers.keep_only(value));
            }
            Question::Bool(true) => self.truth = before.truth,
            Question::Bool(false) => self.falsehood = before.falsehood,
            Question::Text(test) => {
                self.texts = before.texts;
                self.texts.iter_mut().for_each(|texts| texts.keep(test, true));
            }
        }
    }

    fn keep_false(&mut self, question: Question<'c>) {
        match question {
            Question::Order(order, bound) => {
                let opposite = match order {
                    Order::Gt => Order::Lte,
                    Order::Gte => Order::Lt,
                    Order::Lt => Order::Gte,
                    Order::Lte => Order::Gt,
                };
                self.numbers.iter_mut().for_each(|numbers| numbers.keep(opposite, bound));
            }
            Question::Number(value) => {
                self.numbers.iter_mut().for_each(|numbers| numbers.drop_point(value));
            }
            Question::Bool(true) => self.truth = false,
            Question::Bool(false) => self.falsehood = false,
            Question::Text(test) => {
                self.texts.iter_mut().for_each(|texts| texts.keep(test, false));
            }
        }
    }
}
