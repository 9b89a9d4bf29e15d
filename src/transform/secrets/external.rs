//! T-10: values that B reads from a store of its own, such as Vault.
//!
//! Ferry reads no store: it would need rights there that reach further than any migration, and the plan,
//! which is a value that can be made twice, would hold what it found. Instead a key names its place in a
//! store of B. The Secret travels without the key, and an ExternalSecret of the same name lets B's
//! External Secrets operator write it there.

use serde_json::{Value, json};

use crate::object::Object;
use crate::transform::fault::Faults;
use crate::transform::grammar;
use crate::transform::parse::{Fields, in_words, text};
use crate::transform::work::{Part, Work};
use crate::yaml::located::Located;

/// The key that says so.
pub(super) const KEY: &str = "externalSecret";

/// What a store may be; the first is meant when nothing is said.
pub(in crate::transform) const STORES: [&str; 2] = ["ClusterSecretStore", "SecretStore"];

const API_VERSION: &str = "external-secrets.io/v1";

/// A place in a store of secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The store's name.
    pub store: String,
    /// Its kind, one of `ClusterSecretStore` and `SecretStore`.
    pub kind: String,
    /// The secret in it.
    pub key: String,
    /// One value of that secret.
    pub property: Option<String>,
}

/// Reads `{externalSecret: {…}}`.
pub(super) fn parse(node: &Located, faults: &mut Faults) -> Option<External> {
    let outer = Fields::read(node, &node.span, &grammar::ELSEWHERE, faults)?;
    let node = outer.required(KEY, faults)?;
    let fields = Fields::read(node, outer.span(), &grammar::EXTERNAL, faults)?;
    let mut read = |key| fields.get(key).and_then(|node| text(node, faults));
    let (store, key) = (read("store"), read("key"));
    let (property, kind) = (read("property"), read("kind"));
    if let (Some(kind), Some(node)) = (&kind, fields.get("kind"))
        && !STORES.contains(&kind.as_str())
    {
        faults
            .add(
                format!("unknown store `{kind}`"),
                &node.span,
                "not a kind of store",
            )
            .help(format!("the kinds are {}", in_words(&STORES)));
    }
    Some(External {
        store: store?,
        kind: kind.unwrap_or_else(|| STORES[0].to_owned()),
        key: key?,
        property,
    })
}

/// Adds what fills these keys of a Secret on B.
pub(super) fn add(work: &mut Work<'_>, index: usize, keys: &[(&str, &External)], part: Part) {
    let Some((_, first)) = keys.first() else {
        return;
    };
    let store = |one: &External| json!({"kind": one.kind, "name": one.store});
    let data = keys.iter().map(|(key, external)| {
        let mut place = json!({"key": external.key});
        if let Some(property) = &external.property {
            place["property"] = property.as_str().into();
        }
        let mut row = json!({"secretKey": key, "remoteRef": place});
        if store(external) != store(first) {
            row["sourceRef"] = json!({"storeRef": store(external)});
        }
        row
    });
    let secret = &work.objects()[index];
    let made = Object::new(json!({
        "apiVersion": API_VERSION, "kind": "ExternalSecret",
        "metadata": {"name": secret.name(), "namespace": secret.namespace()},
        "spec": {
            "secretStoreRef": store(first),
            // The Secret travels too, with its other keys and its labels.
            "target": {"name": secret.name(), "creationPolicy": "Merge"},
            "data": data.collect::<Vec<Value>>(),
        },
    }));
    if let Ok(made) = made {
        work.add(made, "T-10", part);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::knowledge::Knowledge;
    use crate::object::Object;
    use crate::transform::{Recipe, apply};

    const HEAD: &str =
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\ntransforms:\n";

    #[test]
    fn t_10_a_key_that_b_reads_from_its_store_does_not_travel() {
        let secret = Object::new(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "db", "namespace": "n"}, "data": {"password": "YQ==", "user": "Yg=="},
            "stringData": {"token": "of A"}}))
        .unwrap();
        let text = format!(
            "{HEAD}- namespace: {{map: {{n: m}}}}
- secrets:
    select: {{kind: Secret}}
    scrub: redact
    set:
      password: {{externalSecret: {{store: vault-b, key: apps/db, property: password}}}}
      token: {{externalSecret: {{store: local, kind: SecretStore, key: token}}}}
"
        );
        let recipe = Recipe::parse("t.yaml", &text).unwrap();
        let recipes = std::slice::from_ref(&recipe);
        let done = apply(&[secret], recipes, Knowledge::builtin()).unwrap();
        assert_eq!(
            done.objects[0].pointer("/data"),
            Some(&json!({"user": "UkVEQUNURUQ="}))
        );
        assert_eq!(done.objects[0].pointer("/stringData/token"), None);
        assert_eq!(
            done.objects[1].value(),
            &json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "db", "namespace": "m"},
            "spec": {
                "secretStoreRef": {"kind": "ClusterSecretStore", "name": "vault-b"},
                "target": {"name": "db", "creationPolicy": "Merge"},
                "data": [
                    {"secretKey": "password", "remoteRef": {"key": "apps/db", "property": "password"}},
                    {"secretKey": "token", "remoteRef": {"key": "token"},
                     "sourceRef": {"storeRef": {"kind": "SecretStore", "name": "local"}}},
                ]}})
        );
    }

    #[test]
    fn a_place_in_a_store_is_named_in_full() {
        let text = format!(
            "{HEAD}- secrets: {{set: {{p: {{externalSecret: {{store: v, kind: Vault}}}}}}}}\n"
        );
        let error = Recipe::parse("t.yaml", &text).unwrap_err();
        let faults: Vec<String> = error.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            ["externalSecret lacks `key`", "unknown store `Vault`"]
        );
    }
}
