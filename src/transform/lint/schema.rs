//! Paths of patches that no object of a cluster can have, by the schemas of A and B.
//!
//! Only exact paths are judged, and only where the selection names kinds: a pattern that finds nothing
//! fails when it is applied. Where a schema leaves a field open, or a kind has several versions of
//! which one knows the path, the path is possible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use crate::object::{GroupKind, Object, pointer};
use crate::surface::{ApiResource, Surface};
use crate::transform::fault::Faults;
use crate::transform::recipe::{OperationPath, Patch, PatchChange, Recipe, Transform};
use crate::transform::select::Select;

/// What one version of a type looks like on one cluster.
#[derive(Clone, Debug)]
pub struct TypeSchema {
    cluster: String,
    kind: GroupKind,
    root: Value,
    /// What `$ref` points into; null for definitions of custom resources, which have none.
    document: Arc<Value>,
}

/// The schemas of the custom resources a cluster has.
pub fn of_definitions(surface: &Surface) -> Vec<TypeSchema> {
    let definitions = surface.of_kind("apiextensions.k8s.io", "CustomResourceDefinition");
    definitions
        .flat_map(|definition| of_definition(&surface.cluster.name, definition))
        .collect()
}

fn of_definition(cluster: &str, definition: &Object) -> Vec<TypeSchema> {
    let text = |path: &str| definition.pointer(path).and_then(Value::as_str);
    let (Some(group), Some(kind)) = (text("/spec/group"), text("/spec/names/kind")) else {
        return Vec::new();
    };
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    let versions = versions.into_iter().flatten();
    versions
        .filter(|version| version["served"] == true)
        .map(|version| TypeSchema {
            cluster: cluster.to_owned(),
            kind: GroupKind::new(group, kind),
            root: version["schema"]["openAPIV3Schema"].clone(),
            document: Arc::new(Value::Null),
        })
        .collect()
}

/// The schemas of kinds in an OpenAPI v3 document.
pub fn of_document(cluster: &str, document: Value, kinds: &BTreeSet<GroupKind>) -> Vec<TypeSchema> {
    let document = Arc::new(document);
    let schemas = document["components"]["schemas"].as_object();
    let mut found = Vec::new();
    for root in schemas.into_iter().flat_map(|map| map.values()) {
        let names = root["x-kubernetes-group-version-kind"].as_array();
        for name in names.into_iter().flatten() {
            let text = |key: &str| name[key].as_str().unwrap_or_default();
            let kind = GroupKind::new(text("group"), text("kind"));
            if kinds.contains(&kind) {
                found.push(TypeSchema {
                    cluster: cluster.to_owned(),
                    kind,
                    root: root.clone(),
                    document: Arc::clone(&document),
                });
            }
        }
    }
    found
}

/// The served resources whose schemas the patches of recipes need.
pub fn wanted<'s>(recipes: &[Recipe], surface: &'s Surface) -> Vec<&'s ApiResource> {
    let patches: Vec<&Patch> = patches(recipes).map(|(_, patch, _)| patch).collect();
    let named = |resource: &&ApiResource| {
        let mut patches = patches.iter();
        patches.any(|patch| names(&patch.select, &resource.group_kind()))
    };
    surface.resources.iter().filter(named).collect()
}

fn patches(recipes: &[Recipe]) -> impl Iterator<Item = (&Recipe, &Patch, &std::ops::Range<usize>)> {
    recipes.iter().flat_map(|recipe| {
        let entries = recipe.entries.iter();
        entries.filter_map(move |entry| match &entry.transform {
            Transform::Patch(patch) => Some((recipe, patch, &entry.span)),
            _ => None,
        })
    })
}

/// Whether a selection names a type.
fn names(select: &Select, kind: &GroupKind) -> bool {
    select.kinds.iter().any(|one| *one == kind.kind)
        && (select.groups.is_empty() || select.groups.iter().any(|one| *one == kind.group))
}

/// Refuses every path that no version of a selected type can have on one of the clusters.
pub(super) fn judge(recipes: &[Recipe], schemas: &[TypeSchema]) -> Vec<crate::transform::Fault> {
    let mut types: BTreeMap<(&str, &GroupKind), Vec<&TypeSchema>> = BTreeMap::new();
    for schema in schemas {
        types
            .entry((&schema.cluster, &schema.kind))
            .or_default()
            .push(schema);
    }
    let mut all = Vec::new();
    for recipe in recipes {
        let mut faults = Faults::new(Arc::clone(&recipe.source));
        for (_, patch, span) in patches(std::slice::from_ref(recipe)) {
            for (path, place) in paths(patch, span) {
                for ((cluster, kind), versions) in &types {
                    let refused = versions.iter().map(|schema| schema.refuses(&path));
                    // Possible in one version is possible.
                    let refused: Option<Vec<String>> = refused.collect();
                    let first = refused.and_then(|refused| refused.into_iter().next());
                    if let (true, Some(at)) = (names(&patch.select, kind), first) {
                        faults
                            .add(
                                format!("`{path}` cannot be in a {kind} of {cluster}"),
                                place,
                                format!("its schema has no `{at}`"),
                            )
                            .help("see `kubectl explain` there for the fields it has");
                    }
                }
            }
        }
        all.extend(faults.into_list());
    }
    all
}

/// The exact paths a patch touches, each with where it stands.
fn paths<'p>(
    patch: &'p Patch,
    span: &'p std::ops::Range<usize>,
) -> Vec<(String, &'p std::ops::Range<usize>)> {
    let whole = |value: &Value| {
        let mut found = Vec::new();
        leaves(value, "", &mut found);
        found.into_iter().map(|path| (path, span)).collect()
    };
    match &patch.change {
        PatchChange::Json(operations) => operations
            .iter()
            .filter(|one| matches!(one.path, OperationPath::Pointer))
            .map(|one| (one.operation.path().to_string(), &one.span))
            .collect(),
        PatchChange::Merge(value) => whole(value),
        PatchChange::Strategic(placed) => whole(&placed.value),
    }
}

fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            // `$patch` and its like instruct the merge.
            for (key, child) in map.iter().filter(|(key, _)| !key.starts_with('$')) {
                leaves(child, &pointer::join(at, key), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

impl TypeSchema {
    /// The beginning of a path that the schema does not have.
    fn refuses(&self, path: &str) -> Option<String> {
        // Definitions leave these to the server.
        if ["/metadata", "/apiVersion", "/kind"]
            .iter()
            .any(|own| path == *own || path.starts_with(&format!("{own}/")))
        {
            return None;
        }
        let mut schema = &self.root;
        let mut at = String::new();
        for segment in pointer::segments(path) {
            schema = self.resolved(schema);
            at = pointer::join(&at, &segment);
            if schema["x-kubernetes-preserve-unknown-fields"] == true {
                return None;
            }
            let element = segment == "-" || segment.parse::<usize>().is_ok();
            let property = schema["properties"].get(segment.as_ref());
            schema = match (
                property,
                schema.get("additionalProperties"),
                schema.get("items"),
            ) {
                (Some(property), ..) => property,
                (None, Some(Value::Bool(true)), _) => return None,
                (None, Some(any), _) if any.is_object() => any,
                (None, _, Some(items)) if element => items,
                // A map of which nothing is said, or a part that says its type elsewhere, is open.
                _ if free(schema) => return None,
                _ => return Some(at),
            };
        }
        None
    }

    /// Follows references, also those wrapped to carry a default.
    fn resolved<'s>(&'s self, mut schema: &'s Value) -> &'s Value {
        // A document refers to itself only through properties; more steps than these are a circle.
        for _ in 0..8 {
            let reference = schema["$ref"]
                .as_str()
                .or_else(|| schema["allOf"][0]["$ref"].as_str());
            let Some(found) =
                reference.and_then(|name| self.document.pointer(name.strip_prefix('#')?))
            else {
                break;
            };
            schema = found;
        }
        schema
    }
}

fn free(schema: &Value) -> bool {
    let known = schema.get("properties").is_some() || schema.get("items").is_some();
    !known && matches!(schema["type"].as_str(), None | Some("object"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deployment() -> Vec<TypeSchema> {
        let meta = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        let document = json!({"components": {"schemas": {
            "Deployment": {"type": "object", "x-kubernetes-group-version-kind": [meta],
                "properties": {"spec": {"default": {}, "allOf": [{"$ref": "#/components/schemas/Spec"}]}}},
            "Spec": {"type": "object", "properties": {
                "replicas": {"type": "integer"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object"},
                "ports": {"type": "array", "items": {"$ref": "#/components/schemas/Port"}}}},
            "Port": {"type": "object", "properties": {"port": {"type": "integer"}}}}}});
        of_document(
            "b",
            document,
            &[GroupKind::new("apps", "Deployment")].into(),
        )
    }

    fn recipe(transforms: &str) -> Recipe {
        let text = format!(
            "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
        );
        Recipe::parse("t.yaml", &text).unwrap()
    }

    #[test]
    fn a_path_is_followed_through_references_lists_and_maps() {
        let schema = &deployment()[0];
        for path in [
            "/spec/replicas",
            "/spec/labels/any",
            "/spec/free/any/thing",
            "/spec/ports/0/port",
            "/spec/ports/-",
            "/metadata/labels/x",
        ] {
            assert_eq!(schema.refuses(path), None, "{path}");
        }
        let refused = |path: &str| schema.refuses(path).unwrap_or_default();
        assert_eq!(refused("/spec/replica"), "/spec/replica");
        assert_eq!(refused("/spec/ports/0/prot"), "/spec/ports/0/prot");
        assert_eq!(refused("/spec/ports/port"), "/spec/ports/port");
        assert_eq!(refused("/spec/replicas/x"), "/spec/replicas/x");
    }

    #[test]
    fn impossible_paths_of_patches_are_told_with_kind_and_cluster() {
        let recipe = recipe(
            "- patch: {select: {kind: Deployment}, merge: {spec: {replica: 1, replicas: 2}}}\n\
             - patch:\n    select: {kind: Deployment, group: apps}\n    jsonPatch: [{op: remove, path: /spec/port}]\n\
             - patch: {select: {kind: Deployment, group: other}, merge: {spec: {x: 1}}}\n\
             - patch: {select: {name: web}, merge: {spec: {x: 1}}}\n",
        );
        let found = judge(&[recipe], &deployment());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "`/spec/replica` cannot be in a Deployment.apps of b",
                "`/spec/port` cannot be in a Deployment.apps of b"
            ]
        );
    }
}
