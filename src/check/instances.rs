//! C-14 to C-18: every custom resource against B's schema of its kind.
//!
//! The instance decides: a difference between two schemas that no object of ours meets is no finding.

use serde_json::Value;

use super::CheckInput;
use super::schema::{ViolationKind, evaluate};
use crate::finding::{Finding, Verdict};
use crate::object::Object;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    for object in input.objects() {
        let Some(schema) = schema_on_b(input, object) else {
            continue;
        };
        for violation in evaluate(object.value(), schema) {
            let pruned = violation.kind == ViolationKind::Pruned;
            let (verdict, remedy) = match pruned {
                true => (
                    Verdict::Warn,
                    "update the definition on the target cluster, or accept the loss of the field",
                ),
                false => (
                    Verdict::Block,
                    "change the value with a patch in a recipe, or update the definition on the \
                     target cluster",
                ),
            };
            findings.push(
                Finding::new(
                    verdict,
                    violation.kind.rule(),
                    message(violation.kind, object),
                )
                .on(object.id())
                .at(violation.path)
                .because(violation.message)
                .remedy(remedy),
            );
        }
    }
}

fn message(kind: ViolationKind, object: &Object) -> String {
    let kind_name = object.kind();
    match kind {
        ViolationKind::Required => format!("the target cluster's {kind_name} requires this field"),
        ViolationKind::Enum => {
            format!("the target cluster's {kind_name} does not allow this value")
        }
        ViolationKind::Type => format!("the target cluster's {kind_name} has another type here"),
        ViolationKind::Limit => format!("the target cluster's {kind_name} has a limit here"),
        ViolationKind::Duplicate => {
            format!("the target cluster's {kind_name} takes each element of this list once")
        }
        ViolationKind::Pruned => format!("the target cluster's {kind_name} has no such field"),
    }
}

/// B's schema for the object's kind and version; none when B has no such definition.
fn schema_on_b<'a>(input: &CheckInput<'a>, object: &Object) -> Option<&'a Value> {
    let crds = input
        .surface
        .of_kind("apiextensions.k8s.io", "CustomResourceDefinition");
    let mut crds = crds.filter(|crd| {
        crd.text("/spec/group") == Some(object.group())
            && crd.text("/spec/names/kind") == Some(object.kind())
    });
    let versions = crds.next()?.pointer("/spec/versions")?.as_array()?;
    versions
        .iter()
        .find(|version| version["name"] == object.version())?
        .pointer("/schema/openAPIV3Schema")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object, resource};

    #[test]
    fn c_14_to_c_18_the_instance_decides() {
        let crd = object(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "things.x.example.com",
            r#"{"group": "x.example.com", "names": {"kind": "Thing"}, "versions": [{"name": "v1",
                "served": true, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                  "spec": {"type": "object", "required": ["size"], "properties": {
                    "size": {"type": "integer"}, "mode": {"enum": ["x"], "type": "string"},
                    "never": {"type": "string", "maxLength": 1}}}}}}}]}"#,
        );
        let thing = object(
            "x.example.com/v1",
            "Thing",
            "shop/a",
            r#"{"mode": "y", "old": 1}"#,
        );
        let mut case = Case::new(vec![thing]);
        case.surface.objects.push(crd);
        case.surface
            .resources
            .push(resource("x.example.com", "v1", "Thing", true));
        case.expect(&[
            "block C-14 Thing.x.example.com shop/a /spec/size: the target cluster's Thing requires this field",
            "block C-15 Thing.x.example.com shop/a /spec/mode: the target cluster's Thing does not allow this value",
            "warn C-18 Thing.x.example.com shop/a /spec/old: the target cluster's Thing has no such field",
        ]);
    }
}
