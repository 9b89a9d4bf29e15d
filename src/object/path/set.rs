//! Many patterns walked together: what they have in common is walked once.
//!
//! Of the hundred rows about a Deployment nearly all begin with its pod template, and most lead
//! nowhere. As a tree of steps they cost one walk over what the object has, not a hundred.

use serde_json::Value;

use super::{DEPTH, PathPattern, Step, push, push_index, reads_as};

/// Patterns by the order they were given in.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    root: Node,
    /// Patterns that can reach one place in two ways, which only they themselves sort out.
    apart: Vec<(usize, PathPattern)>,
}

/// Where some patterns stand after the same steps.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Patterns that end here.
    ends: Vec<usize>,
    /// Sorted by key.
    keys: Vec<(String, Node)>,
    any_key: Option<Box<Node>>,
    elements: Option<Box<Node>>,
    wanted: Vec<((String, String), Node)>,
    /// What goes on at any depth.
    any_depth: Option<Box<Node>>,
}

impl PathSet {
    /// Joins patterns.
    pub fn new<'p>(patterns: impl IntoIterator<Item = &'p PathPattern>) -> Self {
        let mut set = Self::default();
        for (number, pattern) in patterns.into_iter().enumerate() {
            if pattern.is_ambiguous() {
                set.apart.push((number, pattern.clone()));
            } else {
                set.root.insert(&pattern.steps, number);
            }
        }
        set
    }

    /// Calls `visit` with every pattern's number, and the pointer and value of every place it
    /// describes; the places of each pattern in document order, the patterns in no order.
    pub fn visit<'v>(&self, value: &'v Value, visit: &mut dyn FnMut(usize, &str, &'v Value)) {
        self.root.walk(value, &mut String::new(), visit);
        for (number, pattern) in &self.apart {
            pattern.visit(value, &mut |pointer, value| visit(*number, pointer, value));
        }
    }
}

impl Node {
    fn insert(&mut self, steps: &[Step], number: usize) {
        let Some((step, rest)) = steps.split_first() else {
            return self.ends.push(number);
        };
        match step {
            Step::Key(key) => self.key(key).insert(rest, number),
            Step::Either(keys) => {
                for key in keys {
                    self.key(key).insert(rest, number);
                }
            }
            Step::AnyKey => self.any_key.get_or_insert_default().insert(rest, number),
            Step::Elements => self.elements.get_or_insert_default().insert(rest, number),
            Step::Where(key, value) => {
                let wanted = (key.clone(), value.clone());
                below(&mut self.wanted, wanted).insert(rest, number);
            }
            Step::AnyDepth => self.any_depth.get_or_insert_default().insert(rest, number),
        }
    }

    fn key(&mut self, key: &str) -> &mut Self {
        below(&mut self.keys, key.to_owned())
    }

    fn walk<'v>(
        &self,
        value: &'v Value,
        pointer: &mut String,
        visit: &mut dyn FnMut(usize, &str, &'v Value),
    ) {
        for number in &self.ends {
            visit(*number, pointer, value);
        }
        if let Some(node) = &self.any_depth {
            node.walk_all(value, DEPTH, pointer, visit);
        }
        match value {
            Value::Object(map) => {
                // Whichever there is less of is gone through, and looked up in the other.
                if self.keys.len() <= map.len() {
                    for (key, node) in &self.keys {
                        if let Some(child) = map.get(key) {
                            node.enter(|pointer| push(pointer, key), child, pointer, visit);
                        }
                    }
                } else {
                    for (key, child) in map {
                        if let Ok(at) = self.keys.binary_search_by(|(other, _)| other.cmp(key)) {
                            let node = &self.keys[at].1;
                            node.enter(|pointer| push(pointer, key), child, pointer, visit);
                        }
                    }
                }
                if let Some(node) = &self.any_key {
                    for (key, child) in map {
                        node.enter(|pointer| push(pointer, key), child, pointer, visit);
                    }
                }
            }
            Value::Array(items) if self.elements.is_some() || !self.wanted.is_empty() => {
                for (index, child) in items.iter().enumerate() {
                    if let Some(node) = &self.elements {
                        node.enter(|pointer| push_index(pointer, index), child, pointer, visit);
                    }
                    for ((key, wanted), node) in &self.wanted {
                        if child.get(key).is_some_and(|found| reads_as(found, wanted)) {
                            node.enter(|pointer| push_index(pointer, index), child, pointer, visit);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    /// Walks from a value and from everything below it.
    fn walk_all<'v>(
        &self,
        value: &'v Value,
        depth: usize,
        pointer: &mut String,
        visit: &mut dyn FnMut(usize, &str, &'v Value),
    ) {
        self.walk(value, pointer, visit);
        if depth == 0 {
            return;
        }
        // In a text or a number nothing is found but itself.
        let dull = |child: &Value| self.ends.is_empty() && !child.is_object() && !child.is_array();
        let length = pointer.len();
        match value {
            Value::Object(map) => {
                for (key, child) in map.iter().filter(|(_, child)| !dull(child)) {
                    push(pointer, key);
                    if pointer != "/status" {
                        self.walk_all(child, depth - 1, pointer, visit);
                    }
                    pointer.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, child) in items.iter().enumerate().filter(|(_, child)| !dull(child)) {
                    push_index(pointer, index);
                    self.walk_all(child, depth - 1, pointer, visit);
                    pointer.truncate(length);
                }
            }
            _ => {}
        }
    }

    fn enter<'v>(
        &self,
        push: impl FnOnce(&mut String),
        child: &'v Value,
        pointer: &mut String,
        visit: &mut dyn FnMut(usize, &str, &'v Value),
    ) {
        let length = pointer.len();
        push(pointer);
        self.walk(child, pointer, visit);
        pointer.truncate(length);
    }
}

/// The node under a key of a sorted list, made if it is not there.
fn below<K: Ord>(list: &mut Vec<(K, Node)>, key: K) -> &mut Node {
    let at = list.binary_search_by(|(other, _)| other.cmp(&key));
    let at = at.unwrap_or_else(|at| {
        list.insert(at, (key, Node::default()));
        at
    });
    &mut list[at].1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn alone(patterns: &[PathPattern], value: &Value) -> Vec<(usize, String)> {
        let all = patterns.iter().enumerate();
        let mut found: Vec<_> = all
            .flat_map(|(number, pattern)| {
                let places = pattern.find(value).into_iter();
                places.map(move |place| (number, place))
            })
            .collect();
        found.sort();
        found
    }

    fn together(patterns: &[PathPattern], value: &Value) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        PathSet::new(patterns).visit(value, &mut |number, pointer, value_there| {
            assert_eq!(value.pointer(pointer), Some(value_there));
            found.push((number, pointer.to_owned()));
        });
        found.sort();
        found
    }

    fn patterns() -> impl Strategy<Value = Vec<PathPattern>> {
        let step = prop::sample::select(vec![
            "/a", "/b", "/c", "/{a,c}", "/{b,c}", "/*", "[]", "[a=x]", "[b=1]", "/**",
        ]);
        let text = prop::collection::vec(step, 0..5).prop_map(|steps| steps.concat());
        let pattern = text.prop_filter_map("no path", |text| PathPattern::parse(&text).ok());
        prop::collection::vec(pattern, 0..8)
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop::sample::select(vec![json!("x"), json!(1), json!(null)]);
        leaf.prop_recursive(4, 40, 4, |inner| {
            let key = prop::sample::select(vec!["a", "b", "c", "d/e"]);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| {
                    map.into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn patterns_find_together_what_each_finds_alone(patterns in patterns(), value in values()) {
            prop_assert_eq!(together(&patterns, &value), alone(&patterns, &value));
        }
    }
}
