//! The mover's pod and its Secret, as values.

use serde_json::{Map, Value, json};

use super::names::{CLAIM, MOVER, RUN};
use super::near::both;
use crate::capture::{User, VolumeMode};
use crate::mover::{JOBS, VOLUME};
use crate::store::{AUTHORITIES, MoverAccess};

/// A mover that is at it for a week has lost its run: the kubelet ends it then, whoever is left to see.
/// A week is 60 TB at 100 MB/s, or 6 TB over a relay.
const DEADLINE: u64 = 7 * 24 * 60 * 60;

/// The authorities it trusts, in the folder of its jobs: the Secret is mounted there whole.
const CA_FILE: &str = "store-ca.pem";

/// Reading every file of any owner, and nothing else.
const READING: [&str; 1] = ["DAC_READ_SEARCH"];
/// Giving every file its owner, mode, capabilities and device numbers.
const WRITING: [&str; 6] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "SETFCAP",
    "MKNOD",
];

/// What a mover's pod is made of.
#[derive(Clone, Debug)]
pub(super) struct MoverPod<'a> {
    pub(super) run: &'a str,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// Name of its Secret: one that was never used before, see [`Self::secret`].
    pub(super) secret: &'a str,
    pub(super) image: &'a str,
    /// `namespace/claim` of each that it works for.
    pub(super) claims: &'a str,
    /// The claims it mounts, in its own namespace, each in a container of its own.
    pub(super) mounts: Vec<(&'a str, VolumeMode)>,
    pub(super) writes: bool,
    /// Node labels it must have, as a live volume's node.
    pub(super) node: Option<Value>,
    /// Lists of terms of a node selector, of each of which one has to hold.
    pub(super) near: &'a [Value],
    /// Partial pod spec of the workload (W-5).
    pub(super) placement: &'a Value,
    /// With what it reaches the store.
    pub(super) access: &'a MoverAccess,
    /// Whom it runs as without privileges, in the application's namespace; `None` for root with a few of them.
    pub(super) user: Option<&'a User>,
}

impl MoverPod<'_> {
    /// The pod. It mounts what it reads read-only, has no service account token, and may do to the
    /// volumes only what its direction needs.
    pub(super) fn body(&self) -> Value {
        let containers: Vec<Value> = (0..self.mounts.len())
            .map(|number| self.container(number))
            .collect();
        let mut spec = self.scheduling();
        spec.extend([
            ("restartPolicy".into(), "Never".into()),
            ("activeDeadlineSeconds".into(), DEADLINE.into()),
            ("terminationGracePeriodSeconds".into(), 10.into()),
            ("automountServiceAccountToken".into(), false.into()),
            ("enableServiceLinks".into(), false.into()),
            ("securityContext".into(), self.security()),
            ("containers".into(), containers.into()),
            ("volumes".into(), self.volumes()),
        ]);
        let mut metadata = json!({
            "name": self.name, "namespace": self.namespace,
            "labels": {RUN: self.run, MOVER: self.run, "app.kubernetes.io/name": "ferry-mover"},
            "annotations": {CLAIM: self.claims},
        });
        if self.user.is_some() {
            // A mesh of the application's would add a container that never ends.
            metadata["labels"]["sidecar.istio.io/inject"] = "false".into();
            metadata["annotations"]["linkerd.io/inject"] = "disabled".into();
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    /// What works at one claim. It sees that claim and no other.
    fn container(&self, number: usize) -> Value {
        let mode = self.mounts[number].1;
        let (mount, path) = match mode {
            VolumeMode::Filesystem => ("volumeMounts", "mountPath"),
            VolumeMode::Block => ("volumeDevices", "devicePath"),
        };
        let mut volume = json!({"name": volume(number), path: VOLUME});
        if mode == VolumeMode::Filesystem && !self.writes {
            volume["readOnly"] = true.into();
        }
        let job = format!("{JOBS}/{}", job_file(number));
        let mut container = json!({
            "name": container(number),
            "image": self.image,
            "args": ["mover", "run", "--job", job],
            "env": self.environment(),
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"},
                "limits": {"memory": "1Gi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": self.capabilities(),
            },
            "volumeMounts": [
                {"name": "job", "mountPath": JOBS, "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        });
        match container.get_mut(mount).and_then(Value::as_array_mut) {
            Some(mounts) => mounts.push(volume),
            None => container[mount] = json!([volume]),
        }
        container
    }

    fn capabilities(&self) -> Value {
        match (self.user, self.writes) {
            (Some(_), _) => json!({"drop": ["ALL"]}),
            (None, true) => json!({"drop": ["ALL"], "add": WRITING}),
            (None, false) => json!({"drop": ["ALL"], "add": READING}),
        }
    }

    /// Whom it runs as. What is read never gets a group of ours: the kubelet would give it to every file. What is
    /// written gets the workload's, as it would from the workload's own pod, unless its root has it already.
    fn security(&self) -> Value {
        let seccomp = json!({"type": "RuntimeDefault"});
        let Some(user) = self.user else {
            return json!({"runAsUser": 0, "runAsGroup": 0, "seccompProfile": seccomp});
        };
        let mut context = json!({"runAsNonRoot": true, "seccompProfile": seccomp});
        if let Some(uid) = user.uid {
            context["runAsUser"] = uid.into();
        }
        if let Some(gid) = user.gid {
            context["runAsGroup"] = gid.into();
        }
        let mut groups = user.groups.clone();
        let group = user.fs_group.or(user.gid).or(user.uid);
        match (self.writes, group) {
            (true, Some(group)) => {
                context["fsGroup"] = group.into();
                context["fsGroupChangePolicy"] = "OnRootMismatch".into();
            }
            _ => groups.extend(user.fs_group),
        }
        if !groups.is_empty() {
            context["supplementalGroups"] = groups.into();
        }
        context
    }

    fn volumes(&self) -> Value {
        // Only the mover is in its pod: what it may not read as root, it reads as anybody.
        let readable = if self.user.is_some() { 0o444 } else { 0o400 };
        let mut volumes = vec![
            json!({"name": "job", "secret": {"secretName": self.secret, "defaultMode": readable}}),
            json!({"name": "tmp", "emptyDir": {}}),
        ];
        for (number, (mounts, mode)) in self.mounts.iter().enumerate() {
            let mut claim = json!({"claimName": mounts});
            if self.user.is_some() && !self.writes && *mode == VolumeMode::Filesystem {
                // A cluster that adds a group to every pod, as OpenShift does, changes nothing on what is read-only.
                claim["readOnly"] = true.into();
            }
            volumes.push(json!({"name": volume(number), "persistentVolumeClaim": claim}));
        }
        volumes.into()
    }

    /// The Secret that holds the jobs and the store's credentials. Its name is new for every pod: a
    /// kubelet keeps an immutable Secret it has read, and would hand the next mover the last one's job.
    pub(super) fn secret(&self, jobs: &[String]) -> Value {
        let jobs = jobs.iter().enumerate();
        let jobs = jobs.map(|(number, job)| (job_file(number), job.as_str().into()));
        let mut data: Map<String, Value> = jobs.collect();
        let variables = self.access.variables.iter();
        data.extend(variables.map(|(name, value)| (name.clone(), value.as_str().into())));
        if let Some(authorities) = &self.access.authorities {
            data.insert(CA_FILE.into(), authorities.as_str().into());
        }
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": self.secret, "namespace": self.namespace,
                "labels": {RUN: self.run, MOVER: self.run},
            },
            "immutable": true,
            "stringData": data,
        })
    }

    fn environment(&self) -> Vec<Value> {
        let log = json!({"name": "FERRY_LOG", "value": "ferry=warn"});
        let stored = self.access.variables.keys().map(|name| {
            json!({"name": name, "valueFrom": {"secretKeyRef": {"name": self.secret, "key": name}}})
        });
        let trusted = self
            .access
            .authorities
            .iter()
            .map(|_| json!({"name": AUTHORITIES, "value": format!("{JOBS}/{CA_FILE}")}));
        std::iter::once(log).chain(stored).chain(trusted).collect()
    }

    /// Where it may run. Of the workload's affinity only the part about nodes: the pods the rest
    /// speaks of are not in Ferry's namespace, so it would match nothing, or forbid everything.
    fn scheduling(&self) -> Map<String, Value> {
        let mut spec = Map::new();
        let mut selector = Map::new();
        if let Some(Value::Object(wanted)) = self.placement.get("nodeSelector") {
            selector.extend(wanted.clone());
        }
        if let Some(Value::Object(node)) = &self.node {
            selector.extend(node.clone());
        }
        if !selector.is_empty() {
            spec.insert("nodeSelector".into(), selector.into());
        }
        if let Some(tolerations) = self
            .placement
            .get("tolerations")
            .filter(|list| list.is_array())
        {
            spec.insert("tolerations".into(), tolerations.clone());
        }
        let nodes = self.placement.pointer("/affinity/nodeAffinity");
        let mut nodes = nodes.cloned().unwrap_or_default();
        for terms in self.near {
            const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
            nodes[REQUIRED]["nodeSelectorTerms"] =
                both(&nodes[REQUIRED]["nodeSelectorTerms"], terms);
        }
        if !nodes.is_null() {
            spec.insert("affinity".into(), json!({"nodeAffinity": nodes}));
        }
        spec
    }
}

/// What the container of one of a mover's claims is called.
pub(super) fn container(number: usize) -> String {
    format!("mover-{number}")
}

fn volume(number: usize) -> String {
    format!("volume-{number}")
}

/// A job's file in the folder of jobs, and its key in the Secret.
fn job_file(number: usize) -> String {
    format!("{}.json", container(number))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn pod(mode: VolumeMode, writes: bool, placement: &Value) -> Value {
        pod_as(None, mode, writes, placement)
    }

    fn pod_as(user: Option<&User>, mode: VolumeMode, writes: bool, placement: &Value) -> Value {
        with_pod((user, mode, writes, placement), |pod| pod.body())
    }

    fn with_pod(
        (user, mode, writes, placement): (Option<&User>, VolumeMode, bool, &Value),
        see: impl Fn(&MoverPod<'_>) -> Value,
    ) -> Value {
        let zone =
            json!([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z"]}]}]);
        see(&MoverPod {
            run: "r",
            namespace: "ferry-r",
            secret: "s",
            name: "p",
            image: "i",
            claims: "shop/c, shop/d",
            mounts: vec![("m", mode), ("n", VolumeMode::Block)],
            writes,
            node: Some(json!({"kubernetes.io/hostname": "n1"})),
            near: &[zone],
            placement,
            access: &access(),
            user,
        })
    }

    fn access() -> MoverAccess {
        MoverAccess {
            by_network: true,
            variables: BTreeMap::from([("AWS_SECRET_ACCESS_KEY".into(), "hush".into())]),
            authorities: Some("certificates".into()),
            depot: None,
        }
    }

    #[test]
    fn a_reading_mover_mounts_read_only_with_one_capability() {
        let body = pod(VolumeMode::Filesystem, false, &Value::Null);
        let container = &body["spec"]["containers"][0];
        assert_eq!(container["volumeMounts"][2]["readOnly"], true);
        assert_eq!(
            container["securityContext"]["capabilities"]["add"],
            json!(["DAC_READ_SEARCH"])
        );
        assert_eq!(body["spec"]["automountServiceAccountToken"], false);
        assert_eq!(body["spec"]["nodeSelector"]["kubernetes.io/hostname"], "n1");
        assert!(body["spec"].get("nodeName").is_none(), "W-5");
        assert!(body.to_string().contains("AWS_SECRET_ACCESS_KEY"));
        assert!(
            !body.to_string().contains("hush"),
            "a pod shows no credentials"
        );
        let trusted = json!({"name": "AWS_CA_BUNDLE", "value": "/job/store-ca.pem"});
        let variables = container["env"].as_array().unwrap();
        assert!(variables.contains(&trusted), "{variables:?}");
    }

    #[test]
    fn a_mover_without_privileges_asks_for_none_and_gives_no_group_to_what_it_reads() {
        let user = User {
            uid: Some(1000),
            gid: None,
            fs_group: Some(2000),
            groups: vec![3000],
        };
        let at = |writes| {
            pod_as(Some(&user), VolumeMode::Filesystem, writes, &Value::Null)["spec"].clone()
        };
        let reads = at(false);
        let security = &reads["containers"][0]["securityContext"];
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
        let context = json!({
            "runAsNonRoot": true, "runAsUser": 1000, "supplementalGroups": [3000, 2000],
            "seccompProfile": {"type": "RuntimeDefault"},
        });
        assert_eq!(reads["securityContext"], context);
        assert_eq!(
            reads["volumes"][2]["persistentVolumeClaim"]["readOnly"],
            true
        );
        let writes = at(true);
        assert_eq!(writes["securityContext"]["fsGroup"], 2000);
        assert_eq!(
            writes["securityContext"]["fsGroupChangePolicy"],
            "OnRootMismatch"
        );
        assert_eq!(
            writes["securityContext"]["supplementalGroups"],
            json!([3000])
        );
    }

    #[test]
    fn a_block_volume_is_a_device_and_not_a_mount() {
        let body = pod(VolumeMode::Block, true, &Value::Null);
        let container = &body["spec"]["containers"][0];
        assert_eq!(container["volumeDevices"][0]["devicePath"], VOLUME);
        assert_eq!(container["volumeMounts"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn the_workloads_node_rules_are_taken_and_its_pod_rules_are_not() {
        let disk = |key: &str| json!({"key": key, "operator": "Exists"});
        let rules = |terms: Value| json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        let placement = json!({
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "db", "operator": "Exists"}],
            "affinity": {
                "nodeAffinity": rules(json!([{"matchExpressions": [disk("a")]}])),
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []},
            },
        });
        let spec = pod(VolumeMode::Filesystem, true, &placement)["spec"].clone();
        assert_eq!(spec["nodeSelector"]["disk"], "ssd");
        assert_eq!(spec["tolerations"], placement["tolerations"]);
        let zone = json!({"key": "zone", "operator": "In", "values": ["z"]});
        let both = rules(json!([{"matchExpressions": [disk("a"), zone]}]));
        assert_eq!(
            spec["affinity"],
            json!({"nodeAffinity": both}),
            "and it is near what others carried"
        );
    }

    #[test]
    fn claims_of_one_mover_have_a_container_a_job_and_a_mode_each() {
        let body = pod(VolumeMode::Filesystem, true, &Value::Null);
        let containers = body["spec"]["containers"].as_array().unwrap();
        let names: Vec<&str> = containers
            .iter()
            .filter_map(|one| one["name"].as_str())
            .collect();
        assert_eq!(names, ["mover-0", "mover-1"]);
        let second = &containers[1];
        assert_eq!(
            second["args"],
            json!(["mover", "run", "--job", "/job/mover-1.json"])
        );
        assert_eq!(
            second["volumeDevices"],
            json!([{"name": "volume-1", "devicePath": VOLUME}])
        );
        assert!(
            !second["volumeMounts"].to_string().contains("volume-"),
            "it sees no other claim"
        );
        let claims = body["spec"]["volumes"].as_array().unwrap()[2..].iter();
        let claims: Vec<_> = claims
            .map(|volume| &volume["persistentVolumeClaim"]["claimName"])
            .collect();
        assert_eq!(claims, ["m", "n"]);
        let ways = (None, VolumeMode::Block, true, &Value::Null);
        let secret = with_pod(ways, |pod| pod.secret(&["one".into(), "two".into()]));
        assert_eq!(secret["stringData"]["mover-1.json"], "two");
    }
}
