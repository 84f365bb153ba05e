//! Input documents that try to make two engines differ: good ones, with hostile values where they hurt.
//!
//! Not here: who compares (`policies/agreement`, the activation gate). Pure: the randomness is the caller's seed.
//! Invariant: equal seeds and documents give the same sequence on every machine, so a finding can be replayed.

use serde_json::{Value, json};

/// A sequence of documents without end.
#[derive(Clone, Debug)]
pub struct Hostile {
    good: Vec<Value>,
    values: Vec<Value>,
    state: u64,
}

/// Where mutations go; parameters three times as often as anything else.
const SECTIONS: [&str; 9] = [
    "/params",
    "/params",
    "/params",
    "/agent",
    "/request",
    "/facts",
    "/facts/dlp",
    "/context",
    "/context/calendar",
];

/// Keys that may be set although the document does not have them.
const KEYS: [&str; 10] = [
    "memo",
    "recursive",
    "max_tokens",
    "temperature",
    "fields",
    "extra",
    "tier",
    "purpose",
    "break_glass",
    "zz",
];

impl Hostile {
    /// Starts from documents that are in order, best of all the examples of a policy: they reach its rules.
    pub fn new(good: Vec<Value>, seed: u64) -> Self {
        Self { good, values: values(), state: seed }
    }

    /// Puts none to three mutations on one of the documents.
    fn mutated(&mut self) -> Option<Value> {
        let mut document = self.pick_good()?;
        for _ in 0..[0, 0, 1, 1, 1, 2, 3].get(self.below(7)).copied()? {
            self.mutate(&mut document);
        }
        Some(document)
    }

    fn mutate(&mut self, document: &mut Value) {
        let Some(pointer) = SECTIONS.get(self.below(SECTIONS.len())) else { return };
        let kind = self.below(100);
        if kind < 4 {
            let name = if self.below(2) == 0 { "tool" } else { "tenant" };
            let value = self.pick_value();
            document.as_object_mut().and_then(|root| root.insert(name.to_owned(), value));
        } else if kind < 12 {
            remove(document, pointer);
        } else if kind < 22 {
            let value = self.pick_value();
            document.pointer_mut(pointer).into_iter().for_each(|place| *place = value.clone());
        } else if kind < 42 {
            self.take_over(document, pointer);
        } else {
            self.change_key(document, pointer, kind);
        }
    }

    /// Takes over a section of another good document, whole, so that one call's values meet another's rules.
    fn take_over(&mut self, document: &mut Value, pointer: &str) {
        let other = self.pick_good();
        let found = other.as_ref().and_then(|other| other.pointer(pointer));
        if let (Some(found), Some(place)) = (found, document.pointer_mut(pointer)) {
            *place = found.clone();
        }
    }

    fn change_key(&mut self, document: &mut Value, pointer: &str, kind: usize) {
        let Some(section) = document.pointer_mut(pointer).and_then(Value::as_object_mut) else {
            return;
        };
        let known: Vec<String> = section.keys().cloned().collect();
        let at = self.below(known.len().saturating_add(KEYS.len()));
        let key = match known.get(at) {
            Some(key) => key.clone(),
            None => KEYS
                .get(at.saturating_sub(known.len()))
                .map(ToString::to_string)
                .unwrap_or_default(),
        };
        if kind < 60 {
            section.remove(&key);
        } else {
            section.insert(key, self.pick_value());
        }
    }

    fn pick_good(&mut self) -> Option<Value> {
        let at = self.below(self.good.len());
        self.good.get(at).cloned()
    }

    fn pick_value(&mut self) -> Value {
        let at = self.below(self.values.len());
        self.values.get(at).cloned().unwrap_or_default()
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        let drawn = self.draw().checked_rem(bound).unwrap_or(0);
        usize::try_from(drawn).unwrap_or(0)
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// Ends only where there is no document to start from.
impl Iterator for Hostile {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.mutated()
    }
}

fn remove(document: &mut Value, pointer: &str) {
    let Some((parent, key)) = pointer.rsplit_once('/') else { return };
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut);
    parent.into_iter().for_each(|parent| {
        parent.remove(key);
    });
}

/// Wrong types, other scripts, numbers at the edges, and what breaks out of a quote.
fn values() -> Vec<Value> {
    let texts = [
        "",
        "x",
        "5",
        "acct_XXaaaaaaaa",
        "acct_1A2b3C4d5E",
        "../..",
        "/projects/prod/x",
        "/projects/../x/",
        "USD",
        "EUR",
        "gold",
        "treatment",
        "é",
        "ſ",
        "١٢٣٤٥٦",
        "a\nb",
        "123456\n",
        "\u{2028}",
        "\u{0}",
        "<undefined>",
        "\"] == true",
        "decision",
    ];
    let mut values: Vec<Value> = texts.into_iter().map(Value::from).collect();
    values.extend([
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(1.5),
        json!(0.1),
        json!(1e3),
        json!(4_097),
        json!(20_001),
        json!(50_000),
        json!(100_001),
        json!(500_001),
        json!(9_007_199_254_740_993_u64),
        json!(u64::MAX),
        json!(i64::MIN),
        json!([]),
        json!([1]),
        json!([[]]),
        json!(["a", null, "a"]),
        json!(["v1", "files", "p", "q"]),
        json!(["finance", "eng", "clinical"]),
        json!(["payments:write"]),
        json!({}),
        json!({ "a": 1 }),
        json!({ "0": "v1", "1": "x" }),
        json!({ "high-value": true, "off-hours": true, "break-glass": 1 }),
    ]);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Value {
        json!({ "tool": "t", "params": { "a": 1 }, "facts": { "dlp": { "ssn": 0 } } })
    }

    fn drawn(seed: u64) -> Vec<Value> {
        Hostile::new(vec![good()], seed).take(200).collect()
    }

    #[test]
    fn a_seed_gives_one_sequence() {
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn some_documents_stay_good_and_most_do_not() {
        let untouched = drawn(1).into_iter().filter(|document| *document == good()).count();
        assert!((50..150).contains(&untouched), "{untouched}");
    }

    #[test]
    fn nothing_to_start_from_gives_nothing() {
        assert_eq!(Hostile::new(Vec::new(), 1).next(), None);
    }
}
