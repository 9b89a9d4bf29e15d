//! What a step sends.
//!
//! Most of it is the object as the recipes left it, which the plan shares with them; Ferry's marks and
//! holds are a few fields more. They are put in when somebody looks: a plan of 100,000 objects would
//! else hold every one of them a second time, for a restore that looks at one after the other.

use std::ops::Deref;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use smol_str::SmolStr;

use super::stamp;
use crate::object::Object;

/// An object as it is sent: dereferences to it, and is written as it.
#[derive(Clone, Debug)]
pub struct Body {
    of: Object,
    marks: Vec<Mark>,
    /// The object with its marks, from when it is first looked at.
    whole: OnceLock<Box<Object>>,
}

/// What a plan adds to an object.
#[derive(Clone, Debug)]
enum Mark {
    Annotation(&'static str, SmolStr),
    /// An RFC 7386 merge patch.
    Merge(Value),
}

impl Body {
    /// Sets an annotation.
    pub(super) fn annotate(&mut self, key: &'static str, value: &str) {
        self.mark(Mark::Annotation(key, value.into()));
    }

    /// Applies a merge patch.
    pub(super) fn merge(&mut self, patch: Value) {
        self.mark(Mark::Merge(patch));
    }

    fn mark(&mut self, mark: Mark) {
        self.whole.take();
        // Most have one.
        self.marks.reserve_exact(1);
        self.marks.push(mark);
    }

    fn marked(&self) -> Object {
        let mut object = self.of.clone();
        for mark in &self.marks {
            match mark {
                Mark::Annotation(key, value) => stamp::annotate(&mut object, key, value),
                Mark::Merge(patch) => json_patch::merge(object.value_mut(), patch),
            }
        }
        object
    }
}

impl Deref for Body {
    type Target = Object;

    fn deref(&self) -> &Object {
        if self.marks.is_empty() {
            return &self.of;
        }
        self.whole.get_or_init(|| Box::new(self.marked()))
    }
}

impl From<Object> for Body {
    fn from(of: Object) -> Self {
        let (marks, whole) = (Vec::new(), OnceLock::new());
        Self { of, marks, whole }
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Writes the whole object and does not keep it: a plan is saved from end to end.
impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.whole.get() {
            Some(whole) => whole.serialize(serializer),
            None => self.marked().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_body_is_its_object_with_its_marks_and_written_as_that() {
        let object = Object::new(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3},
        }))
        .unwrap();
        let mut body = Body::from(object.clone());
        assert!(body.shares(&object));
        assert_eq!(body.annotation("ferry.dev/source"), None);
        body.annotate("ferry.dev/source", "a/shop");
        body.merge(json!({"spec": {"replicas": 0}}));
        let written = serde_json::to_value(&body).unwrap();
        assert_eq!(body.annotation("ferry.dev/source"), Some("a/shop"));
        assert_eq!(&written, body.value());
        assert_eq!(body.pointer("/spec/replicas"), Some(&json!(0)));
        assert_eq!(object.pointer("/spec/replicas"), Some(&json!(3)));
        assert_eq!(serde_json::from_value::<Body>(written).unwrap(), body);
    }
}
