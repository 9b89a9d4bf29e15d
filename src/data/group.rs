//! Freezing several claims of a namespace at one moment: a VolumeGroupSnapshot, whose members are then
//! handed over like any other VolumeSnapshot.
//!
//! The API chooses claims by labels. Labels that the claims have are used where they choose exactly these
//! claims; a label of Ferry's only when the user said so, and it is taken off as soon as the controller has
//! written down which volumes it means. It is the only thing Ferry ever writes on an object of the
//! application on A for a copy, so it is found by itself: by [`super::Movers::clean`] and `ferry gc`.
//!
//! A group that fails is an error: separate snapshots would not show what the plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::DataError;
use super::api::{Api, CLAIM, SNAPSHOT, SNAPSHOT_CONTENT};
use super::movers::{ClusterMovers, uid};
use super::names::{self, FREEZE};
use super::snapshot::{best_class, goes_too, settled};
use super::wait::Wait;
use crate::capture::Together;
use crate::object::Object;
use crate::surface::ApiResource;

const GROUP: &str = "groupsnapshot.storage.k8s.io";
const DEFAULT: &str = "groupsnapshot.storage.kubernetes.io/is-default-class";
/// How long the controller may take to write down which volumes a group has; it asks no driver for that.
const TAKEN_UP: Duration = Duration::from_secs(120);
/// How long the members may come after their group.
const MEMBERS: Duration = Duration::from_secs(120);

type Labels = BTreeMap<String, String>;

/// What a cluster serves of the API: one version for all its kinds.
#[derive(Clone, Debug)]
pub(super) struct Served {
    version: String,
}

impl Served {
    /// By discovery; `None` where the cluster has no groups.
    pub(super) async fn on(api: &Api) -> Result<Option<Self>, DataError> {
        let version = api.cluster.version_of(GROUP).await;
        let version = version.map_err(api.failed(format!("ask for {GROUP}")))?;
        Ok(version.map(|version| Self { version }))
    }

    fn kind(&self, kind: &str, plural: &str, namespaced: bool) -> ApiResource {
        ApiResource {
            group: GROUP.into(),
            version: self.version.clone(),
            kind: kind.into(),
            plural: plural.into(),
            namespaced,
            verbs: BTreeSet::new(),
            preferred: true,
            subresources: BTreeSet::new(),
        }
    }

    /// The groups themselves.
    pub(super) fn groups(&self) -> ApiResource {
        self.kind("VolumeGroupSnapshot", "volumegroupsnapshots", true)
    }

    fn contents(&self) -> ApiResource {
        let plural = "volumegroupsnapshotcontents";
        self.kind("VolumeGroupSnapshotContent", plural, false)
    }

    fn classes(&self) -> ApiResource {
        let plural = "volumegroupsnapshotclasses";
        self.kind("VolumeGroupSnapshotClass", plural, false)
    }
}

/// A group of claims, seen by one of them.
#[derive(Clone)]
pub(super) struct Group<'a> {
    pub(super) api: &'a Api,
    pub(super) run: &'a str,
    /// Namespace and name of the claim on A.
    pub(super) claim: (&'a str, &'a str),
    pub(super) together: &'a Together,
    /// They know what the run has saved already.
    pub(super) movers: &'a ClusterMovers,
}

impl Group<'_> {
    /// Freezes the group, or finds it frozen, and returns the claim's own VolumeSnapshot when it can be used.
    /// Every member calls this; whoever is first makes the group.
    pub(super) async fn taken(&self, driver: &str) -> Result<Object, DataError> {
        let served = Served::on(self.api).await?;
        let served =
            served.ok_or_else(|| self.failed(format!("{GROUP} is not served any more")))?;
        let (kind, namespace) = (served.groups(), self.claim.0);
        let name = self.name();
        {
            // Its members come at once, and one would take off the label another puts on.
            let _alone = self.movers.making.lock().await;
            if self.api.get(&kind, Some(namespace), &name).await?.is_none() {
                self.nothing_is_saved().await?;
                self.make(&served, driver, &name).await?;
            }
        }
        let failed = |reason: String| self.failed(reason);
        settled(self.api, (&kind, namespace, &name), failed).await?;
        self.member(&name).await
    }

    /// Lets the group stay for the user; returns its name.
    pub(super) async fn keep(&self) -> Result<Option<String>, DataError> {
        let Some(served) = Served::on(self.api).await? else {
            return Ok(None);
        };
        let (kind, namespace, name) = (served.groups(), Some(self.claim.0), self.name());
        if self.api.get(&kind, namespace, &name).await?.is_none() {
            return Ok(None);
        }
        let given = names::given_up(self.run);
        self.api.merge(&kind, namespace, &name, given).await?;
        Ok(Some(name))
    }

    fn name(&self) -> String {
        let claims: Vec<&str> = self.together.claims.iter().map(String::as_str).collect();
        names::object(
            self.run,
            "group",
            &format!("{}/{}", self.claim.0, claims.join("/")),
        )
    }

    /// A member that was saved shows the moment of a group that is gone; a new one would show another.
    async fn nothing_is_saved(&self) -> Result<(), DataError> {
        for name in &self.together.claims {
            let claim = self.api.get(&CLAIM, Some(self.claim.0), name).await?;
            let Some(claim) = claim else { continue };
            let path = format!("{}/{name}", self.claim.0);
            let job = |word| self.movers.job(word, &[&path, uid(&claim)]);
            let (saved, held) = (job("save"), job("hold"));
            if self.movers.earlier(self.api, &saved).await?.is_some()
                || self.movers.earlier(self.api, &held).await?.is_some()
            {
                return Err(self.failed(format!(
                    "{name} was saved as of a moment whose snapshots somebody has deleted since; take the run back \
                     and begin anew"
                )));
            }
        }
        Ok(())
    }

    /// Makes the group, with Ferry's label on its claims for as long as the API needs it.
    async fn make(&self, served: &Served, driver: &str, name: &str) -> Result<(), DataError> {
        let classes = self.api.list(&served.classes(), None, None).await?;
        let class = best_class(driver, DEFAULT, &classes).ok_or_else(|| {
            self.failed(format!(
                "driver {driver} has no VolumeGroupSnapshotClass any more"
            ))
        })?;
        if let Some(labels) = &self.together.labels {
            return self.chosen(served, class.name(), name, labels).await;
        }
        let labels = [(FREEZE.to_owned(), self.run.to_owned())].into();
        let made = match self.label(Some(self.run)).await {
            Ok(()) => self.chosen(served, class.name(), name, &labels).await,
            refused => refused,
        };
        made.and(self.label(None).await)
    }

    async fn chosen(
        &self,
        served: &Served,
        class: &str,
        name: &str,
        labels: &Labels,
    ) -> Result<(), DataError> {
        self.check(labels).await?;
        let claims = self.together.claims.iter();
        let claims: Vec<String> = claims
            .map(|claim| format!("{}/{claim}", self.claim.0))
            .collect();
        let group = json!({
            "apiVersion": served.groups().api_version(), "kind": "VolumeGroupSnapshot",
            "metadata": {
                "name": name, "namespace": self.claim.0,
                "labels": {names::RUN: self.run}, "annotations": {names::CLAIM: claims.join(" ")},
            },
            "spec": {
                "volumeGroupSnapshotClassName": class,
                "source": {"selector": selector(labels)},
            },
        });
        self.api.ensure(&served.groups(), group).await?;
        self.taken_up(served, name).await
    }

    /// Puts Ferry's label on the claims, or takes it off.
    async fn label(&self, run: Option<&str>) -> Result<(), DataError> {
        for claim in &self.together.claims {
            label(self.api, (Some(self.claim.0), claim), run).await?;
        }
        Ok(())
    }

    /// Makes sure that the labels still choose the claims they chose when they were seen last.
    async fn check(&self, labels: &Labels) -> Result<(), DataError> {
        let selector: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let selector = Some(selector.join(",")).filter(|text| !text.is_empty());
        let found = self.api.list(&CLAIM, Some(self.claim.0), selector).await?;
        let found: BTreeSet<String> = found.iter().map(|claim| claim.name().to_owned()).collect();
        let differs: Vec<&str> = found
            .symmetric_difference(&self.together.claims)
            .map(String::as_str)
            .collect();
        match differs.is_empty() {
            true => Ok(()),
            false => Err(self.failed(format!(
                "the claims of the namespace, or their labels, have changed ({})",
                differs.join(", ")
            ))),
        }
    }

    /// Waits until the controller has written down the volumes of the group: from then on labels count no more.
    async fn taken_up(&self, served: &Served, name: &str) -> Result<(), DataError> {
        let mut wait = Wait::begin();
        loop {
            let group = self
                .api
                .get(&served.groups(), Some(self.claim.0), name)
                .await?;
            let group =
                group.ok_or_else(|| self.failed("the group was deleted by somebody else"))?;
            if group
                .text("/status/boundVolumeGroupSnapshotContentName")
                .is_some()
            {
                return Ok(());
            }
            if wait.elapsed() > TAKEN_UP {
                let why = group.text("/status/error/message");
                return Err(self.failed(why.unwrap_or(
                    "no controller takes the group up; does the snapshot controller run with \
                     --feature-gates=CSIVolumeGroupSnapshot=true?",
                )));
            }
            wait.pause().await;
        }
    }

    /// The claim's own snapshot in a group that is ready.
    async fn member(&self, group: &str) -> Result<Object, DataError> {
        let (namespace, claim) = self.claim;
        let mut wait = Wait::begin();
        let name = loop {
            let all = self.api.list(&SNAPSHOT, Some(namespace), None).await?;
            let mut all = all.iter();
            let own = all.find(|one| {
                is_member(one, group)
                    && one.text("/spec/source/persistentVolumeClaimName") == Some(claim)
            });
            match own {
                Some(snapshot) => break snapshot.name().to_owned(),
                None if wait.elapsed() > MEMBERS => {
                    return Err(
                        self.failed("the group was taken, and it has no snapshot of this claim")
                    );
                }
                None => wait.pause().await,
            }
        };
        let failed = |reason: String| self.failed(reason);
        settled(self.api, (&SNAPSHOT, namespace, &name), failed).await
    }

    fn failed(&self, reason: impl Into<String>) -> DataError {
        let mut others = self
            .together
            .claims
            .iter()
            .filter(|name| *name != self.claim.1);
        let first = others.next().map(String::as_str).unwrap_or_default();
        let more = match others.count() {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        DataError::Snapshot {
            claim: self.api.claim.clone(),
            reason: format!(
                "frozen together with {first}{more}, as planned: {}; plan again, or with --group-snapshots off, \
                 which takes one snapshot after another",
                reason.into()
            ),
        }
    }
}

/// Nothing but labels: the controller does not read expressions. And without labels nothing at all: it leaves empty
/// fields out when it writes the group back, and the server refuses that as a change.
fn selector(labels: &Labels) -> Value {
    match labels.is_empty() {
        true => json!({}),
        false => json!({"matchLabels": labels}),
    }
}

/// Whether a VolumeSnapshot belongs to a group of its namespace.
fn is_member(snapshot: &Object, group: &str) -> bool {
    let owners = snapshot
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let owned = owners
        .into_iter()
        .flatten()
        .any(|owner| owner["kind"] == "VolumeGroupSnapshot" && owner["name"] == group);
    owned || snapshot.text("/status/volumeGroupSnapshotName") == Some(group)
}

/// Deletes a group that Ferry froze, and its members with it, whatever its class says.
pub(super) async fn remove(api: &Api, served: &Served, group: &Object) -> Result<(), DataError> {
    if let Some(content) = group.text("/status/boundVolumeGroupSnapshotContentName")
        && goes_too(api, &served.contents(), content).await?
    {
        for member in api.list(&SNAPSHOT, group.namespace(), None).await? {
            let content = member.text("/status/boundVolumeSnapshotContentName");
            if let (true, Some(content)) = (is_member(&member, group.name()), content) {
                goes_too(api, &SNAPSHOT_CONTENT, content).await?;
            }
        }
    }
    api.delete(&served.groups(), group.namespace(), group.name())
        .await
}

/// Takes Ferry's label off a claim of the application.
pub(super) async fn unlabel(api: &Api, claim: &Object) -> Result<(), DataError> {
    label(api, (claim.namespace(), claim.name()), None).await
}

/// Writes the run on a claim of the application as Ferry's label, or takes that off.
async fn label(
    api: &Api,
    (namespace, claim): (Option<&str>, &str),
    run: Option<&str>,
) -> Result<(), DataError> {
    let patch = json!({"metadata": {"labels": {FREEZE: run}}});
    api.merge(&CLAIM, namespace, claim, patch).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_without_labels_has_no_field_that_could_be_left_out() {
        assert_eq!(selector(&Labels::new()), json!({}));
        let labels = [("app".to_owned(), "db".to_owned())].into();
        assert_eq!(selector(&labels), json!({"matchLabels": {"app": "db"}}));
    }

    #[test]
    fn members_are_known_by_their_owner_or_their_status() {
        let snapshot = |owner: &str, kind: &str, status: &str| {
            Object::new(json!({
                "apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot",
                "metadata": {"name": "s", "namespace": "shop", "ownerReferences": [
                    {"apiVersion": "groupsnapshot.storage.k8s.io/v1", "kind": kind, "name": owner, "uid": "u"},
                ]},
                "status": {"volumeGroupSnapshotName": status},
            }))
            .unwrap()
        };
        let group = "VolumeGroupSnapshot";
        assert!(is_member(&snapshot("g", group, ""), "g"));
        assert!(is_member(&snapshot("x", group, "g"), "g"));
        assert!(!is_member(&snapshot("g", "Backup", "x"), "g"));
        assert!(!is_member(&snapshot("x", group, "x"), "g"));
    }
}
