//! Freezing claims on A, and handing the frozen data to Ferry's own namespace.
//!
//! ```text
//! application's namespace            cluster-wide                        Ferry's namespace
//! VolumeSnapshot ◀─▶ content (owns the storage's snapshot)
//!                                    second content, Retain ◀─▶ VolumeSnapshot ─▶ temporary claim
//! ```
//!
//! Both contents name one snapshot of the storage. Exactly one owns its deletion: the first, made by
//! the driver's controller; the second always says Retain. Whatever a killed run leaves behind, the
//! user can still delete by deleting the VolumeSnapshot. Removal goes the other way round: claims
//! first (a snapshot hangs while a claim names it as its source), then the second pair, then the first.

use std::time::Duration;

use serde_json::{Value, json};

use super::DataError;
use super::api::{Api, SNAPSHOT, SNAPSHOT_CLASS, SNAPSHOT_CONTENT};
use super::group::Group;
use super::movers::ClusterMovers;
use super::names;
use super::wait::{Doubt, Wait};
use crate::capture::{Held, Together};
use crate::object::Object;
use crate::object::quantity::Quantity;
use crate::surface::ApiResource;

/// How long a driver may take: large volumes flush first, clouds upload.
const READY: Duration = Duration::from_secs(15 * 60);
/// How long an error of the driver may stand before it is believed; its sidecar retries on its own.
const DOUBT: Duration = Duration::from_secs(30);

const API_VERSION: &str = "snapshot.storage.k8s.io/v1";

/// The class to snapshot a driver's volumes with: the one annotated for Ferry, else the driver's
/// default, else the first by name that deletes its snapshots, else the first.
pub fn snapshot_class<'a>(
    driver: &str,
    classes: impl IntoIterator<Item = &'a Object>,
) -> Option<&'a Object> {
    best_class(
        driver,
        "snapshot.storage.kubernetes.io/is-default-class",
        classes,
    )
}

/// The same of classes whose default has another annotation.
pub(super) fn best_class<'a>(
    driver: &str,
    default: &str,
    classes: impl IntoIterator<Item = &'a Object>,
) -> Option<&'a Object> {
    let rank = |class: &Object| {
        let yes = |key: &str| class.annotation(key) == Some("true");
        let kept = class.text("/deletionPolicy") != Some("Delete");
        let (chosen, default) = (yes(names::SNAPSHOT_CLASS), yes(default));
        (!chosen, !default, kept, class.name().to_owned())
    };
    classes
        .into_iter()
        .filter(|class| class.text("/driver") == Some(driver))
        .min_by_key(|class| rank(class))
}

/// A frozen claim.
#[derive(Clone, Debug)]
pub(super) struct Frozen {
    pub(super) held: Held,
    /// The class to know it by; a cluster may have none for the driver.
    pub(super) class: Option<String>,
}

/// Names and cluster of one claim's snapshot.
#[derive(Clone)]
pub(super) struct Freezer<'a> {
    pub(super) api: &'a Api,
    pub(super) run: &'a str,
    /// Namespace and name of the claim on A.
    pub(super) claim: (&'a str, &'a str),
    /// The claims that are frozen at one moment with it.
    pub(super) together: Option<&'a Together>,
    pub(super) movers: &'a ClusterMovers,
}

impl Freezer<'_> {
    fn name(&self) -> String {
        names::object(self.run, "save", &self.api.claim)
    }

    /// Takes the snapshot, or finds the one this run took before, and waits until it can be used. Returns its name
    /// and the bytes that a claim made of it must have.
    pub(super) async fn take(&self, class: &Object) -> Result<(String, u64), DataError> {
        let snapshot = self.taken(class).await?;
        let size = snapshot.pointer("/status/restoreSize").and_then(bytes);
        Ok((snapshot.name().to_owned(), size.unwrap_or(0)))
    }

    fn group(&self) -> Option<Group<'_>> {
        Some(Group {
            api: self.api,
            run: self.run,
            claim: self.claim,
            together: self.together?,
            movers: self.movers,
        })
    }

    /// Whether the claim's snapshot, or that of its group, can still be used: a new one would show another moment. A
    /// group sees to that itself.
    pub(super) async fn is_taken(&self) -> Result<bool, DataError> {
        let (namespace, name) = (Some(self.claim.0), self.name());
        let found = self.api.get(&SNAPSHOT, namespace, &name);
        Ok(self.together.is_some() || found.await?.is_some())
    }

    async fn taken(&self, class: &Object) -> Result<Object, DataError> {
        let (namespace, claim) = self.claim;
        if let Some(group) = self.group() {
            return group.taken(class.text("/driver").unwrap_or_default()).await;
        }
        let snapshot = json!({
            "apiVersion": API_VERSION, "kind": "VolumeSnapshot",
            "metadata": {
                "name": self.name(), "namespace": namespace,
                "labels": {names::RUN: self.run}, "annotations": {names::CLAIM: self.api.claim},
            },
            "spec": {
                "volumeSnapshotClassName": class.name(),
                "source": {"persistentVolumeClaimName": claim},
            },
        });
        self.api.ensure(&SNAPSHOT, snapshot).await?;
        self.ready(namespace).await
    }

    /// Takes the snapshot and reads what it takes to hand it over.
    pub(super) async fn freeze(&self, class: &Object) -> Result<Frozen, DataError> {
        let snapshot = self.taken(class).await?;
        let content = snapshot
            .text("/status/boundVolumeSnapshotContentName")
            .unwrap_or_default();
        let content = self.api.get(&SNAPSHOT_CONTENT, None, content).await?;
        let content = content.ok_or_else(|| self.failed("its content is gone"))?;
        let text = |pointer: &str| content.text(pointer).map(str::to_owned);
        let number = |object: &Object| object.pointer("/status/restoreSize").and_then(bytes);
        let held = Held {
            handle: text("/status/snapshotHandle")
                .ok_or_else(|| self.failed("the driver gave no handle"))?,
            driver: text("/spec/driver").unwrap_or_default(),
            mode: text("/spec/sourceVolumeMode"),
            size: number(&snapshot).or_else(|| number(&content)).unwrap_or(0),
        };
        // The member of a group names none.
        let class = text("/spec/volumeSnapshotClassName").or_else(|| Some(class.name().into()));
        Ok(Frozen { held, class })
    }

    /// Makes the frozen data known in Ferry's namespace, of A or of a cluster on the same storage, and returns the
    /// VolumeSnapshot's name there.
    pub(super) async fn hand_over(
        &self,
        frozen: &Frozen,
        namespace: &str,
    ) -> Result<String, DataError> {
        let name = self.name();
        let meta = json!({
            "name": name,
            "labels": {names::RUN: self.run}, "annotations": {names::CLAIM: self.api.claim},
        });
        let mut content = json!({
            "apiVersion": API_VERSION, "kind": "VolumeSnapshotContent",
            "metadata": meta,
            "spec": {
                "deletionPolicy": "Retain",
                "driver": frozen.held.driver,
                "source": {"snapshotHandle": frozen.held.handle},
                "volumeSnapshotRef": {"namespace": namespace, "name": name},
            },
        });
        let mut snapshot = json!({
            "apiVersion": API_VERSION, "kind": "VolumeSnapshot",
            "metadata": meta,
            "spec": {"source": {"volumeSnapshotContentName": name}},
        });
        snapshot["metadata"]["namespace"] = namespace.into();
        if let Some(mode) = &frozen.held.mode {
            content["spec"]["sourceVolumeMode"] = mode.as_str().into();
        }
        if let Some(class) = &frozen.class {
            content["spec"]["volumeSnapshotClassName"] = class.as_str().into();
            snapshot["spec"]["volumeSnapshotClassName"] = class.as_str().into();
        }
        self.api.ensure(&SNAPSHOT_CONTENT, content).await?;
        self.api.ensure(&SNAPSHOT, snapshot).await?;
        self.ready(namespace).await?;
        Ok(name)
    }

    async fn ready(&self, namespace: &str) -> Result<Object, DataError> {
        let failed = |reason: String| self.failed(reason);
        settled(self.api, (&SNAPSHOT, namespace, &self.name()), failed).await
    }

    /// Removes what was handed over; nothing may use it any more.
    pub(super) async fn take_back(&self, namespace: &str) -> Result<(), DataError> {
        self.api
            .delete(&SNAPSHOT, Some(namespace), &self.name())
            .await?;
        self.api.delete(&SNAPSHOT_CONTENT, None, &self.name()).await
    }

    /// Removes the snapshot itself; nothing may use it any more. A group is removed as a whole, at the run's end.
    pub(super) async fn thaw(&self) -> Result<(), DataError> {
        if self.together.is_some() {
            return Ok(());
        }
        if let Some(snapshot) = self
            .api
            .get(&SNAPSHOT, Some(self.claim.0), &self.name())
            .await?
        {
            remove_first(self.api, &snapshot).await?;
        }
        Ok(())
    }

    /// Lets the snapshot stay for the user: no clean-up of Ferry's knows it any more. Returns its kind and name, for a
    /// group those of the group.
    pub(super) async fn keep(&self) -> Result<Option<(&'static str, String)>, DataError> {
        if let Some(group) = self.group() {
            let kept = group.keep().await?;
            return Ok(kept.map(|name| ("VolumeGroupSnapshot", name)));
        }
        let (namespace, name) = (Some(self.claim.0), self.name());
        if self.api.get(&SNAPSHOT, namespace, &name).await?.is_none() {
            return Ok(None);
        }
        self.api
            .merge(&SNAPSHOT, namespace, &name, names::given_up(self.run))
            .await?;
        Ok(Some(("VolumeSnapshot", name)))
    }

    fn failed(&self, reason: impl Into<String>) -> DataError {
        DataError::Snapshot {
            claim: self.api.claim.clone(),
            reason: reason.into(),
        }
    }
}

/// Waits until a snapshot, or a group of them, can be used.
pub(super) async fn settled(
    api: &Api,
    (kind, namespace, name): (&ApiResource, &str, &str),
    failed: impl Fn(String) -> DataError,
) -> Result<Object, DataError> {
    let (mut wait, mut doubt) = (Wait::begin(), Doubt::default());
    loop {
        let snapshot = api.get(kind, Some(namespace), name).await?;
        let snapshot = snapshot.ok_or_else(|| failed("it was deleted by somebody else".into()))?;
        if snapshot.pointer("/status/readyToUse") == Some(&Value::Bool(true)) {
            return Ok(snapshot);
        }
        let error = snapshot.text("/status/error/message");
        if let Some(error) = doubt.believed(error, DOUBT) {
            return Err(failed(error.into()));
        }
        if wait.elapsed() > READY {
            let last = api.complaint(&kind.kind, namespace, name).await;
            let last = last
                .unwrap_or_else(|| "nothing says why; is a snapshot controller running?".into());
            let minutes = READY.as_secs() / 60;
            return Err(failed(format!("not ready after {minutes} min: {last}")));
        }
        wait.pause().await;
    }
}

/// Deletes a VolumeSnapshot that Ferry took, and the storage's snapshot with it, whatever its class says.
pub(super) async fn remove_first(api: &Api, snapshot: &Object) -> Result<(), DataError> {
    if let Some(content) = snapshot.text("/status/boundVolumeSnapshotContentName") {
        goes_too(api, &SNAPSHOT_CONTENT, content).await?;
    }
    api.delete(&SNAPSHOT, snapshot.namespace(), snapshot.name())
        .await
}

/// Has the storage's own snapshot deleted with a content that would keep it; whether it would have.
pub(super) async fn goes_too(
    api: &Api,
    kind: &ApiResource,
    content: &str,
) -> Result<bool, DataError> {
    let found = api.get(kind, None, content).await?;
    let kept = found.is_some_and(|content| content.text("/spec/deletionPolicy") == Some("Retain"));
    if kept {
        let patch = json!({"spec": {"deletionPolicy": "Delete"}});
        api.merge(kind, None, content, patch).await?;
    }
    Ok(kept)
}

/// The class for a volume's driver on a live cluster; `None` when there is none.
pub(super) async fn class_on(
    api: &Api,
    driver: &str,
    wanted: Option<&str>,
) -> Result<Option<Object>, DataError> {
    let classes = api.list(&SNAPSHOT_CLASS, None, None).await?;
    match wanted {
        None => Ok(snapshot_class(driver, &classes).cloned()),
        Some(wanted) => {
            let found = classes.into_iter().find(|class| class.name() == wanted);
            found.map(Some).ok_or_else(|| {
                let key = names::SNAPSHOT_CLASS;
                api.unusable(format!(
                    "its annotation {key} names VolumeSnapshotClass {wanted}, which does not exist"
                ))
            })
        }
    }
}

/// A size as snapshots give it: a number, or a quantity such as `1Gi`.
pub(super) fn bytes(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    Quantity::parse(value.as_str()?).map(Quantity::ceil)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, driver: &str, policy: &str, annotations: Value) -> Object {
        Object::new(json!({
            "apiVersion": API_VERSION, "kind": "VolumeSnapshotClass",
            "metadata": {"name": name, "annotations": annotations},
            "driver": driver, "deletionPolicy": policy,
        }))
        .unwrap()
    }

    #[test]
    fn the_class_is_the_annotated_then_the_default_then_one_that_deletes() {
        let name = |classes: &[Object]| snapshot_class("d", classes).map(|c| c.name().to_owned());
        let mut classes = vec![
            class("a-keep", "d", "Retain", json!({})),
            class("b", "d", "Delete", json!({})),
            class("0-other", "other", "Delete", json!({})),
        ];
        assert_eq!(name(&classes).as_deref(), Some("b"));
        let default = json!({"snapshot.storage.kubernetes.io/is-default-class": "true"});
        classes.push(class("c-default", "d", "Retain", default));
        assert_eq!(name(&classes).as_deref(), Some("c-default"));
        classes.push(class(
            "z-chosen",
            "d",
            "Retain",
            json!({names::SNAPSHOT_CLASS: "true"}),
        ));
        assert_eq!(name(&classes).as_deref(), Some("z-chosen"));
        assert_eq!(name(&classes[2..3]), None);
    }

    #[test]
    fn sizes_are_numbers_or_quantities() {
        for (value, wanted) in [
            (json!(1024), 1024),
            (json!("512"), 512),
            (json!("1Gi"), 1 << 30),
            (json!("1.5Gi"), 3 << 29),
            (json!("2G"), 2_000_000_000),
            (json!("1e3"), 1000),
            (json!("1100m"), 2),
        ] {
            assert_eq!(bytes(&value), Some(wanted), "{value}");
        }
        assert_eq!(bytes(&json!("many")), None);
    }
}
