//! Clones of claims on A: volumes that the driver makes of theirs, as they are at one moment.
//!
//! ```text
//! application's namespace                    Ferry's namespace
//! claim ◀── its clone, a temporary claim ──  twin of the clone ◀── mover
//! ```
//!
//! A claim can be made of others in its own namespace only. So the clone stands beside the application and counts there
//! against its quota until its data has been read. Without privileges the mover works there and mounts the clone itself.
//!
//! Where volumes wait for their first consumer, a clone would wait for the mover, and show a moment long after that of
//! the others; and its twin would wait for ever. So the node is named for which it is made, as the scheduler would:
//! where a pod uses the claim, else one from which its volume can be reached. Clouds clone within a zone only, so that
//! is done with every class.
//!
//! A clone that fails is an error: the claim itself would not show what the plan says.

use std::time::Duration;

use serde_json::{Value, json};

use super::DataError;
use super::access::{self, Access, BIND, NUDGE, waits_for_consumer};
use super::api::{Api, CLAIM, NODE};
use super::movers::{ClusterMovers, place};
use super::names::SELECTED_NODE;
use super::wait::{Doubt, Wait};
use crate::capture::is_within_reach;
use crate::event::{Event, Events};
use crate::object::Object;
use crate::plan::{CLONE_ANNOTATION, VolumeMove};

/// How long a driver may take that copies before it answers: 360 GB at 100 MB/s.
const READY: Duration = Duration::from_secs(60 * 60);
/// How long a refusal may stand before it is believed; the provisioner retries on its own.
const DOUBT: Duration = Duration::from_secs(30);
/// How often a user who waits is told for what.
const TELL: Duration = Duration::from_secs(10);
/// What a driver answers that is still at work, or away for a moment.
const BUSY: [&str; 4] = ["Aborted", "Canceled", "DeadlineExceeded", "Unavailable"];

/// Places a clone where its claim is, under the name of all that is made to save that.
struct Cloner<'a> {
    access: Access<'a>,
    /// The claim on A.
    origin: &'a Object,
    events: &'a Events,
}

impl ClusterMovers {
    /// Clones the claim, or finds the clone this run made before, and waits until it has its volume. Where no node can be
    /// named, it waits for the mover instead, which mounts it then.
    pub(super) async fn cloned(
        &self,
        api: &Api,
        volume: &VolumeMove,
        origin: &Object,
    ) -> Result<Object, DataError> {
        let name = super::names::object(&self.settings.run, "save", &api.claim);
        let (namespace, _) = place(&volume.source);
        let cloner = Cloner {
            access: Access {
                api,
                run: &self.settings.run,
                namespace,
                name: &name,
            },
            origin,
            events: &self.events,
        };
        let node = match access::used_on(api, namespace, origin).await? {
            // Without privileges there are no rights on nodes.
            None if volume.reads_as.is_none() => Some(cloner.node().await?),
            used => used,
        };
        cloner.take(node.as_deref()).await
    }
}

/// The claim that a clone is.
pub(super) fn body(access: &Access<'_>, origin: &Object, node: Option<&str>) -> Value {
    let mut metadata = access.metadata();
    metadata["namespace"] = access.namespace.into();
    if let Some(node) = node {
        metadata["annotations"][SELECTED_NODE] = node.into();
    }
    let size = [
        "/status/capacity/storage",
        "/spec/resources/requests/storage",
    ];
    let size = size.into_iter().find_map(|at| origin.pointer(at));
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
        "spec": {
            // Nobody else mounts it, and every driver that makes volumes can make this kind.
            "accessModes": ["ReadWriteOnce"],
            "volumeMode": origin.text("/spec/volumeMode").unwrap_or("Filesystem"),
            "resources": {"requests": {"storage": size}},
            "storageClassName": origin.pointer("/spec/storageClassName"),
            "dataSource": {"kind": "PersistentVolumeClaim", "name": origin.name()},
        },
    })
}

impl Cloner<'_> {
    async fn take(&self, node: Option<&str>) -> Result<Object, DataError> {
        let Access { api, .. } = self.access;
        let mut made = api
            .ensure(&CLAIM, body(&self.access, self.origin, node))
            .await?;
        if let (None, Some(node)) = (made.annotation(SELECTED_NODE), node) {
            // Of an earlier attempt: a provisioner that can do nothing with a node takes its name away.
            let named = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
            let Access {
                namespace, name, ..
            } = self.access;
            made = api.merge(&CLAIM, Some(namespace), name, named).await?;
        }
        match node.is_none() && waits_for_consumer(api, &made).await? {
            true => Ok(made),
            false => self.bound(made).await,
        }
    }

    /// A node from which the claim's volume can be reached.
    async fn node(&self) -> Result<String, DataError> {
        let Access { api, .. } = self.access;
        let volume = access::behind(api, self.origin).await?;
        let nodes = api.list(&NODE, None, None).await?;
        let mut nodes = nodes.iter().filter(|node| is_within_reach(&volume, node));
        let node = nodes.next().map(|node| node.name().to_owned());
        node.ok_or_else(|| api.unusable("its volume can be reached from no node that there is"))
    }

    /// Waits until the driver has made the volume.
    async fn bound(&self, mut clone: Object) -> Result<Object, DataError> {
        let Access {
            api,
            namespace,
            name,
            ..
        } = self.access;
        let (mut wait, mut told, mut doubt) = (Wait::begin(), TELL, Doubt::default());
        let mut nudges = 1;
        while clone.text("/status/phase") != Some("Bound") {
            let said = api.complaint(&CLAIM.kind, namespace, name).await;
            let refusal = said.as_deref().filter(|said| is_refusal(said));
            if let Some(said) = doubt.believed(refusal, DOUBT) {
                return Err(self.failed(said));
            }
            let said = said.unwrap_or_else(|| "no provisioner has spoken".into());
            if wait.elapsed() > READY {
                let minutes = READY.as_secs() / 60;
                return Err(self.failed(&format!("not made after {minutes} min: {said}")));
            }
            if wait.elapsed() > told {
                told += TELL;
                self.events.send(Event::Waiting {
                    object: clone.id(),
                    message: said,
                });
            }
            if wait.elapsed() > (NUDGE * nudges) && wait.elapsed() < BIND {
                self.access.nudge(nudges).await?;
                nudges += 1;
            }
            wait.pause().await;
            let found = api.get(&CLAIM, Some(namespace), name).await?;
            clone = found.ok_or_else(|| self.failed("somebody else deleted it"))?;
        }
        Ok(clone)
    }

    fn failed(&self, said: &str) -> DataError {
        let class = self
            .origin
            .text("/spec/storageClassName")
            .unwrap_or_default();
        DataError::Clone {
            claim: self.access.api.claim.clone(),
            reason: format!(
                "{said}; see to that and resume, or annotate StorageClass {class} with {CLONE_ANNOTATION}=false and \
                 plan again, which takes a snapshot, or reads the claim live where that cannot be"
            ),
        }
    }
}

/// Whether a complaint about a claim that is made of another, or of a snapshot, is a refusal, and not that it takes its time.
pub(super) fn is_refusal(said: &str) -> bool {
    !BUSY
        .iter()
        .any(|code| said.contains(&format!("code = {code} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_at_work_has_not_refused() {
        let said = "ProvisioningFailed: failed to provision volume with StorageClass \"fast\": rpc error: code = ";
        for (code, refused) in [
            ("Aborted desc = clone from snapshot is in progress", false),
            ("DeadlineExceeded desc = context deadline exceeded", false),
            ("Unavailable desc = connection refused", false),
            ("InvalidArgument desc = Aborted is no size", true),
            ("Unimplemented desc = no clones", true),
        ] {
            assert_eq!(is_refusal(&format!("{said}{code}")), refused, "{code}");
        }
        assert!(is_refusal(
            "ProvisioningFailed: CSI driver does not support clone operations"
        ));
    }
}
