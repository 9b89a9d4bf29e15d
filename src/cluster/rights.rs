//! What the user may do (rule C-61), asked before anything is written.

use std::fmt;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cluster, ClusterError};

/// Questions in flight at once.
const PARALLEL: usize = 8;

/// One right: a verb on a resource, in a namespace or cluster-wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Right {
    /// The verb, as in `list`.
    pub verb: String,
    /// API group; empty for core.
    pub group: String,
    /// Plural resource, as in `secrets`, with its sub-resource after a slash where one is meant.
    pub resource: String,
    /// The namespace; `None` for cluster-scoped resources.
    pub namespace: Option<String>,
}

impl Right {
    /// A right on a resource in a namespace.
    pub fn new(verb: &str, group: &str, resource: &str, namespace: Option<&str>) -> Self {
        Self {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            namespace: namespace.map(Into::into),
        }
    }

    /// As `kubectl create role --resource` wants it: `deployments.apps`, `pods/exec`.
    fn kubectl(&self) -> String {
        match (self.group.as_str(), self.resource.split_once('/')) {
            ("", _) => self.resource.clone(),
            (group, Some((plural, subresource))) => format!("{plural}.{group}/{subresource}"),
            (group, None) => format!("{}.{group}", self.resource),
        }
    }
}

/// `list secrets in namespace shop`.
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.kubectl())?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// Which of the rights the user lacks, in the order given.
///
/// # Errors
/// When the cluster does not answer. Clusters answer this question to every user.
pub async fn missing(cluster: &Cluster, rights: &[Right]) -> Result<Vec<Right>, ClusterError> {
    // Owned items: a stream of borrowed ones would keep this future from being spawned.
    let answers: Vec<(Right, bool)> = stream::iter(rights.to_vec())
        .map(|right| async move {
            let allowed = allowed(cluster, &right).await?;
            Ok::<_, ClusterError>((right, allowed))
        })
        .buffered(PARALLEL)
        .try_collect()
        .await?;
    Ok(answers
        .into_iter()
        .filter(|(_, allowed)| !allowed)
        .map(|(right, _)| right)
        .collect())
}

async fn allowed(cluster: &Cluster, right: &Right) -> Result<bool, ClusterError> {
    let (resource, subresource) = right
        .resource
        .split_once('/')
        .unwrap_or((&right.resource, ""));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": right.verb, "group": right.group, "resource": resource,
            "subresource": subresource, "namespace": right.namespace.as_deref().unwrap_or(""),
        }},
    });
    let answer = cluster
        .ask(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            "ask",
            format!("whether the user may {right}"),
            &review,
        )
        .await?;
    Ok(answer
        .pointer("/status/allowed")
        .and_then(Value::as_bool)
        .unwrap_or(false))
}

/// By what name the cluster knows the user, as in `system:serviceaccount:shop:mover`; `None` before
/// Kubernetes 1.28.
///
/// # Errors
/// When the cluster does not answer.
pub async fn whoami(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    match cluster
        .ask(path, "ask", "who the user is".into(), &review)
        .await
    {
        Ok(answer) => {
            let name = answer
                .pointer("/status/userInfo/username")
                .and_then(Value::as_str);
            Ok(name.map(str::to_owned))
        }
        Err(error) if error.failure().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The `kubectl` commands with which an administrator grants rights, one pair per scope.
pub fn grant(rights: &[Right], user: Option<&str>) -> String {
    use std::collections::{BTreeMap, BTreeSet};
    let mut scopes: BTreeMap<Option<&str>, (BTreeSet<&str>, BTreeSet<String>)> = BTreeMap::new();
    for right in rights {
        let (verbs, resources) = scopes.entry(right.namespace.as_deref()).or_default();
        verbs.insert(&right.verb);
        resources.insert(right.kubectl());
    }
    let subject = match user.map(|user| (user, user.strip_prefix("system:serviceaccount:"))) {
        Some((_, Some(account))) => format!("--serviceaccount={account}"),
        Some((user, None)) => format!("--user={user}"),
        None => "--user=USER".into(),
    };
    let mut commands = Vec::new();
    for (namespace, (verbs, resources)) in scopes {
        let verbs = verbs.into_iter().collect::<Vec<_>>().join(",");
        let resources = resources.into_iter().collect::<Vec<_>>().join(",");
        let (scope, role, place) = match namespace {
            Some(namespace) => ("role", "role", format!(" -n {namespace}")),
            None => ("clusterrole", "clusterrole", String::new()),
        };
        commands.push(format!(
            "kubectl{place} create {role} ferry --verb={verbs} --resource={resources}"
        ));
        commands.push(format!(
            "kubectl{place} create {scope}binding ferry --{role}=ferry {subject}"
        ));
    }
    commands.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_61_a_missing_right_reads_as_a_sentence() {
        let right = Right::new("list", "apps", "deployments", Some("shop"));
        assert_eq!(right.to_string(), "list deployments.apps in namespace shop");
    }

    #[test]
    fn c_61_the_remedy_is_a_command_an_administrator_can_paste() {
        let rights = [
            Right::new("list", "", "secrets", Some("shop")),
            Right::new("get", "apps", "deployments/scale", Some("shop")),
        ];
        assert_eq!(
            grant(&rights, Some("system:serviceaccount:ci:ferry")),
            "kubectl -n shop create role ferry --verb=get,list \
             --resource=deployments.apps/scale,secrets\n\
             kubectl -n shop create rolebinding ferry --role=ferry --serviceaccount=ci:ferry"
        );
    }
}
