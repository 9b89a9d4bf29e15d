//! The exact characters in which a name is written, and writing others there.

use std::ops::Range;

use serde_json::Value;

use crate::object::pointer;

/// Some characters of a string value or of a map key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The string, or the value under the key, as an RFC 6901 pointer.
    pub pointer: String,
    /// The string holds JSON: the pointer of the string within that.
    pub inside: Option<String>,
    /// The characters are those of the last key of `pointer`.
    pub in_key: bool,
    start: usize,
    end: usize,
}

impl Spot {
    /// Characters of a string value.
    pub(super) fn value(pointer: String, inside: Option<String>, bytes: Range<usize>) -> Self {
        Self {
            pointer,
            inside,
            in_key: false,
            start: bytes.start,
            end: bytes.end,
        }
    }

    /// Characters of a key.
    pub(super) fn key(pointer: String, bytes: Range<usize>) -> Self {
        Self {
            pointer,
            inside: None,
            in_key: true,
            start: bytes.start,
            end: bytes.end,
        }
    }

    /// A part of this spot, in bytes from its start.
    pub(super) fn part(&self, bytes: Range<usize>) -> Self {
        Self {
            start: self.start + bytes.start,
            end: self.start + bytes.end,
            ..self.clone()
        }
    }

    /// What is written there now. `None` when the object has nothing there.
    pub fn read(&self, object: &Value) -> Option<String> {
        let text = if self.in_key {
            object.pointer(&self.pointer)?;
            pointer::split(&self.pointer)?.1.into_owned()
        } else {
            let text = object.pointer(&self.pointer)?.as_str()?;
            match &self.inside {
                None => text.to_owned(),
                Some(inside) => {
                    let json: Value = serde_json::from_str(text).ok()?;
                    json.pointer(inside)?.as_str()?.to_owned()
                }
            }
        };
        text.get(self.start..self.end).map(str::to_owned)
    }

    /// Replaces these characters in the string or key they belong to.
    fn splice(&self, text: &str, new: &str) -> Option<String> {
        let (before, after) = (text.get(..self.start)?, text.get(self.end..)?);
        Some(format!("{before}{new}{after}"))
    }

    fn write(&self, object: &mut Value, new: &str) -> Option<()> {
        if self.in_key {
            let (parent, key) = pointer::split(&self.pointer)?;
            let map = object.pointer_mut(parent)?.as_object_mut()?;
            let renamed = self.splice(&key, new)?;
            let value = map.remove(key.as_ref())?;
            map.insert(renamed, value);
            return Some(());
        }
        let slot = object.pointer_mut(&self.pointer)?;
        let text = slot.as_str()?;
        let changed = match &self.inside {
            None => self.splice(text, new)?,
            Some(inside) => {
                let mut json: Value = serde_json::from_str(text).ok()?;
                let inner = json.pointer_mut(inside)?;
                *inner = Value::String(self.splice(inner.as_str()?, new)?);
                json.to_string()
            }
        };
        *slot = Value::String(changed);
        Some(())
    }
}

/// Writes new texts at spots found in this very object; several may be parts of one string.
///
/// Returns how many were written: all, unless the object changed since the spots were found. The
/// same spot given twice is written once.
pub fn rewrite(object: &mut Value, edits: &[(Spot, String)]) -> usize {
    let mut edits: Vec<_> = edits.iter().collect();
    // Values before keys, as a new key ends the old pointer; back to front, as texts change length.
    edits.sort_by(|(a, _), (b, _)| a.in_key.cmp(&b.in_key).then_with(|| b.cmp(a)));
    edits.dedup_by(|(a, _), (b, _)| a == b);
    edits
        .into_iter()
        .filter(|(spot, new)| spot.write(object, new).is_some())
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_of_one_string_are_written_back_to_front() {
        let mut object = json!({"a": "ns/name,ns/other"});
        let spot = |bytes| Spot::value("/a".into(), None, bytes);
        let edits = [
            (spot(0..2), "longer".to_owned()),
            (spot(8..10), "x".to_owned()),
            (spot(0..2), "longer".to_owned()),
        ];
        assert_eq!(edits[1].0.read(&object).unwrap(), "ns");
        assert_eq!(rewrite(&mut object, &edits), 2);
        assert_eq!(object, json!({"a": "longer/name,x/other"}));
    }

    #[test]
    fn a_name_in_json_in_a_string_is_written_there() {
        let mut object = json!({"a": "[{\"name\":\"x\",\"keep\":1}]"});
        let spot = Spot::value("/a".into(), Some("/0/name".into()), 0..1);
        assert_eq!(rewrite(&mut object, &[(spot, "y".into())]), 1);
        let text = object["a"].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(text).unwrap(),
            json!([{"name": "y", "keep": 1}])
        );
    }

    #[test]
    fn a_key_is_renamed_and_keeps_its_value() {
        let mut object = json!({"hard": {"gold.storageclass.storage.k8s.io/x": "5"}});
        let spot = Spot::key("/hard/gold.storageclass.storage.k8s.io~1x".into(), 0..4);
        assert_eq!(rewrite(&mut object, &[(spot, "silver".into())]), 1);
        assert_eq!(object["hard"]["silver.storageclass.storage.k8s.io/x"], "5");
    }
}
