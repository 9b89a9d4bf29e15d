//! S-45: objects another tool keeps as it wants them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::finding::{Finding, Verdict};
use crate::object::Object;

/// Labels and annotations by which a tool knows its objects; a trailing `*` stands for any key.
const TOOLS: [(&str, &str); 6] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/*", "Flux"),
    ("helm.toolkit.fluxcd.io/*", "Flux"),
    (
        "config.k8s.io/owning-inventory",
        "a kpt or Config Sync inventory",
    ),
    ("kapp.k14s.io/*", "kapp"),
    ("fleet.cattle.io/*", "Rancher Fleet"),
];

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

fn managed_by(object: &Object) -> Vec<&'static str> {
    let maps = ["/metadata/labels", "/metadata/annotations"];
    let maps = maps.map(|at| object.pointer(at).and_then(Value::as_object));
    let has = |mark: &str| {
        let mut maps = maps.into_iter().flatten();
        match mark.strip_suffix('*') {
            Some(prefix) => maps.any(|map| map.keys().any(|key| key.starts_with(prefix))),
            None => maps.any(|map| map.contains_key(mark)),
        }
    };
    let mut tools: Vec<_> = TOOLS
        .iter()
        .filter(|(mark, _)| has(mark))
        .map(|(_, tool)| *tool)
        .collect();
    tools.dedup();
    tools
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
