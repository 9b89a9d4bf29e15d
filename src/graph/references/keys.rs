//! Keys of ConfigMaps and Secrets that references ask for (E-PT3, E-PT4): the object is not enough when
//! it lacks the key.

use serde_json::Value;

use super::References;
use crate::graph::Strength;
use crate::knowledge::edges::EdgeRow;
use crate::object::{Object, ObjectId};

/// One key that an object asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Rule id, as in `E-PT3`.
    pub rule: String,
    /// Where the key stands, as an RFC 6901 pointer.
    pub pointer: String,
    /// The ConfigMap or Secret.
    pub target: ObjectId,
    /// The key.
    pub key: String,
    /// How strongly the target is needed, and the key with it.
    pub strength: Strength,
}

impl References<'_> {
    /// Every key that one object asks of ConfigMaps and Secrets, in the table's order.
    pub fn keys(&self, object: &Object) -> Vec<KeyUse> {
        let mut found = Vec::new();
        let reading = self.compiled(&object.group_kind());
        let asking = reading.rows.iter().filter(|one| !one.row.keys.is_empty());
        for compiled in asking {
            compiled.path.visit(object.value(), &mut |pointer, node| {
                self.keys_at(compiled.row, object, pointer, node, &mut found);
            });
        }
        found
    }

    fn keys_at(
        &self,
        row: &EdgeRow,
        object: &Object,
        pointer: &str,
        node: &Value,
        found: &mut Vec<KeyUse>,
    ) {
        let mut references = Vec::new();
        self.at(row, object, pointer, node, &mut references);
        for reference in references {
            for path in &row.keys {
                path.visit_from(node, pointer, &mut |at, value| {
                    if let Some(key) = value.as_str().filter(|key| !key.is_empty()) {
                        found.push(KeyUse {
                            rule: reference.rule.to_string(),
                            pointer: at.to_owned(),
                            target: reference.target.clone(),
                            key: key.to_owned(),
                            strength: reference.strength,
                        });
                    }
                });
            }
        }
    }
}
