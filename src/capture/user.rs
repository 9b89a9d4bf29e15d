//! Whom the processes of a pod run as: a mover without privileges runs as what it moves for.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::object::Object;

/// Runs a mover of which nobody said whom it runs as: no account of any image.
const NOBODY: u32 = 65_532;

/// A user with its groups, as a pod's security context has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// `runAsUser`; `None` when it is not known, or root, which nothing without privileges may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// `runAsGroup`; `None` when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// `fsGroup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<u32>,
    /// `supplementalGroups`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

impl User {
    /// Whom the container runs as that mounts a claim in a running pod: as the kubelet tells it (the image may name
    /// the user), else as the pod's spec says.
    pub(crate) fn of_pod(pod: &Object, claim: &str) -> Self {
        let mut user = pod
            .pointer("/spec")
            .map(|spec| Self::of_spec(spec, claim))
            .unwrap_or_default();
        let name = pod
            .pointer("/spec")
            .and_then(|spec| mounting(spec, claim).next())
            .and_then(|container| container["name"].as_str());
        let statuses = pod.pointer("/status/containerStatuses");
        let mut statuses = statuses.and_then(Value::as_array).into_iter().flatten();
        let status = statuses.find(|status| status["name"].as_str() == name);
        if let Some(told) = status.and_then(|status| status.pointer("/user/linux")) {
            user.uid = number(told.get("uid")).filter(|uid| *uid != 0);
            user.gid = number(told.get("gid"));
            for group in numbers(told.get("supplementalGroups")) {
                if !user.groups.contains(&group) && Some(group) != user.gid {
                    user.groups.push(group);
                }
            }
        }
        user
    }

    /// Whom a pod of this spec runs the container as that mounts a claim, as far as the spec says.
    pub(crate) fn of_spec(spec: &Value, claim: &str) -> Self {
        let pod = spec.get("securityContext");
        let own = mounting(spec, claim)
            .next()
            .and_then(|container| container.get("securityContext"));
        let either = |key: &str| {
            let of = |context: Option<&Value>| number(context?.get(key));
            of(own).or_else(|| of(pod))
        };
        Self {
            uid: either("runAsUser").filter(|uid| *uid != 0),
            gid: either("runAsGroup"),
            fs_group: number(pod.and_then(|pod| pod.get("fsGroup"))),
            groups: numbers(pod.and_then(|pod| pod.get("supplementalGroups"))).collect(),
        }
    }

    /// Nobody in particular, where the cluster chooses no user itself.
    #[must_use]
    pub(crate) fn or_nobody(self) -> Self {
        match self.uid {
            Some(_) => self,
            None => Self {
                uid: Some(NOBODY),
                gid: Some(NOBODY),
                ..self
            },
        }
    }
}

/// `user 1000, group 1000`.
impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "user {uid}")?,
            None => f.write_str("the user the cluster gives it")?,
        }
        if let Some(gid) = self.gid {
            write!(f, ", group {gid}")?;
        }
        Ok(())
    }
}

/// The containers of a pod spec that mount a claim; those of a template whose claims are made from templates too
/// mount it by the template's name. All, when none does.
fn mounting<'a>(spec: &'a Value, claim: &str) -> impl Iterator<Item = &'a Value> {
    let list = |at: &str| spec[at].as_array().into_iter().flatten();
    let volumes: Vec<&str> = list("volumes")
        .filter(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    let made = |name: &str| {
        !list("volumes").any(|volume| volume["name"] == name)
            && claim.starts_with(&format!("{name}-"))
    };
    let mounts = |container: &&Value| {
        ["volumeMounts", "volumeDevices"].iter().any(|kind| {
            let mounts = container[*kind].as_array().into_iter().flatten();
            mounts
                .filter_map(|mount| mount["name"].as_str())
                .any(|name| volumes.contains(&name) || made(name))
        })
    };
    let containers: Vec<&Value> = list("containers").collect();
    let found: Vec<&Value> = containers.iter().copied().filter(mounts).collect();
    if found.is_empty() { containers } else { found }.into_iter()
}

fn number(value: Option<&Value>) -> Option<u32> {
    u32::try_from(value?.as_u64()?).ok()
}

fn numbers(list: Option<&Value>) -> impl Iterator<Item = u32> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|value| number(Some(value)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &Value) -> Object {
        Object::new(
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {
                "securityContext": {"runAsUser": 10, "fsGroup": 30, "supplementalGroups": [40]},
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
                "containers": [
                    {"name": "proxy", "securityContext": {"runAsUser": 0}},
                    {"name": "db", "securityContext": {"runAsUser": 20, "runAsGroup": 21},
                     "volumeMounts": [{"name": "v"}]},
                ],
            },
            "status": {"containerStatuses": [{"name": "db", "user": status}]}}),
        )
        .unwrap()
    }

    #[test]
    fn the_container_that_mounts_the_claim_says_who_it_runs_as_and_the_kubelet_knows_better() {
        let user = User::of_pod(&pod(&json!(null)), "data");
        let said = User {
            uid: Some(20),
            gid: Some(21),
            fs_group: Some(30),
            groups: vec![40],
        };
        assert_eq!(user, said);
        let linux = json!({"linux": {"uid": 999, "gid": 998, "supplementalGroups": [998, 30]}});
        let told = User {
            uid: Some(999),
            gid: Some(998),
            groups: vec![40, 30],
            ..said
        };
        assert_eq!(User::of_pod(&pod(&linux), "data"), told);
    }

    #[test]
    fn root_is_nobody_and_keeps_the_groups() {
        let linux = json!({"linux": {"uid": 0, "gid": 0}});
        let user = User::of_pod(&pod(&linux), "data").or_nobody();
        assert_eq!((user.uid, user.gid), (Some(NOBODY), Some(NOBODY)));
        assert_eq!((user.fs_group, user.groups), (Some(30), vec![40]));
    }
}
