//! What the user may do (rule C-61), asked before anything is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cluster, ClusterError};
use crate::object::{GroupKind, Object, ObjectId};
use crate::surface::Surface;

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

/// What a run does with an object: looks, watches, applies, and takes back.
const VERBS: [&str; 6] = ["create", "delete", "get", "list", "patch", "watch"];

/// The rights a run needs on B for the objects it applies, sorted.
pub fn to_apply<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
    surface: &Surface,
) -> Vec<Right> {
    let mut rights = BTreeSet::new();
    for object in objects {
        // A kind that is not served has a finding of its own.
        let Some(resource) = surface.resource(&object.group_kind(), Some(object.version())) else {
            continue;
        };
        let (group, plural) = (&resource.group, &resource.plural);
        for verb in VERBS {
            rights.insert(Right::new(verb, group, plural, object.namespace()));
        }
        if resource.subresources.contains("scale") {
            let scale = format!("{plural}/scale");
            rights.insert(Right::new("patch", group, &scale, object.namespace()));
        }
        if resource.subresources.contains("status") && object.pointer("/status").is_some() {
            let status = format!("{plural}/status");
            rights.insert(Right::new("patch", group, &status, object.namespace()));
        }
        // OpenShift lets few choose a route's host; elsewhere the kind is only a custom resource.
        let openshift = GroupKind::new("security.openshift.io", "SecurityContextConstraints");
        if object.is("route.openshift.io", "Route")
            && object.text("/spec/host").is_some()
            && surface.resource(&openshift, None).is_some()
        {
            let host = format!("{plural}/custom-host");
            rights.insert(Right::new("create", group, &host, object.namespace()));
        }
    }
    rights.into_iter().collect()
}

/// What the movers do in the namespace Ferry makes for them, and with the volumes: it is not there yet,
/// so these are asked for every namespace.
const MOVER: &[(&str, &str, &[&str])] = &[
    ("", "events", &["list"]),
    ("", "namespaces", &["create", "delete", "get"]),
    (
        "",
        "persistentvolumeclaims",
        &["create", "delete", "get", "patch"],
    ),
    (
        "",
        "persistentvolumes",
        &["create", "delete", "get", "list", "patch"],
    ),
    ("", "pods", &["create", "delete", "get"]),
    ("", "pods/log", &["get"]),
    ("", "secrets", &["create", "patch"]),
];

/// What freezing a claim needs in addition.
const FREEZE: &[(&str, &[&str])] = &[
    (
        "volumesnapshotcontents",
        &["create", "delete", "get", "patch"],
    ),
    ("volumesnapshots", &["create", "delete", "get", "list"]),
];

/// What cloning a claim needs in addition.
const CLONE: &[(&str, &str, &[&str])] = &[
    ("", "nodes", &["list"]),
    ("", "persistentvolumeclaims", &["list"]),
    ("", "pods", &["list"]),
    (STORAGE, "storageclasses", &["get"]),
];
const STORAGE: &str = "storage.k8s.io";

/// What freezing several claims at one moment needs in addition to that.
const GROUP: &[(&str, &str, &[&str])] = &[
    ("", "persistentvolumeclaims", &["list"]),
    (GROUPS, "volumegroupsnapshotclasses", &["list"]),
    (GROUPS, "volumegroupsnapshotcontents", &["get", "patch"]),
    (
        GROUPS,
        "volumegroupsnapshots",
        &["create", "delete", "get", "list"],
    ),
];
const GROUPS: &str = "groupsnapshot.storage.k8s.io";

/// How movers read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freezes {
    /// Snapshots are taken.
    pub claims: bool,
    /// Of some claims, at one moment.
    pub groups: bool,
    /// Clones are made.
    pub clones: bool,
}

/// The rights movers need on a cluster to read or write volumes, sorted.
pub fn to_move(freezes: Freezes) -> Vec<Right> {
    let freeze = FREEZE
        .iter()
        .filter(|_| freezes.claims)
        .map(|(resource, verbs)| ("snapshot.storage.k8s.io", *resource, *verbs));
    let group = GROUP.iter().copied().filter(|_| freezes.groups);
    let clone = CLONE.iter().copied().filter(|_| freezes.clones);
    let rights: BTreeSet<Right> = MOVER
        .iter()
        .copied()
        .chain(freeze)
        .chain(group)
        .chain(clone)
        .flat_map(|(group, resource, verbs)| {
            verbs
                .iter()
                .map(move |verb| Right::new(verb, group, resource, None))
        })
        .collect();
    rights.into_iter().collect()
}

/// What movers without privileges do in each of the application's namespaces.
const BESIDE: &[(&str, &[&str])] = &[
    ("events", &["list"]),
    ("persistentvolumeclaims", &["delete", "get", "list"]),
    ("pods", &["create", "delete", "get", "list"]),
    ("pods/log", &["get"]),
    ("secrets", &["create", "delete", "list", "patch"]),
];

/// The rights movers without privileges need in the application's namespaces, sorted. A snapshot needs a look at
/// what is behind the claim too, and so does a clone.
pub fn to_move_beside<'a>(
    namespaces: impl IntoIterator<Item = &'a str>,
    freezes: Freezes,
) -> Vec<Right> {
    const SNAPSHOTS: &str = "snapshot.storage.k8s.io";
    let mut rights = BTreeSet::new();
    for namespace in namespaces {
        let within = |verb: &str, group: &str, resource: &str| {
            Right::new(verb, group, resource, Some(namespace))
        };
        for (resource, verbs) in BESIDE {
            rights.extend(verbs.iter().map(|verb| within(verb, "", resource)));
        }
        if freezes.groups {
            let verbs = ["create", "delete", "get", "list"];
            rights.extend(verbs.map(|verb| within(verb, GROUPS, "volumegroupsnapshots")));
        }
        if freezes.claims {
            let verbs = ["create", "delete", "get", "list"];
            rights.extend(verbs.map(|verb| within(verb, SNAPSHOTS, "volumesnapshots")));
        }
        if freezes.claims || freezes.clones {
            let verbs = ["create", "patch"];
            rights.extend(verbs.map(|verb| within(verb, "", "persistentvolumeclaims")));
        }
    }
    if freezes.groups {
        let content = "volumegroupsnapshotcontents";
        rights.extend(["get", "patch"].map(|verb| Right::new(verb, GROUPS, content, None)));
        rights.insert(Right::new(
            "list",
            GROUPS,
            "volumegroupsnapshotclasses",
            None,
        ));
    }
    if freezes.claims || freezes.clones {
        rights.extend([
            Right::new("get", "", "persistentvolumes", None),
            Right::new("get", STORAGE, "storageclasses", None),
        ]);
    }
    if freezes.claims {
        rights.extend([
            Right::new("get", SNAPSHOTS, "volumesnapshotcontents", None),
            Right::new("list", SNAPSHOTS, "volumesnapshotclasses", None),
        ]);
    }
    rights.into_iter().collect()
}

/// The rights a cutover needs on A to hold workloads, to see that their pods end, and to give them back,
/// sorted.
pub fn to_hold<'a>(
    workloads: impl IntoIterator<Item = &'a ObjectId>,
    surface: &Surface,
) -> Vec<Right> {
    let mut rights = BTreeSet::new();
    for id in workloads {
        let Some(resource) = surface.resource(&id.group_kind(), None) else {
            continue;
        };
        let namespace = id.namespace.as_deref();
        for verb in ["get", "patch"] {
            rights.insert(Right::new(
                verb,
                &resource.group,
                &resource.plural,
                namespace,
            ));
        }
        // Pods, and what may stand between them and the workload.
        for (group, plural) in [
            ("", "pods"),
            ("", "replicationcontrollers"),
            ("apps", "replicasets"),
            ("batch", "jobs"),
        ] {
            rights.insert(Right::new("list", group, plural, namespace));
        }
    }
    rights.into_iter().collect()
}

/// The rights that hooks need in the namespaces whose pods they run in, sorted: to find the pods by their owners, and
/// to run a command in one. Servers before 1.35 judge that by the verb of the request alone, newer ones as a creation.
pub fn to_run_hooks<'a>(namespaces: impl IntoIterator<Item = &'a str>) -> Vec<Right> {
    let mut rights = BTreeSet::new();
    for namespace in namespaces {
        for (verb, group, plural) in [
            ("list", "", "pods"),
            ("list", "", "replicationcontrollers"),
            ("list", "apps", "replicasets"),
            ("list", "batch", "jobs"),
            ("create", "", "pods/exec"),
            ("get", "", "pods/exec"),
        ] {
            rights.insert(Right::new(verb, group, plural, Some(namespace)));
        }
    }
    rights.into_iter().collect()
}

/// What the user lacks on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The cluster's name.
    pub cluster: String,
    /// By what name it knows the user.
    pub user: Option<String>,
    /// What it would refuse; never empty.
    pub rights: Vec<Right>,
}

impl Lacking {
    /// `create, patch secrets, services in namespace shop`, a line for each place and set of verbs.
    pub fn summary(&self) -> Vec<String> {
        let mut verbs: BTreeMap<(Option<&str>, String), BTreeSet<&str>> = BTreeMap::new();
        for right in &self.rights {
            let place = (right.namespace.as_deref(), right.kubectl());
            verbs.entry(place).or_default().insert(&right.verb);
        }
        let mut resources: BTreeMap<(Option<&str>, BTreeSet<&str>), Vec<String>> = BTreeMap::new();
        for ((namespace, resource), verbs) in verbs {
            let group = resources.entry((namespace, verbs)).or_default();
            group.push(resource);
        }
        let line = |((namespace, verbs), resources): ((Option<&str>, BTreeSet<&str>), Vec<_>)| {
            let verbs = verbs.into_iter().collect::<Vec<_>>().join(", ");
            let place = match namespace {
                Some(namespace) => format!("in namespace {namespace}"),
                None => "in every namespace".into(),
            };
            format!("{verbs} {} {place}", resources.join(", "))
        };
        resources.into_iter().map(line).collect()
    }
}

/// What the user lacks of these rights; `None` when nothing.
///
/// # Errors
/// When the cluster does not answer.
pub async fn lacking(cluster: &Cluster, rights: &[Right]) -> Result<Option<Lacking>, ClusterError> {
    let rights = missing(cluster, rights).await?;
    if rights.is_empty() {
        return Ok(None);
    }
    Ok(Some(Lacking {
        cluster: cluster.name().into(),
        user: whoami(cluster).await?,
        rights,
    }))
}

/// Which of the rights the user lacks, in the order given.
///
/// # Errors
/// When the cluster does not answer. Clusters answer this question to every user.
async fn missing(cluster: &Cluster, rights: &[Right]) -> Result<Vec<Right>, ClusterError> {
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

    /// A cluster that serves Deployments and little else.
    fn surface() -> Surface {
        use crate::surface::{ApiResource, ClusterIdentity};
        Surface {
            cluster: ClusterIdentity {
                name: "b".into(),
                uid: String::new(),
                version: String::new(),
            },
            resources: vec![ApiResource {
                group: "apps".into(),
                version: "v1".into(),
                kind: "Deployment".into(),
                plural: "deployments".into(),
                namespaced: true,
                verbs: BTreeSet::new(),
                preferred: true,
                subresources: BTreeSet::from(["scale".into(), "status".into()]),
            }],
            objects: Vec::new(),
            unseen: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    #[test]
    fn c_61_a_cutover_needs_to_hold_what_runs_on_a_and_to_see_it_end() {
        let web = ObjectId::namespaced("apps", "Deployment", "shop", "web");
        let rights = to_hold([&web], &surface());
        let sentences: Vec<String> = rights.iter().map(Right::to_string).collect();
        assert_eq!(
            sentences,
            [
                "get deployments.apps in namespace shop",
                "list pods in namespace shop",
                "list replicationcontrollers in namespace shop",
                "list replicasets.apps in namespace shop",
                "list jobs.batch in namespace shop",
                "patch deployments.apps in namespace shop",
            ]
        );
    }

    #[test]
    fn c_61_clones_need_nodes_and_no_snapshots_and_without_privileges_only_a_look_at_volumes() {
        let clones = Freezes {
            clones: true,
            ..Freezes::default()
        };
        let more = |all: Vec<Right>, less: Vec<Right>| -> Vec<String> {
            let more = all.into_iter().filter(|right| !less.contains(right));
            more.map(|right| right.to_string()).collect()
        };
        assert_eq!(
            more(to_move(clones), to_move(Freezes::default())),
            [
                "get storageclasses.storage.k8s.io",
                "list nodes",
                "list persistentvolumeclaims",
                "list pods",
            ]
        );
        let beside = |freezes| to_move_beside(["shop"], freezes);
        assert_eq!(
            more(beside(clones), beside(Freezes::default())),
            [
                "create persistentvolumeclaims in namespace shop",
                "get persistentvolumes",
                "get storageclasses.storage.k8s.io",
                "patch persistentvolumeclaims in namespace shop",
            ]
        );
    }

    #[test]
    fn c_61_a_workload_needs_its_verbs_and_its_scale() {
        let surface = surface();
        let object = |api_version: &str, kind: &str, name: &str| {
            Object::new(json!({"apiVersion": api_version, "kind": kind,
                "metadata": {"name": name, "namespace": "shop"}}))
            .unwrap()
        };
        let objects = [
            object("apps/v1", "Deployment", "web"),
            object("apps/v1", "Deployment", "api"),
            object("example.com/v1", "Thing", "unserved"),
        ];
        let rights = to_apply(&objects, &surface);
        assert_eq!(rights.len(), VERBS.len() + 1);
        assert!(rights.contains(&Right::new(
            "patch",
            "apps",
            "deployments/scale",
            Some("shop")
        )));
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
