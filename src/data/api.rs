//! The few kinds a data move touches, and calls on them that say which claim they are about.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::Value;

use super::DataError;
use super::wait::Wait;
use crate::cluster::{Cluster, ClusterError, Delete, ListOptions, MANAGER, Patch, Place};
use crate::object::Object;
use crate::surface::ApiResource;

/// A kind whose API is stable, so that no discovery is needed to use it.
pub(super) type Kind = LazyLock<ApiResource>;

macro_rules! kinds {
    ($($name:ident: $group:literal $kind:literal $plural:literal $namespaced:literal;)*) => {
        $(pub(super) static $name: Kind = LazyLock::new(|| ApiResource {
            group: $group.into(),
            version: "v1".into(),
            kind: $kind.into(),
            plural: $plural.into(),
            namespaced: $namespaced,
            verbs: Default::default(),
            preferred: true,
            subresources: Default::default(),
        });)*
    };
}

kinds! {
    NAMESPACE: "" "Namespace" "namespaces" false;
    NODE: "" "Node" "nodes" false;
    EVENT: "" "Event" "events" true;
    POD: "" "Pod" "pods" true;
    SECRET: "" "Secret" "secrets" true;
    SERVICE: "" "Service" "services" true;
    CLAIM: "" "PersistentVolumeClaim" "persistentvolumeclaims" true;
    VOLUME: "" "PersistentVolume" "persistentvolumes" false;
    STORAGE_CLASS: "storage.k8s.io" "StorageClass" "storageclasses" false;
    SNAPSHOT: "snapshot.storage.k8s.io" "VolumeSnapshot" "volumesnapshots" true;
    SNAPSHOT_CONTENT:
        "snapshot.storage.k8s.io" "VolumeSnapshotContent" "volumesnapshotcontents" false;
    SNAPSHOT_CLASS: "snapshot.storage.k8s.io" "VolumeSnapshotClass" "volumesnapshotclasses" false;
}

/// One cluster, seen while working on one claim.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) cluster: Cluster,
    /// `namespace/claim`, for errors and events.
    pub(super) claim: String,
}

impl Api {
    pub(super) fn new(cluster: &Cluster, claim: impl Into<String>) -> Self {
        Self {
            cluster: cluster.clone(),
            claim: claim.into(),
        }
    }

    /// Turns a refusal into an error about this claim.
    pub(super) fn failed(
        &self,
        action: impl Into<String>,
    ) -> impl FnOnce(ClusterError) -> DataError {
        let (action, claim) = (action.into(), self.claim.clone());
        move |source| DataError::Cluster {
            action,
            claim,
            source: Box::new(source),
        }
    }

    pub(super) async fn get(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Object>, DataError> {
        let place = Place {
            resource: kind,
            namespace,
            name,
        };
        self.cluster
            .get(place)
            .await
            .map_err(self.failed(format!("read a {}", kind.kind)))
    }

    /// Creates the object, or finds the one an earlier attempt made.
    pub(super) async fn ensure(
        &self,
        kind: &ApiResource,
        body: Value,
    ) -> Result<Object, DataError> {
        let object = self.object(body)?;
        match self.cluster.create(kind, &object, MANAGER).await {
            Ok(created) => Ok(created),
            // After a broken connection nobody knows whether it was made: look.
            Err(error) if error.is_already_exists() || error.is_transport() => {
                let found = self.get(kind, object.namespace(), object.name()).await?;
                found
                    .ok_or(error)
                    .map_err(self.failed(format!("create a {}", kind.kind)))
            }
            Err(error) => Err(self.failed(format!("create a {}", kind.kind))(error)),
        }
    }

    /// Makes a namespace, or finds it; one that is on its way out is waited for, but no longer than `limit`.
    pub(super) async fn live_namespace(
        &self,
        body: Value,
        limit: Duration,
    ) -> Result<(), DataError> {
        let mut wait = Wait::begin();
        loop {
            let found = self.ensure(&NAMESPACE, body.clone()).await?;
            if !found.is_going() {
                return Ok(());
            }
            if wait.elapsed() > limit {
                let name = found.name();
                return Err(self.unusable(format!(
                    "Namespace {name} has been terminating for {} s; `kubectl get namespace {name} -o yaml` says what \
                     holds it",
                    limit.as_secs()
                )));
            }
            wait.pause().await;
        }
    }

    pub(super) async fn merge(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        patch: Value,
    ) -> Result<Object, DataError> {
        let place = Place {
            resource: kind,
            namespace,
            name,
        };
        let patched = self
            .cluster
            .patch(place, None, &Patch::Merge(patch), MANAGER)
            .await;
        patched.map_err(self.failed(format!("change a {}", kind.kind)))
    }

    pub(super) async fn delete(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), DataError> {
        let place = Place {
            resource: kind,
            namespace,
            name,
        };
        let deleted = self.cluster.delete(place, &Delete::default()).await;
        deleted
            .map(drop)
            .map_err(self.failed(format!("delete a {}", kind.kind)))
    }

    pub(super) async fn list(
        &self,
        kind: &ApiResource,
        namespace: Option<&str>,
        labels: Option<String>,
    ) -> Result<Vec<Object>, DataError> {
        let options = ListOptions {
            labels,
            fields: None,
        };
        match self.cluster.list(kind, namespace, &options).await {
            // The kind is not served: there is none of it.
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            listed => listed.map_err(self.failed(format!("list {}", kind.plural))),
        }
    }

    /// What the cluster last complained about concerning an object; for messages, so a refusal to
    /// show events is no error.
    pub(super) async fn complaint(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Option<String> {
        let fields = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
        let options = ListOptions {
            labels: None,
            fields: Some(fields),
        };
        let events = self
            .cluster
            .list(&EVENT, Some(namespace), &options)
            .await
            .ok()?;
        let when = |event: &Object| {
            let time = event
                .text("/lastTimestamp")
                .or_else(|| event.text("/eventTime"));
            time.or_else(|| event.text("/metadata/creationTimestamp"))
                .unwrap_or_default()
                .to_owned()
        };
        let last = events.into_iter().max_by_key(when)?;
        let text = |pointer: &str| last.text(pointer).unwrap_or_default().to_owned();
        Some(format!("{}: {}", text("/reason"), text("/message")))
    }

    pub(super) fn object(&self, body: Value) -> Result<Object, DataError> {
        Object::new(body).map_err(|source| DataError::Cluster {
            action: "describe an object".into(),
            claim: self.claim.clone(),
            source: Box::new(source),
        })
    }

    /// An error about this claim's own state.
    pub(super) fn unusable(&self, reason: impl Into<String>) -> DataError {
        DataError::Claim {
            claim: self.claim.clone(),
            reason: reason.into(),
        }
    }
}
