//! E-PT3, E-PT4: keys that ConfigMaps and Secrets are asked for and do not have.
//!
//! Only of objects that travel: what is in one that is on B already is B's business. A key that the
//! capture took out (a token, an injected bundle) is filled in by B's controllers.

use foldhash::HashMap;
use serde_json::Value;

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::graph::Strength;
use crate::graph::references::{KeyUse, References};
use crate::object::{Object, ObjectId};

/// Where the two kinds keep their keys.
const MAPS: [&str; 3] = ["/data", "/binaryData", "/stringData"];

/// Who has keys, and who asks for them.
pub(super) struct Keys<'a> {
    holders: HashMap<ObjectId, Holder<'a>>,
    references: References<'a>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(input: &CheckInput<'a>) -> Self {
        let holders = input
            .pairs()
            .filter(|(_, object)| object.is("", "ConfigMap") || object.is("", "Secret"))
            .map(|(captured, object)| {
                let holder = Holder {
                    object,
                    raw: &captured.raw,
                    captured: &captured.object,
                };
                (object.id(), holder)
            });
        let definitions = input
            .capture
            .surface
            .of_kind("apiextensions.k8s.io", "CustomResourceDefinition");
        let definitions: Vec<&Object> = definitions.chain(input.objects()).collect();
        Self {
            holders: holders.collect(),
            references: References::new(input.knowledge, definitions),
        }
    }

    pub(super) fn check(&self, object: &Object, findings: &mut Vec<Finding>) {
        if self.holders.is_empty() {
            return;
        }
        for asked in self.references.keys(object) {
            let holder = self.holders.get(&asked.target);
            if let Some(holder) = holder.filter(|holder| holder.lacks(&asked.key)) {
                findings.push(absent(object, &asked, holder));
            }
        }
    }
}

/// A ConfigMap or Secret on its way.
struct Holder<'a> {
    /// As B shall see it.
    object: &'a Object,
    /// As A's API server gave it.
    raw: &'a Object,
    /// As it left A.
    captured: &'a Object,
}

impl Holder<'_> {
    fn lacks(&self, key: &str) -> bool {
        let filled_in = has(self.raw, key) && !has(self.captured, key);
        !has(self.object, key) && !filled_in
    }
}

fn has(object: &Object, key: &str) -> bool {
    maps(object).any(|map| map.contains_key(key))
}

fn maps(object: &Object) -> impl Iterator<Item = &serde_json::Map<String, Value>> {
    MAPS.iter()
        .filter_map(|at| object.pointer(at).and_then(Value::as_object))
}

fn absent(object: &Object, asked: &KeyUse, holder: &Holder<'_>) -> Finding {
    let (verdict, effect) = match asked.strength {
        Strength::H | Strength::R => (Verdict::Warn, "what asks for it does not start without it"),
        Strength::S | Strength::N | Strength::P => (Verdict::Info, "it works without it"),
    };
    let KeyUse { target, key, .. } = asked;
    let keys = maps(holder.object).flat_map(|map| map.keys());
    Finding::new(verdict, &asked.rule, format!("{target} has no key {key}"))
        .on(object.id())
        .at(asked.pointer.clone())
        .because(format!("it has {}; {effect}", list(keys)))
        .remedy("add the key, or change the reference, with a patch in a recipe; if a controller fills it in, nothing is to do")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing::{Case, object};
    use crate::object::Object;

    fn secret(data: serde_json::Value) -> Object {
        let mut secret = object("v1", "Secret", "shop/login", "{}");
        secret.value_mut()["data"] = data;
        secret
    }

    fn asking(rest: &str) -> Object {
        let env = format!(
            r#"{{"template":{{"spec":{{"containers":[{{"name":"c","env":[{{"name":"PW","valueFrom":{{"secretKeyRef":{{"name":"login","key":"password"{rest}}}}}}}]}}]}}}}}}"#
        );
        object("apps/v1", "Deployment", "shop/web", &env)
    }

    #[test]
    fn e_pt3_a_key_that_a_travelling_secret_lacks_is_a_warning_and_an_optional_one_is_told() {
        let at = "Deployment.apps shop/web /spec/template/spec/containers/0/env/0/valueFrom/secretKeyRef/key: Secret shop/login has no key password";
        let lacking = || secret(json!({"user": "dQ=="}));
        Case::new(vec![lacking(), asking("")]).expect(&[&format!("warn E-PT3 {at}")]);
        Case::new(vec![lacking(), asking(r#","optional":true"#)])
            .expect(&[&format!("info E-PT3 {at}")]);
        Case::new(vec![secret(json!({"password": "cA=="})), asking("")]).expect(&[]);
        Case::new(vec![asking("")]).expect(&[]);
    }

    #[test]
    fn e_pt4_every_item_of_a_mounted_config_map_must_be_there() {
        let mut map = object("v1", "ConfigMap", "shop/conf", "{}");
        map.value_mut()["data"] = json!({"a": "1"});
        map.value_mut()["binaryData"] = json!({"b": "Mg=="});
        let pod = r#"{"template":{"spec":{"volumes":[{"name":"v","configMap":{"name":"conf",
            "items":[{"key":"a","path":"a"},{"key":"b","path":"b"},{"key":"c","path":"c"}]}}]}}}"#;
        Case::new(vec![map, object("apps/v1", "Deployment", "shop/web", pod)]).expect(&[
            "warn E-PT4 Deployment.apps shop/web /spec/template/spec/volumes/0/configMap/items/2/key: ConfigMap shop/conf has no key c",
        ]);
    }

    #[test]
    fn e_pt3_a_key_that_stays_on_a_is_filled_in_by_b() {
        let mut case = Case::new(vec![secret(json!({})), asking("")]);
        case.capture.objects[0].raw = secret(json!({"password": "cA=="}));
        case.expect(&[]);
    }
}
