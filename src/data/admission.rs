//! Whether a cluster would take movers, asked before anything is written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::api::{Api, NAMESPACE, POD};
use super::movers::{ClusterMovers, namespace_body, place};
use super::pod::MoverPod;
use super::{DataError, names};
use crate::capture::User;
use crate::cluster::{Cluster, ClusterError, MANAGER};
use crate::object::{Object, ObjectId};
use crate::plan::VolumeMove;

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
    /// application's.
    ///
    /// # Errors
    /// [`DataError::Refused`] with the cluster's words.
    pub async fn admitted<'a>(
        &self,
        moves: impl IntoIterator<Item = &'a VolumeMove>,
    ) -> Result<(), DataError> {
        let mut asked: BTreeMap<(bool, &str), (&ObjectId, &User)> = BTreeMap::new();
        let mut privileged = [false; 2];
        for volume in moves {
            let sides = [
                (false, &volume.source, &volume.reads_as),
                (true, &volume.target, &volume.writes_as),
            ];
            for (writes, claim, user) in sides {
                match user {
                    None => privileged[usize::from(writes)] = true,
                    Some(user) => {
                        let asked = asked.entry((writes, place(claim).0));
                        asked.or_insert((claim, user));
                    }
                }
            }
        }
        for (cluster, _) in [&self.source, &self.target]
            .into_iter()
            .zip(privileged)
            .filter(|(_, privileged)| *privileged)
        {
            let Some(cluster) = cluster else { continue };
            let api = Api::new(cluster, "(any)");
            let answer = refuses_namespace(cluster).await;
            let answer = answer.map_err(api.failed("ask for a namespace"))?;
            if let Some(answer) = answer {
                return Err(no_namespace(cluster, answer));
            }
        }
        for ((writes, namespace), (claim, user)) in asked {
            let cluster = if writes { &self.target } else { &self.source };
            let (Some(cluster), Some(image)) = (cluster, self.settings.image.as_deref()) else {
                continue;
            };
            let api = Api::new(cluster, names::claim(claim));
            let name = names::object(ASKING, "mover", &api.claim);
            let pod = MoverPod {
                run: ASKING,
                namespace,
                name: &name,
                secret: &name,
                image,
                claim: &api.claim,
                mounts: &claim.name,
                mode: crate::capture::VolumeMode::Filesystem,
                writes,
                node: None,
                placement: &Value::Null,
                access: &self.store.access,
                user: Some(user),
            };
            let body = api.object(pod.body())?;
            let answer = cluster.would_create(&POD, &body, MANAGER).await;
            let answer = refusal(answer).map_err(api.failed("ask for a mover's pod"))?;
            if let Some(answer) = answer {
                return Err(DataError::Refused {
                    cluster: cluster.name().into(),
                    what: format!("a mover without privileges in namespace {namespace}"),
                    answer,
                    next: "change what it objects to, or move with privileges in a namespace of Ferry's, without \
                           --unprivileged"
                        .into(),
                });
            }
        }
        Ok(())
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
