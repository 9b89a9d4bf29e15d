//! A depot's objects, as values.

use serde_json::{Value, json};

use super::{NAME, PORT, namespace};
use crate::data::names::DEPOT;
use crate::mover::{DEPOT_FOLDER, DEPOT_SECRETS, JOB};

/// One that is there for a week was forgotten: the kubelet ends it then, so that nothing listens for ever. What it
/// holds stays, and the same command starts it anew.
const DEADLINE: u64 = 7 * 24 * 60 * 60;
/// How long an attempt to reach it may take in all.
const ATTEMPT: u64 = 5 * 60;
/// What a pod's one container is called.
pub(super) const CONTAINER: &str = "ferry";
/// Whom its pods run as where the cluster does not say.
const USER: u32 = 65532;
/// What OpenShift writes on namespaces whose pods' users it chooses.
const CHOOSES_USERS: &str = "/metadata/annotations/openshift.io~1sa.scc.uid-range";

/// What all of a depot's objects are made from.
#[derive(Clone, Copy)]
pub(super) struct Bodies<'a> {
    pub(super) name: &'a str,
    /// Ferry's image.
    pub(super) image: &'a str,
}

impl Bodies<'_> {
    fn metadata(self, name: &str) -> Value {
        json!({"name": name, "namespace": namespace(self.name), "labels": {DEPOT: self.name}})
    }

    /// Ferry's namespace, of the strictest level there is.
    pub(super) fn namespace(self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": namespace(self.name), "labels": {
                DEPOT: self.name,
                "pod-security.kubernetes.io/enforce": "restricted",
                "pod-security.kubernetes.io/warn": "restricted",
            }},
        })
    }

    /// A Secret with one file.
    pub(super) fn secret(self, name: &str, file: &str, content: &str) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": self.metadata(name),
            "immutable": true, "stringData": {last(file): content},
        })
    }

    /// The claim, of a class or of the cluster's default.
    pub(super) fn claim(self, size: &str, class: Option<&str>) -> Value {
        let mut claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": self.metadata(NAME),
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
        });
        if let Some(class) = class {
            claim["spec"]["storageClassName"] = class.into();
        }
        claim
    }

    /// A port on every node; with a load balancer's address when the type is changed to that.
    pub(super) fn service(self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": self.metadata(NAME),
            "spec": {
                "type": "NodePort",
                "selector": {DEPOT: self.name, "app.kubernetes.io/name": "ferry-depot"},
                "ports": [{"name": "store", "port": PORT, "targetPort": PORT}],
            },
        })
    }

    /// The depot itself.
    pub(super) fn pod(self, home: &Value) -> Value {
        let mut pod = self.strict(NAME, (NAME, DEPOT_SECRETS), "depot", home);
        pod["metadata"]["labels"]["app.kubernetes.io/name"] = "ferry-depot".into();
        let spec = &mut pod["spec"];
        spec["restartPolicy"] = "Always".into();
        spec["activeDeadlineSeconds"] = DEADLINE.into();
        push(
            &mut spec["volumes"],
            json!({"name": "store", "persistentVolumeClaim": {"claimName": NAME}}),
        );
        let container = &mut spec["containers"][0];
        push(
            &mut container["volumeMounts"],
            json!({"name": "store", "mountPath": DEPOT_FOLDER}),
        );
        container["ports"] = json!([{"name": "store", "containerPort": PORT}]);
        container["readinessProbe"] = json!({"tcpSocket": {"port": PORT}, "periodSeconds": 1});
        pod
    }

    /// A pod that tries to reach it.
    pub(super) fn scout(self, name: &str, home: &Value) -> Value {
        let mut pod = self.strict(name, (name, JOB), "reach", home);
        pod["spec"]["restartPolicy"] = "Never".into();
        pod["spec"]["activeDeadlineSeconds"] = ATTEMPT.into();
        pod
    }

    /// A pod of Ferry's that Pod Security's strictest level takes, with one file of secrets.
    fn strict(self, name: &str, (secret, file): (&str, &str), word: &str, home: &Value) -> Value {
        let mut security =
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        if home.pointer(CHOOSES_USERS).is_none() {
            security["runAsUser"] = USER.into();
            security["runAsGroup"] = USER.into();
            security["fsGroup"] = USER.into();
        }
        let mut metadata = self.metadata(name);
        metadata["annotations"] =
            json!({"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"});
        let folder = file.rsplit_once('/').map_or("/", |(folder, _)| folder);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "securityContext": security,
            "containers": [{
                "name": CONTAINER,
                "image": self.image,
                "args": ["mover", word],
                "env": [{"name": "FERRY_LOG", "value": "ferry=warn"}],
                "resources": {
                    "requests": {"cpu": "100m", "memory": "128Mi"},
                    "limits": {"memory": "1Gi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": [{"name": "secrets", "mountPath": folder, "readOnly": true}],
            }],
            // Only Ferry is in its pod; whoever it runs as may read it.
            "volumes": [{"name": "secrets", "secret": {"secretName": secret, "defaultMode": 0o444}}],
        }})
    }
}

/// A path's last part.
pub(super) fn last(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(list) = list {
        list.push(item);
    }
}
