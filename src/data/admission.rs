//! Whether a cluster would take movers, asked before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::access::{Access, present};
use super::api::{Api, CLAIM, NAMESPACE, POD};
use super::clones;
use super::movers::{ClusterMovers, named, namespace_body, place};
use super::pod::MoverPod;
use super::{DataError, names};
use crate::capture::{Consistency, User, VolumeMode};
use crate::cluster::{ApplyOptions, Cluster, ClusterError, MANAGER};
use crate::event::Direction;
use crate::object::{Object, ObjectId};
use crate::plan::{CLONE_ANNOTATION, VolumeMove};

/// What to do about a cluster that refuses the namespace.
pub const WITHOUT_NAMESPACE: &str = "let an administrator allow namespaces ferry-* at Pod Security level privileged, \
                                     or move without privileges: --unprivileged";

/// Stands for a run that is not there yet.
const ASKING: &str = "preflight";

/// In what words a cluster refuses the namespace in which movers with privileges work; `None` when it would take it.
/// Rights that the user lacks are not its business.
///
/// # Errors
/// When the cluster does not answer.
pub async fn refuses_namespace(cluster: &Cluster) -> Result<Option<String>, ClusterError> {
    let Ok(body) = Object::new(namespace_body(ASKING)) else {
        return Ok(None);
    };
    let answer = cluster.would_create(&NAMESPACE, &body, MANAGER).await;
    refusal(answer)
}

impl ClusterMovers {
    /// Asks each cluster for what movers need: a namespace of Ferry's, or, without privileges, a pod in each of the
    /// application's; and A for clones of claims, and for Ferry's label on those that are frozen together by it.
    ///
    /// # Errors
    /// [`DataError::Refused`] with the cluster's words.
    pub async fn admitted<'a>(
        &self,
        moves: impl IntoIterator<Item = &'a VolumeMove>,
    ) -> Result<(), DataError> {
        let (mut privileged, mut cloned) = (BTreeSet::new(), BTreeSet::new());
        let mut asked = BTreeMap::new();
        for volume in moves {
            self.takes_label(volume).await?;
            if cloned.insert(&volume.source) {
                self.takes_clone(volume).await?;
            }
            for way in [Direction::Save, Direction::Load] {
                match named(volume, way) {
                    (_, _, None) => {
                        privileged.insert(way);
                    }
                    (claim, _, Some(user)) => {
                        asked.entry((way, place(claim).0)).or_insert((claim, user));
                    }
                }
            }
        }
        for way in privileged {
            self.takes_namespace(way).await?;
        }
        for ((way, _), (claim, user)) in asked {
            self.takes_pod(way, claim, user).await?;
        }
        Ok(())
    }

    /// Whether A takes the label on a claim that is chosen by it.
    async fn takes_label(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let chosen = volume.together.as_ref().and_then(|one| one.labels.as_ref());
        let (None, Consistency::Together, Some(cluster)) =
            (chosen, volume.consistency, &self.source)
        else {
            return Ok(());
        };
        let api = Api::new(cluster, names::claim(&volume.source));
        let (namespace, name) = place(&volume.source);
        let claim = api.object(json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": namespace, "name": name, "labels": {names::FREEZE: ASKING}},
        }))?;
        let options = ApplyOptions {
            manager: MANAGER,
            force: false,
            dry_run: true,
        };
        let answer = cluster.apply(&CLAIM, &claim, &options).await;
        let answer = refusal(answer).map_err(api.failed("ask for a label"))?;
        answer.map_or(Ok(()), |answer| {
            Err(DataError::Refused {
                cluster: cluster.name().into(),
                what: format!("the label {} on claim {}", names::FREEZE, api.claim),
                answer,
                next: "change what it objects to, or leave out --group-snapshots label".into(),
            })
        })
    }

    /// Whether A takes a clone's claim beside the claim: it counts there against the quota.
    async fn takes_clone(&self, volume: &VolumeMove) -> Result<(), DataError> {
        let (Consistency::Clone, None, Some(cluster)) =
            (volume.consistency, &volume.saved, &self.source)
        else {
            return Ok(());
        };
        let api = Api::new(cluster, names::claim(&volume.source));
        let (namespace, name) = place(&volume.source);
        let claim = present(&api, namespace, name).await?;
        let clone = names::object(ASKING, "save", &api.claim);
        let access = Access {
            api: &api,
            run: ASKING,
            namespace,
            name: &clone,
        };
        let body = api.object(clones::body(&access, &claim, None))?;
        let answer = cluster.would_create(&CLAIM, &body, MANAGER).await;
        let answer = refusal(answer).map_err(api.failed("ask for a clone"))?;
        answer.map_or(Ok(()), |answer| {
            let class = claim.text("/spec/storageClassName").unwrap_or_default();
            Err(DataError::Refused {
                cluster: cluster.name().into(),
                what: format!("a temporary claim in namespace {namespace}, a clone of claim {name}"),
                answer,
                next: format!(
                    "make room for it, or annotate StorageClass {class} with {CLONE_ANNOTATION}=false, which takes a \
                     snapshot, or reads the claim live where that cannot be"
                ),
            })
        })
    }

    /// Whether the cluster of that way takes Ferry's namespace.
    async fn takes_namespace(&self, way: Direction) -> Result<(), DataError> {
        let Some(cluster) = self.cluster(way) else {
            return Ok(());
        };
        let api = Api::new(cluster, "(any)");
        let answer = refuses_namespace(cluster).await;
        match answer.map_err(api.failed("ask for a namespace"))? {
            Some(answer) => Err(no_namespace(cluster, answer)),
            None => Ok(()),
        }
    }

    /// Whether the cluster of that way takes a mover without privileges beside a claim.
    async fn takes_pod(
        &self,
        way: Direction,
        claim: &ObjectId,
        user: &User,
    ) -> Result<(), DataError> {
        let (Some(cluster), Some(image)) = (self.cluster(way), self.settings.image.as_deref())
        else {
            return Ok(());
        };
        let api = Api::new(cluster, names::claim(claim));
        let name = names::object(ASKING, "mover", &api.claim);
        let namespace = place(claim).0;
        let pod = MoverPod {
            run: ASKING,
            namespace,
            name: &name,
            secret: &name,
            image,
            claims: &api.claim,
            mounts: vec![(&claim.name, VolumeMode::Filesystem)],
            writes: way == Direction::Load,
            node: None,
            near: &[],
            placement: &Value::Null,
            access: &self.store.access,
            user: Some(user),
        };
        let body = api.object(pod.body())?;
        let answer = cluster.would_create(&POD, &body, MANAGER).await;
        let answer = refusal(answer).map_err(api.failed("ask for a mover's pod"))?;
        answer.map_or(Ok(()), |answer| {
            Err(DataError::Refused {
                cluster: cluster.name().into(),
                what: format!("a mover without privileges in namespace {namespace}"),
                answer,
                next: "change what it objects to, or move with privileges in a namespace of Ferry's, without \
                       --unprivileged"
                    .into(),
            })
        })
    }
}

/// A cluster that does not take Ferry's namespace, in its own words.
pub(super) fn no_namespace(cluster: &Cluster, answer: String) -> DataError {
    DataError::Refused {
        cluster: cluster.name().into(),
        what: "the privileged namespace that movers work in".into(),
        answer,
        next: WITHOUT_NAMESPACE.into(),
    }
}

/// What a server has against an object, when that is what its answer is about.
fn refusal(answer: Result<Object, ClusterError>) -> Result<Option<String>, ClusterError> {
    let Err(error) = answer else { return Ok(None) };
    let Some(failure) = error.failure() else {
        return Err(error);
    };
    let (status, message) = (failure.status, failure.message.as_str());
    let has = |text: &str| message.contains(text);
    // A namespace that comes with the plan, as its service account does; rights, which are asked by themselves; and
    // webhooks that take no part in dry runs.
    let silent = status == 404
        || has("error looking up service account")
        || has("cannot create resource")
        || (status == 400 && has("dry run") && has("webhook"));
    Ok((!silent).then(|| message.to_owned()))
}
