//! References in custom resources that no rule describes, guessed by shape (E-G1 to E-G6).
//!
//! Operators' authors copy the shapes of the core API: `secretName`, `fooSecretRef: {name}`, a map with
//! `kind` and `name`. Each guess says how sure it is; those below one half never order anything.

use serde_json::{Map, Value};
use smol_str::SmolStr;

use super::{Reference, Scopes, Spot};
use crate::graph::Strength;
use crate::object::{GroupKind, Object, ObjectId, pointer};

/// How deep an object is searched.
const DEPTH: usize = 32;

/// A string key that names an object of one kind (E-G6), in lower case.
const NAMED_KINDS: &[(&str, &str, &str)] = &[
    ("serviceaccountname", "", "ServiceAccount"),
    ("storageclass", "storage.k8s.io", "StorageClass"),
    ("storageclassname", "storage.k8s.io", "StorageClass"),
    (
        "volumesnapshotclassname",
        "snapshot.storage.k8s.io",
        "VolumeSnapshotClass",
    ),
    ("priorityclassname", "scheduling.k8s.io", "PriorityClass"),
    ("runtimeclassname", "node.k8s.io", "RuntimeClass"),
    ("ingressclassname", "networking.k8s.io", "IngressClass"),
    (
        "gatewayclassname",
        "gateway.networking.k8s.io",
        "GatewayClass",
    ),
    ("claimname", "", "PersistentVolumeClaim"),
    ("servicename", "", "Service"),
];

/// One guess: the kind meant, where its name stands, and how sure it is.
struct Guess<'v> {
    rule: &'static str,
    kind: GroupKind,
    name: &'v str,
    /// Pointer of the name.
    at: String,
    /// The map beside or in which a `namespace` may stand, and its pointer.
    around: (&'v Map<String, Value>, &'v str),
    if_known: bool,
    confidence: u8,
}

/// Adds what the shape of an object suggests, where no rule has found a reference already.
pub(super) fn guess(object: &Object, scopes: &Scopes<'_>, found: &mut Vec<Reference>) {
    let mut walk = Walk {
        object,
        scopes,
        found,
    };
    let Some(top) = object.value().as_object() else {
        return;
    };
    for (key, value) in top {
        if !matches!(key.as_str(), "apiVersion" | "kind" | "metadata" | "status") {
            walk.entry((top, ""), key, value, DEPTH);
        }
    }
}

struct Walk<'a> {
    object: &'a Object,
    scopes: &'a Scopes<'a>,
    found: &'a mut Vec<Reference>,
}

impl Walk<'_> {
    /// Looks at one key of a map and below it.
    fn entry(&mut self, map: (&Map<String, Value>, &str), key: &str, value: &Value, depth: usize) {
        if depth == 0 {
            return;
        }
        let at = pointer::join(map.1, key);
        match value {
            Value::String(text) => {
                let named = named_by_key(key);
                if let Some((rule, kind, if_known, confidence)) = named {
                    self.add(Guess {
                        rule,
                        kind,
                        name: text,
                        at,
                        around: map,
                        if_known,
                        confidence,
                    });
                }
            }
            Value::Object(child) => {
                self.reference_map(key, child, &at);
                for (inner, value) in child {
                    self.entry((child, &at), inner, value, depth - 1);
                }
            }
            Value::Array(items) => self.list(map, key, items, &at, depth),
            _ => {}
        }
    }

    fn list(
        &mut self,
        map: (&Map<String, Value>, &str),
        key: &str,
        items: &[Value],
        at: &str,
        depth: usize,
    ) {
        // A list is named in the plural; its elements are read as if under the singular.
        let singular = key.strip_suffix('s').unwrap_or(key);
        for (index, item) in items.iter().enumerate() {
            let at = format!("{at}/{index}");
            match item {
                Value::String(text) => {
                    let kind = match key {
                        "secrets" => "Secret",
                        "configMaps" => "ConfigMap",
                        _ => continue,
                    };
                    self.add(Guess {
                        rule: if kind == "Secret" { "E-G2" } else { "E-G3" },
                        kind: GroupKind::new("", kind),
                        name: text,
                        at,
                        around: map,
                        if_known: true,
                        confidence: 80,
                    });
                }
                Value::Object(child) => {
                    self.reference_map(singular, child, &at);
                    for (inner, value) in child {
                        self.entry((child, &at), inner, value, depth - 1);
                    }
                }
                _ => {}
            }
        }
    }

    /// A map that holds a `name` and may be a reference (E-G1, E-G3, E-G4, E-G5).
    fn reference_map(&mut self, key: &str, map: &Map<String, Value>, at: &str) {
        let Some(name) = map.get("name").and_then(Value::as_str) else {
            return;
        };
        let Some((rule, kind, if_known, confidence)) = self.named_by_map(key, map) else {
            return;
        };
        self.add(Guess {
            rule,
            kind,
            name,
            at: pointer::join(at, "name"),
            around: (map, at),
            if_known,
            confidence,
        });
    }

    fn named_by_map(
        &self,
        key: &str,
        map: &Map<String, Value>,
    ) -> Option<(&'static str, GroupKind, bool, u8)> {
        let lower = key.to_lowercase();
        let text = |key: &str| map.get(key).and_then(Value::as_str);
        if let Some(kind) = text("kind") {
            let refers = ["ref", "reference", "selector", "from", "source", "target"]
                .iter()
                .any(|ending| lower.ends_with(ending));
            let group = text("apiGroup")
                .or(text("group"))
                .map(SmolStr::new)
                .or_else(|| text("apiVersion").map(|version| super::group_of(version).into()));
            let group = group.or_else(|| self.group_of(kind)).unwrap_or_default();
            return refers.then(|| ("E-G4", GroupKind::new(group, kind), false, 90));
        }
        let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
        if ends(&["secretkeyref", "secretref", "secretkeyselector"]) {
            return Some(("E-G1", GroupKind::new("", "Secret"), false, 90));
        }
        if ends(&["configmapref", "configmapkeyref"]) {
            return Some(("E-G3", GroupKind::new("", "ConfigMap"), false, 90));
        }
        if lower == "imagepullsecret" {
            return Some(("E-G6", GroupKind::new("", "Secret"), false, 85));
        }
        let secret = ["secret", "password", "credential", "token", "cert"];
        if text("key").is_some() && secret.iter().any(|word| lower.contains(word)) {
            return Some(("E-G1", GroupKind::new("", "Secret"), false, 80));
        }
        if lower.ends_with("secret") {
            return Some(("E-G2", GroupKind::new("", "Secret"), true, 80));
        }
        let singular = lower.strip_suffix("ref")?;
        Some(("E-G5", self.kind_called(singular)?, true, 70))
    }

    /// The custom kind whose name in lower case is this, preferably of the object's own group.
    fn kind_called(&self, singular: &str) -> Option<GroupKind> {
        let named = || {
            self.scopes
                .custom
                .keys()
                .filter(|kind| kind.kind.to_lowercase() == singular)
        };
        let mut own = named().filter(|kind| kind.group == self.object.group());
        match (own.next(), named().count()) {
            (Some(kind), _) => Some(kind.clone()),
            (None, 1) => named().next().cloned(),
            _ => None,
        }
    }

    /// The group of a kind that is written without one.
    fn group_of(&self, kind: &str) -> Option<SmolStr> {
        self.kind_called(&kind.to_lowercase())
            .map(|kind| kind.group)
    }

    fn add(&mut self, guess: Guess<'_>) {
        let name = Spot::value(guess.at.clone(), None, 0..guess.name.len());
        let known = self
            .found
            .iter()
            .any(|reference| reference.name.as_ref() == Some(&name));
        if known || guess.name.is_empty() || guess.name.contains(['$', '{', '*']) {
            return;
        }
        let (around, at) = guess.around;
        let written = around
            .get("namespace")
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty());
        let cluster_wide = self.scopes.is_cluster_wide(&guess.kind);
        let namespace = if cluster_wide {
            None
        } else {
            written.or(self.object.namespace())
        };
        if namespace.is_none() && !cluster_wide && !self.scopes.custom.contains_key(&guess.kind) {
            return;
        }
        let spot = |text: &str| Spot::value(pointer::join(at, "namespace"), None, 0..text.len());
        self.found.push(Reference {
            rule: guess.rule.into(),
            pointer: guess.at,
            name: Some(name),
            namespace: written.filter(|_| !cluster_wide).map(spot),
            target: ObjectId::new(guess.kind.group, guess.kind.kind, namespace, guess.name),
            strength: Strength::R,
            optional: false,
            if_known: guess.if_known,
            backing: false,
            granted: false,
            confidence: guess.confidence,
        });
    }
}

/// The kind a string under a key names (E-G2, E-G3, E-G6).
fn named_by_key(key: &str) -> Option<(&'static str, GroupKind, bool, u8)> {
    let lower = key.to_lowercase();
    if lower.ends_with("secretname") {
        return Some(("E-G2", GroupKind::new("", "Secret"), true, 80));
    }
    if matches!(
        lower.as_str(),
        "existingsecret" | "authsecret" | "configsecret"
    ) {
        return Some(("E-G2", GroupKind::new("", "Secret"), true, 80));
    }
    if lower.ends_with("configmapname") {
        return Some(("E-G3", GroupKind::new("", "ConfigMap"), false, 85));
    }
    NAMED_KINDS
        .iter()
        .find(|(name, _, _)| *name == lower)
        .map(|(_, group, kind)| ("E-G6", GroupKind::new(*group, *kind), false, 85))
}
