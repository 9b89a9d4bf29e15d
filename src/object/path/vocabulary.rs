//! Which patterns can find nothing in a value, told by the keys it holds.
//!
//! A pattern with `**` walks all of a value. Tables have dozens of them, and most name a key that most
//! objects do not have: one walk that gathers the keys spares all others.

use foldhash::{HashMap, HashMapExt};
use serde_json::Value;

use super::{PathPattern, Step};

/// The keys that some patterns name, numbered.
#[derive(Clone, Debug, Default)]
pub struct Vocabulary {
    numbers: HashMap<String, u32>,
}

/// Some of a vocabulary's keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys(u128);

/// The keys a value must hold for a pattern to find anything in it: one of each set.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Vec<Keys>);

impl Vocabulary {
    /// Numbers the keys of patterns that walk all of a value; others give up early by themselves. What
    /// is beyond 128 has no number, and no pattern asks for it.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p PathPattern>) -> Self {
        let mut numbers = HashMap::new();
        let deep = |pattern: &&PathPattern| pattern.steps.contains(&Step::AnyDepth);
        let deep = patterns.into_iter().filter(deep);
        for step in deep.flat_map(|pattern| &pattern.steps) {
            for key in step.keys() {
                let next = numbers.len() as u32;
                if next < u128::BITS && !numbers.contains_key(key) {
                    numbers.insert(key.clone(), next);
                }
            }
        }
        Self { numbers }
    }

    /// The keys a value holds, at any depth.
    pub fn of(&self, value: &Value) -> Keys {
        let mut keys = Keys::default();
        self.gather(value, &mut keys);
        keys
    }

    fn gather(&self, value: &Value, keys: &mut Keys) {
        match value {
            Value::Object(map) => {
                for (key, child) in map {
                    if let Some(number) = self.numbers.get(key) {
                        keys.0 |= 1 << number;
                    }
                    self.gather(child, keys);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.gather(item, keys)),
            _ => {}
        }
    }

    /// What a pattern asks for.
    pub fn wanted(&self, pattern: &PathPattern) -> Wanted {
        let one_of = |step: &Step| {
            let numbers = step.keys().iter().map(|key| self.numbers.get(key));
            let bits = numbers.map(|number| number.map(|number| 1 << number));
            let all = bits.collect::<Option<Vec<u128>>>()?;
            let one = all.into_iter().reduce(|one, other| one | other)?;
            Some(Keys(one))
        };
        Wanted(pattern.steps.iter().filter_map(one_of).collect())
    }
}

impl Wanted {
    /// Whether a value with these keys may hold what the pattern describes.
    pub fn within(&self, keys: Keys) -> bool {
        self.0.iter().all(|one| one.0 & keys.0 != 0)
    }
}

impl Step {
    /// The keys of which the step needs one.
    fn keys(&self) -> &[String] {
        match self {
            Self::Key(key) | Self::Where(key, _) => std::slice::from_ref(key),
            Self::Either(keys) => keys,
            Self::AnyKey | Self::Elements | Self::AnyDepth => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_pattern_is_ruled_out_by_a_key_that_is_nowhere() {
        let all = [
            "/spec/**/image",
            "/**/{host,hosts}[]",
            "/spec/**",
            "/**/a[name=x]",
        ]
        .map(pattern);
        let vocabulary = Vocabulary::new(&all);
        let keys = vocabulary.of(&json!({"spec": {"list": [{"image": "x"}]}, "hosts": 1}));
        let within: Vec<bool> = all
            .iter()
            .map(|pattern| vocabulary.wanted(pattern).within(keys))
            .collect();
        assert_eq!(within, [true, true, true, false]);
    }

    #[test]
    fn a_key_without_a_number_rules_nothing_out() {
        let many: Vec<PathPattern> = (0..200)
            .map(|key| pattern(&format!("/**/k{key}")))
            .collect();
        let vocabulary = Vocabulary::new(&many);
        let keys = vocabulary.of(&json!({"k1": 1}));
        let within = |at: usize| vocabulary.wanted(&many[at]).within(keys);
        assert!(within(1) && !within(0) && within(199));
    }
}
