//! Where pod specs and containers are in an object: by table, and by CRD schema (E-PT0).
//!
//! Custom resources carry pod templates too. A CRD's schema gives them away: an object with
//! `containers` whose items have a name and an image is a pod spec, an object with an image and an
//! environment, mounts or ports is a container.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::knowledge::Knowledge;
use crate::knowledge::roots::{RootKind, RootRow};
use crate::object::path::PathPattern;
use crate::object::{GroupKind, Object};

/// How deep a schema is searched: the depth of a pod template in a template in a list, twice over.
const SCHEMA_DEPTH: usize = 24;

/// All roots known: those of the tables, and those of the given CRDs.
#[derive(Clone, Debug)]
pub struct Roots<'k> {
    table: Vec<(&'k RootRow, Root)>,
    found: BTreeMap<GroupKind, Vec<Root>>,
}

/// One root of a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// What stands there.
    pub kind: RootKind,
    /// Where.
    pub path: PathPattern,
}

impl<'k> Roots<'k> {
    /// Collects roots from the tables and from CRDs; other objects among `crds` are passed over.
    pub fn new<'o>(knowledge: &'k Knowledge, crds: impl IntoIterator<Item = &'o Object>) -> Self {
        let mut found = BTreeMap::new();
        for crd in crds {
            let Some(kind) = crd_kind(crd) else { continue };
            let roots = schema_roots(crd);
            if !roots.is_empty() {
                found.insert(kind, roots);
            }
        }
        let root = |row: &RootRow| Root {
            kind: row.root,
            path: row.path.clone(),
        };
        let rows = knowledge.roots.iter();
        Self {
            table: rows.map(|row| (row, root(row))).collect(),
            found,
        }
    }

    /// The roots of a kind. Rows of the table speak for their kinds; schemas for all others.
    pub fn of(&self, kind: &GroupKind) -> Vec<&Root> {
        let described = |row: &RootRow| {
            let mut kinds = row.kinds.iter();
            kinds.any(|pattern| pattern.matches(&kind.group, &kind.kind))
        };
        let rows = self.table.iter();
        let rows: Vec<&Root> = rows
            .filter(|(row, _)| described(row))
            .map(|(_, root)| root)
            .collect();
        if rows.is_empty() {
            return self.found.get(kind).into_iter().flatten().collect();
        }
        rows
    }

    /// Pointers of every pod spec in an object.
    pub fn pods(&self, object: &Object) -> Vec<String> {
        self.of(&object.group_kind())
            .iter()
            .filter(|root| root.kind == RootKind::Pod)
            .flat_map(|root| root.path.find(object.value()))
            .collect()
    }

    /// Pointers of every container in an object, init and ephemeral ones included.
    pub fn containers(&self, object: &Object) -> Vec<String> {
        let roots = self.of(&object.group_kind());
        let mut found: Vec<String> = roots
            .iter()
            .flat_map(|root| match root.kind {
                RootKind::Container => root.path.find(object.value()),
                RootKind::Pod => containers_of_pod().under(&root.path).find(object.value()),
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

/// Where a pod spec's containers are.
pub(super) fn containers_of_pod() -> &'static PathPattern {
    static PATTERN: std::sync::LazyLock<PathPattern> = std::sync::LazyLock::new(|| {
        PathPattern::parse("/{initContainers,containers,ephemeralContainers}[]")
            .expect("a constant that a unit test reads")
    });
    &PATTERN
}

/// The kind a CRD defines; `None` when the object is no CRD.
pub fn crd_kind(crd: &Object) -> Option<GroupKind> {
    if !crd.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return None;
    }
    Some(GroupKind::new(
        crd.text("/spec/group")?,
        crd.text("/spec/names/kind")?,
    ))
}

fn schema_roots(crd: &Object) -> Vec<Root> {
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array);
    let mut roots = Vec::new();
    for version in versions.into_iter().flatten() {
        if let Some(schema) = version.pointer("/schema/openAPIV3Schema") {
            search(schema, &mut String::new(), SCHEMA_DEPTH, &mut roots);
        }
    }
    roots.sort();
    roots.dedup();
    roots
}

/// Adds the roots at and below a schema node; `path` is where its values stand.
fn search(schema: &Value, path: &mut String, depth: usize, roots: &mut Vec<Root>) {
    if depth == 0 {
        return;
    }
    let properties = schema.get("properties");
    let kind = properties.and_then(root_kind);
    if let Some(kind) = kind
        && let Ok(path) = PathPattern::parse(path)
    {
        roots.push(Root { kind, path });
    }
    let length = path.len();
    for (key, child) in properties.and_then(Value::as_object).into_iter().flatten() {
        // What a pod's own containers are, the pod root covers.
        let covered = kind == Some(RootKind::Pod) && key.to_lowercase().ends_with("containers");
        if covered || (length == 0 && key == "status") {
            continue;
        }
        if key.contains(['/', '[', ']', '{', '}', '"']) || key.is_empty() {
            path.push_str(&format!("[{}]", Value::from(key.as_str())));
        } else {
            path.push('/');
            path.push_str(key);
        }
        search(child, path, depth - 1, roots);
        path.truncate(length);
    }
    for (key, sign) in [("items", "[]"), ("additionalProperties", "/*")] {
        if let Some(child) = schema.get(key).filter(|child| child.is_object()) {
            path.push_str(sign);
            search(child, path, depth - 1, roots);
            path.truncate(length);
        }
    }
}

fn root_kind(properties: &Value) -> Option<RootKind> {
    let has = |key: &str| properties.get(key).is_some();
    let items = properties.pointer("/containers/items/properties");
    let lists_containers =
        items.is_some_and(|item| item.get("name").is_some() && item.get("image").is_some());
    if lists_containers && (has("volumes") || has("initContainers") || has("serviceAccountName")) {
        Some(RootKind::Pod)
    } else if has("image") && (has("env") || has("volumeMounts") || has("ports")) {
        Some(RootKind::Container)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(value: Value) -> Object {
        Object::new(value).unwrap()
    }

    #[test]
    fn a_cron_jobs_pod_spec_is_found_where_the_table_says() {
        let cron = object(json!({
            "apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "n"},
            "spec": {"jobTemplate": {"spec": {"template": {"spec": {
                "initContainers": [{"name": "i"}], "containers": [{"name": "c"}]}}}}},
        }));
        let roots = Roots::new(Knowledge::builtin(), []);
        let pod = "/spec/jobTemplate/spec/template/spec";
        assert_eq!(roots.pods(&cron), [pod]);
        assert_eq!(
            roots.containers(&cron),
            [
                format!("{pod}/containers/0"),
                format!("{pod}/initContainers/0")
            ]
        );
    }

    #[test]
    fn e_pt0_a_schema_gives_away_pod_templates_and_containers() {
        let text = json!({"type": "string"});
        let crd = object(json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "widgets.example.com"},
            "spec": {"group": "example.com", "names": {"kind": "Widget"}, "versions": [{
                "schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": {
                    "groups": {"items": {"properties": {"template": {"properties": {
                        "serviceAccountName": text,
                        "containers": {"items": {"properties": {
                            "name": text, "image": text, "env": {}}}},
                    }}}}},
                    "sidecars": {"additionalProperties": {"properties": {
                        "image": text, "ports": {}}}},
                }}}}},
            }]},
        }));
        let roots = Roots::new(Knowledge::builtin(), [&crd]);
        let found = roots.of(&GroupKind::new("example.com", "Widget"));
        let paths: Vec<_> = found
            .iter()
            .map(|root| (root.kind, root.path.as_str()))
            .collect();
        assert_eq!(
            paths,
            [
                (RootKind::Pod, "/spec/groups[]/template"),
                (RootKind::Container, "/spec/sidecars/*"),
            ]
        );
    }
}
