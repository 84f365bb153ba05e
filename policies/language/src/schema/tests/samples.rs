//! Documents made from the schema: each key and each choice once, and each way to break the keys once.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// A key that nothing knows, nor anything like it; its value is what the schema knows in its place.
pub(super) const UNKNOWN: &str = "zzz";

/// How deep conditions are written out in each other.
const NESTED_MAX: usize = 2;

/// Documents that the schema allows; every branch of every shape occurs in one of them.
pub(super) fn valid(root: &Value, shape: &Value) -> Vec<Value> {
    Sampler { root, nested: 0 }.valid(shape)
}

/// Documents with one key too many or one too few, at every object of the schema.
pub(super) fn broken(root: &Value, shape: &Value) -> Vec<Value> {
    Sampler { root, nested: 0 }.broken(shape)
}

#[derive(Clone, Copy)]
struct Sampler<'s> {
    root: &'s Value,
    nested: usize,
}

impl<'s> Sampler<'s> {
    /// What a reference stands for; `None` where conditions stand too deep in each other.
    fn follow(self, target: &str) -> Option<(Self, &'s Value)> {
        let nested = self.nested + usize::from(target.ends_with("/condition"));
        let shape = self.root.pointer(target.strip_prefix('#').unwrap()).unwrap();
        (nested <= NESTED_MAX).then_some((Self { nested, ..self }, shape))
    }

    fn valid(self, shape: &'s Value) -> Vec<Value> {
        let keyword = |name: &str| shape.get(name);
        if let Some(target) = keyword("$ref").and_then(Value::as_str) {
            return self
                .follow(target)
                .map_or(vec![json!("always")], |(inside, shape)| inside.valid(shape));
        }
        if let Some(value) = keyword("const") {
            return vec![value.clone()];
        }
        if let Some(values) = keyword("enum").or(keyword("examples")).and_then(Value::as_array) {
            return values.clone();
        }
        if let Some(shapes) = keyword("oneOf").and_then(Value::as_array) {
            return shapes.iter().flat_map(|shape| self.valid(shape)).collect();
        }
        match keyword("type").and_then(Value::as_str).unwrap_or_default() {
            "object" => self.objects(shape),
            "array" => {
                let empty = keyword("minItems").is_none().then(|| json!([]));
                empty
                    .into_iter()
                    .chain(self.valid(&shape["items"]).into_iter().map(|item| json!([item])))
                    .collect()
            }
            "boolean" => vec![json!(true), json!(false)],
            "integer" => vec![shape["maximum"].clone(), shape["minimum"].clone()],
            other => panic!("nothing to show for {other:?}: {shape}"),
        }
    }

    /// The required keys alone, then with each key in each of its forms.
    fn objects(self, shape: &'s Value) -> Vec<Value> {
        if let Some(patterns) = shape.get("patternProperties").and_then(Value::as_object) {
            let name = shape["propertyNames"]["examples"][0].as_str().unwrap();
            let values = patterns.values().flat_map(|values| self.valid(values));
            return values.map(|value| json!({ name: value })).collect();
        }
        let base = self.base(shape);
        let least = shape.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        let alone = (base.len() as u64 >= least).then(|| base.clone());
        let forms = properties(shape).flat_map(|(name, inner)| {
            let base = base.clone();
            self.valid(inner).into_iter().map(move |value| {
                let mut map = base.clone();
                map.insert(name.clone(), value);
                map
            })
        });
        let valid = alone.into_iter().chain(forms).filter(|map| map.len() as u64 >= least);
        valid.map(Value::Object).collect()
    }

    fn base(self, shape: &'s Value) -> Map<String, Value> {
        let needed = shape["required"].as_array().unwrap();
        let first = |name: &Value| {
            let name = name.as_str().unwrap();
            (name.to_owned(), self.valid(&shape["properties"][name])[0].clone())
        };
        needed.iter().map(first).collect()
    }

    fn broken(self, shape: &'s Value) -> Vec<Value> {
        if let Some(target) = shape.get("$ref").and_then(Value::as_str) {
            return self.follow(target).map_or(Vec::new(), |(inside, shape)| inside.broken(shape));
        }
        if let Some(shapes) = shape.get("oneOf").and_then(Value::as_array) {
            let all: BTreeSet<&String> = shapes.iter().flat_map(names).collect();
            let broken = shapes.iter().flat_map(|shape| self.broken(shape));
            return broken
                .map(|mut sample| {
                    if let Some(known) = sample.get_mut(UNKNOWN) {
                        *known = json!(all);
                    }
                    sample
                })
                .collect();
        }
        if let Some(items) = shape.get("items") {
            return self.broken(items).into_iter().map(|item| json!([item])).collect();
        }
        if let Some(patterns) = shape.get("patternProperties").and_then(Value::as_object) {
            let name = shape["propertyNames"]["examples"][0].as_str().unwrap();
            let values = patterns.values().flat_map(|values| self.broken(values));
            let misnamed =
                json!({ "not a name!": self.valid(patterns.values().next().unwrap())[0] });
            return values.map(|value| json!({ name: value })).chain([misnamed]).collect();
        }
        if shape.get("properties").is_none() {
            return Vec::new();
        }
        self.broken_keys(shape)
    }

    fn broken_keys(self, shape: &'s Value) -> Vec<Value> {
        let good = self.objects(shape)[0].as_object().unwrap().clone();
        let with = |name: &str, value: Value| {
            let mut map = good.clone();
            map.insert(name.to_owned(), value);
            Value::Object(map)
        };
        let mut broken = vec![with(UNKNOWN, json!(names(shape).collect::<BTreeSet<_>>()))];
        for name in shape["required"].as_array().unwrap() {
            let mut map = good.clone();
            map.remove(name.as_str().unwrap());
            broken.push(Value::Object(map));
        }
        for (name, inner) in properties(shape) {
            broken.extend(self.broken(inner).into_iter().map(|value| with(name, value)));
        }
        broken
    }
}

/// The keys that the object names.
fn names(shape: &Value) -> impl Iterator<Item = &String> {
    shape.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

fn properties(shape: &Value) -> impl Iterator<Item = (&String, &Value)> {
    shape["properties"].as_object().unwrap().iter()
}
