//! E-80: clusters of databases whose data holds the host names of their members, moved to another
//! namespace or called something else.

use serde_json::Value;

use super::CheckInput;
use crate::finding::{Finding, Verdict};
use crate::knowledge::members::Members;
use crate::knowledge::sanitize::glob;
use crate::object::Object;
use crate::transform::image::ImageRef;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    for (captured, object) in input.pairs() {
        if captured.object.id_ref() != object.id_ref()
            && let Some(members) = known(object, &input.knowledge.members)
        {
            findings.push(finding(&captured.object, object, members));
        }
    }
}

/// Which application an object is, if its data holds names.
fn known<'k>(object: &Object, table: &'k [Members]) -> Option<&'k Members> {
    let images = images(object);
    table.iter().find(|members| {
        let mut kinds = members.kinds.iter();
        let runs = |image: &String| members.images.iter().any(|pattern| glob(pattern, image));
        kinds.any(|kind| kind.matches(object.group(), object.kind())) || images.iter().any(runs)
    })
}

/// The last parts of the repositories a StatefulSet with claims of its own runs from.
fn images(object: &Object) -> Vec<String> {
    let claims = object.pointer("/spec/volumeClaimTemplates");
    if object.kind() != "StatefulSet" || claims.is_none() {
        return Vec::new();
    }
    let containers = object.pointer("/spec/template/spec/containers");
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    let images = containers.filter_map(|container| container["image"].as_str());
    let last = |image: &str| {
        let image = ImageRef::parse(image)?;
        Some(image.repository.rsplit('/').next()?.to_owned())
    };
    images.filter_map(last).collect()
}

fn finding(before: &Object, after: &Object, members: &Members) -> Finding {
    let Members {
        what, holds, hook, ..
    } = members;
    Finding::new(
        Verdict::Warn,
        "E-80",
        format!("{what} does not find its members under their new names"),
    )
    .on(after.id())
    .because(format!("it was {}; its data holds {holds}", before.id()))
    .remedy(format!(
        "after the move, {hook}; a hook of the recipe can do that (`when: after-release`, docs/recipes.md); or \
         keep namespace and name"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::testing::object;
    use super::*;
    use crate::knowledge::Knowledge;

    fn stateful(image: &str) -> Object {
        let spec = serde_json::json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}}],
            "template": {"spec": {"containers": [{"name": "c", "image": image}]}}});
        object("apps/v1", "StatefulSet", "shop/db", &spec.to_string())
    }

    fn what(object: &Object) -> Option<&str> {
        let known = known(object, &Knowledge::builtin().members)?;
        Some(known.what.as_str())
    }

    #[test]
    fn e_80_data_that_holds_host_names_is_known_by_kind_and_by_image() {
        let kafka = object("kafka.strimzi.io/v1beta2", "Kafka", "shop/events", "{}");
        assert_eq!(what(&kafka), Some("Kafka"));
        let image =
            "registry.example.com:5000/bitnami/mongodb:7@sha256:".to_owned() + &"a".repeat(64);
        assert_eq!(what(&stateful(&image)), Some("MongoDB"));
        assert_eq!(what(&stateful("etcd:3.5")), Some("etcd"));
        assert_eq!(what(&stateful("postgres:17")), None);
        let web = object("apps/v1", "Deployment", "shop/web", "{}");
        assert_eq!(what(&web), None);
    }

    #[test]
    fn e_80_a_moved_cluster_of_databases_is_a_warning_with_what_to_do() {
        let before = stateful("mongo");
        let mut after = before.clone();
        after.value_mut()["metadata"]["namespace"] = "stage".into();
        let members = known(&after, &Knowledge::builtin().members).unwrap();
        let finding = finding(&before, &after, members);
        assert_eq!(finding.object, Some(after.id()));
        assert!(
            finding
                .evidence
                .unwrap()
                .contains("StatefulSet.apps shop/db")
        );
        assert!(finding.remedy.unwrap().contains("rs.reconfig"));
    }
}
