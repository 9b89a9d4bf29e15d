//! What the server serves: every group, version, resource, verb and sub-resource.
//!
//! Two requests with aggregated discovery (Kubernetes 1.26 and later); one per group and version
//! with what came before. Both give the same list.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};
use serde_json::Value;

use super::request::{Call, path};
use super::{Cluster, ClusterError};
use crate::surface::ApiResource;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
     application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

/// What discovery found.
pub(super) struct Discovered {
    /// Every served resource at every served version, sorted.
    pub(super) resources: Vec<ApiResource>,
    /// Groups and versions registered whose server does not answer, as `group/version`.
    pub(super) silent: Vec<String>,
}

impl Cluster {
    /// Every resource the cluster serves, at every version, sorted.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn served(&self) -> Result<Vec<ApiResource>, ClusterError> {
        Ok(self.discover().await?.resources)
    }

    /// The version of a group that the server prefers, as in `v1beta1`; `None` for a group it does not serve.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn version_of(&self, group: &str) -> Result<Option<String>, ClusterError> {
        let call = Call::get(path(&["apis", group], &[]), "discover", group);
        match self.call_json(&call).await {
            Ok(answer) => {
                let version = answer.pointer("/preferredVersion/version");
                Ok(version.and_then(Value::as_str).map(str::to_owned))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The OpenAPI v3 document of one version of a group (empty for core).
    ///
    /// # Errors
    /// When the cluster does not answer, or publishes none.
    pub async fn openapi(&self, group: &str, version: &str) -> Result<Value, ClusterError> {
        let segments = match group {
            "" => vec!["openapi", "v3", "api", version],
            group => vec!["openapi", "v3", "apis", group, version],
        };
        let call = Call::get(path(&segments, &[]), "read", "the API's schemas");
        self.call_json(&call).await
    }

    /// Asks for everything served.
    pub(super) async fn discover(&self) -> Result<Discovered, ClusterError> {
        let mut found = Discovered {
            resources: Vec::new(),
            silent: Vec::new(),
        };
        let (core, groups) = tokio::try_join!(self.root("api"), self.root("apis"))?;
        for (root, answer) in [("api", core), ("apis", groups)] {
            if answer.get("kind").and_then(Value::as_str) == Some("APIGroupDiscoveryList") {
                aggregated(&answer, &mut found);
            } else {
                self.one_by_one(root, &answer, &mut found).await?;
            }
        }
        found.resources.sort();
        found.resources.dedup();
        Ok(found)
    }

    async fn root(&self, root: &str) -> Result<Value, ClusterError> {
        let call = Call::get(format!("/{root}"), "discover", "the served APIs");
        self.call_json(&call.accept(AGGREGATED)).await
    }

    /// The older form: a list of groups, then a list of resources per group and version.
    async fn one_by_one(
        &self,
        root: &str,
        answer: &Value,
        found: &mut Discovered,
    ) -> Result<(), ClusterError> {
        let versions = versions_of(answer);
        let lists: Vec<(String, bool, Result<Value, ClusterError>)> = stream::iter(versions)
            .map(|(group_version, preferred)| async move {
                let mut segments = vec![root];
                segments.extend(group_version.split('/'));
                let call = Call::get(path(&segments, &[]), "discover", group_version.clone());
                let list = self.call_json(&call).await;
                (group_version, preferred, list)
            })
            .buffered(8)
            .collect()
            .await;
        for (group_version, preferred, list) in lists {
            match list {
                Ok(list) => plain(&group_version, preferred, &list, &mut found.resources),
                // An aggregated API whose server is down must not hide all others.
                Err(error) if matches!(error.status(), 404 | 503) => {
                    found.silent.push(group_version)
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn strings(value: &Value, key: &str) -> BTreeSet<String> {
    items(value, key)
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn aggregated(answer: &Value, found: &mut Discovered) {
    for group in items(answer, "items") {
        let name = group
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        // The server lists a group's versions by its preference.
        for (position, version) in items(group, "versions").enumerate() {
            if text(version, "freshness") == "Stale" {
                found
                    .silent
                    .push(format!("{name}/{}", text(version, "version")));
            }
            for resource in items(version, "resources") {
                let kind = resource
                    .pointer("/responseKind/kind")
                    .and_then(Value::as_str);
                let Some(kind) = kind.filter(|kind| !kind.is_empty()) else {
                    continue;
                };
                found.resources.push(ApiResource {
                    group: name.into(),
                    version: text(version, "version").into(),
                    kind: kind.into(),
                    plural: text(resource, "resource").into(),
                    namespaced: text(resource, "scope") == "Namespaced",
                    verbs: strings(resource, "verbs"),
                    preferred: position == 0,
                    subresources: items(resource, "subresources")
                        .map(|subresource| text(subresource, "subresource").to_owned())
                        .collect(),
                });
            }
        }
    }
}

/// `group/version` and whether it is preferred, from an `APIVersions` or an `APIGroupList`.
fn versions_of(answer: &Value) -> Vec<(String, bool)> {
    let core = items(answer, "versions")
        .filter_map(Value::as_str)
        .enumerate()
        .map(|(position, version)| (version.to_owned(), position == 0));
    let groups = items(answer, "groups").flat_map(|group| {
        let preferred = group
            .pointer("/preferredVersion/groupVersion")
            .and_then(Value::as_str)
            .unwrap_or("");
        items(group, "versions").map(move |version| {
            let name = text(version, "groupVersion");
            (name.to_owned(), name == preferred)
        })
    });
    core.chain(groups).collect()
}

fn plain(group_version: &str, preferred: bool, list: &Value, found: &mut Vec<ApiResource>) {
    let (group, version) = group_version
        .rsplit_once('/')
        .unwrap_or(("", group_version));
    let mut subresources: Vec<(&str, &str)> = Vec::new();
    let start = found.len();
    for resource in items(list, "resources") {
        match text(resource, "name").split_once('/') {
            Some(pair) => subresources.push(pair),
            None => found.push(ApiResource {
                group: group.into(),
                version: version.into(),
                kind: text(resource, "kind").into(),
                plural: text(resource, "name").into(),
                namespaced: resource
                    .get("namespaced")
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
                verbs: strings(resource, "verbs"),
                preferred,
                subresources: BTreeSet::new(),
            }),
        }
    }
    for resource in &mut found[start..] {
        let own = subresources
            .iter()
            .filter(|(parent, _)| *parent == resource.plural);
        resource.subresources = own.map(|(_, name)| (*name).to_owned()).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn aggregated_and_plain_discovery_give_the_same_resources() {
        let mut new = Discovered {
            resources: vec![],
            silent: vec![],
        };
        aggregated(
            &json!({"items": [{"metadata": {"name": "apps"}, "versions": [{"version": "v1",
                "freshness": "Current", "resources": [{"resource": "deployments",
                "responseKind": {"group": "apps", "version": "v1", "kind": "Deployment"},
                "scope": "Namespaced", "verbs": ["get", "list"],
                "subresources": [{"subresource": "scale"}]}]}]}]}),
            &mut new,
        );
        let mut old = Vec::new();
        plain(
            "apps/v1",
            true,
            &json!({"resources": [
                {"name": "deployments", "kind": "Deployment", "namespaced": true,
                 "verbs": ["list", "get"]},
                {"name": "deployments/scale", "kind": "Scale", "namespaced": true, "verbs": ["get"]},
            ]}),
            &mut old,
        );
        assert_eq!(new.resources, old);
        assert!(new.silent.is_empty());
    }

    #[test]
    fn a_stale_group_is_named_and_hides_nothing_else() {
        let mut found = Discovered {
            resources: vec![],
            silent: vec![],
        };
        aggregated(
            &json!({"items": [{"metadata": {"name": "metrics.k8s.io"},
                "versions": [{"version": "v1beta1", "freshness": "Stale"}]}]}),
            &mut found,
        );
        assert_eq!(found.silent, ["metrics.k8s.io/v1beta1"]);
    }
}
