//! S-45: objects another tool keeps as it wants them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::finding::{Finding, Verdict};
use crate::object::Object;

/// The tool that knows its objects by a label or annotation.
fn tool(key: &str) -> Option<&'static str> {
    match key.split_once('/')? {
        ("argocd.argoproj.io", "tracking-id") => Some("Argo CD"),
        ("kustomize.toolkit.fluxcd.io" | "helm.toolkit.fluxcd.io", _) => Some("Flux"),
        ("config.k8s.io", "owning-inventory") => Some("a kpt or Config Sync inventory"),
        ("kapp.k14s.io", _) => Some("kapp"),
        ("fleet.cattle.io", _) => Some("Rancher Fleet"),
        _ => None,
    }
}

/// The objects of A that tools manage, by tool.
#[derive(Default)]
pub(super) struct Ownership<'a>(BTreeMap<&'static str, Vec<&'a Object>>);

impl<'a> Ownership<'a> {
    pub(super) fn note(&mut self, raw: &'a Object) {
        for tool in managed_by(raw) {
            self.0.entry(tool).or_default().push(raw);
        }
    }

    pub(super) fn tell(self, findings: &mut Vec<Finding>) {
        for (tool, objects) in self.0 {
            let first = objects.first().map(|object| object.id().to_string());
            findings.push(
            Finding::new(
                Verdict::Warn,
                "S-45",
                format!(
                    "{tool} manages {} of the objects on the source cluster",
                    objects.len()
                ),
            )
            .because(format!("for example {}", first.unwrap_or_default()))
            .remedy(format!(
                "the copies are not managed; point {tool} at the target cluster afterwards, or it \
                 will not know them"
            )),
        );
        }
    }
}

fn managed_by(object: &Object) -> BTreeSet<&'static str> {
    let metadata = object.value().get("metadata");
    let maps = ["labels", "annotations"].map(|key| metadata.and_then(|at| at.get(key)));
    let maps = maps.into_iter().flatten().filter_map(Value::as_object);
    maps.flat_map(|map| map.keys())
        .filter_map(|key| tool(key))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};

    #[test]
    fn s_45_objects_under_gitops_are_a_warning() {
        let mut managed = object("v1", "ConfigMap", "shop/a", "{}");
        managed.value_mut()["metadata"]["labels"] =
            serde_json::json!({"kustomize.toolkit.fluxcd.io/name": "x"});
        Case::new(vec![managed, object("v1", "ConfigMap", "shop/b", "{}")])
            .expect(&["warn S-45 -: Flux manages 1 of the objects on the source cluster"]);
    }
}
