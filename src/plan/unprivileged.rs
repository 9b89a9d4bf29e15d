//! Movers without privileges, for users who may have no others: they run in the application's namespaces, as what
//! mounts the claim there, and keep to Pod Security's `restricted` level.
//!
//! Such a mover reads what its user may read and gives files no owner but itself. That is never chosen for anybody:
//! the user asks for it, and what is lost is declared and accepted class by class like any other loss.

use super::VolumeMove;
use crate::capture::{User, Volume};
use crate::finding::{Finding, Verdict};
use crate::object::GroupKind;
use crate::surface::Surface;

/// On which clusters movers have no privileges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unprivileged {
    /// On A, where they read.
    pub source: bool,
    /// On B, where they write.
    pub target: bool,
    /// User and group they run as; else the application's.
    pub user: Option<(u32, u32)>,
}

impl Unprivileged {
    /// Whether movers have none on any side.
    pub fn anywhere(&self) -> bool {
        self.source || self.target
    }

    /// Whom a volume is read as on A; `None` with privileges.
    pub fn reader(&self, volume: &Volume, surface: &Surface) -> Option<User> {
        let user = volume.user.clone().unwrap_or_default();
        self.source.then(|| self.settled(user, surface))
    }

    /// Whom it is written as on B, where the workload says what is given; `None` with privileges. What the workload
    /// leaves to its image is as it was on A.
    pub(super) fn writer(
        &self,
        workload: User,
        volume: &Volume,
        surface: &Surface,
    ) -> Option<User> {
        let mut user = workload;
        if let Some(on_a) = volume.user.as_ref().filter(|_| !chooses_users(surface)) {
            if user.uid.is_none() {
                user.uid = on_a.uid;
                user.gid = user.gid.or(on_a.gid);
            }
            // Files may belong to any group the application is in.
            let missing = on_a
                .groups
                .iter()
                .filter(|group| !user.groups.contains(group));
            let missing: Vec<u32> = missing.copied().collect();
            user.groups.extend(missing);
            user.fs_group = user.fs_group.or(on_a.fs_group);
        }
        self.target.then(|| self.settled(user, surface))
    }

    fn settled(&self, user: User, surface: &Surface) -> User {
        match self.user {
            Some((uid, gid)) => User {
                uid: Some(uid),
                gid: Some(gid),
                ..user
            },
            None if chooses_users(surface) => user,
            None => user.or_nobody(),
        }
    }
}

/// OpenShift gives the pods of each namespace users of a range of its own.
fn chooses_users(surface: &Surface) -> bool {
    let constraints = GroupKind::new("security.openshift.io", "SecurityContextConstraints");
    surface.resource(&constraints, None).is_some()
}

/// What the reader of a plan has to know of a move without privileges (C-40).
pub(super) fn finding(volume: &VolumeMove) -> Option<Finding> {
    let (reads, writes) = (volume.reads_as.as_ref(), volume.writes_as.as_ref());
    reads.or(writes)?;
    let mut ways = Vec::new();
    if let Some(user) = reads {
        ways.push(format!("read as {user}"));
    }
    if let Some(user) = writes {
        ways.push(format!("written as {user}"));
    }
    let mut limits = Vec::new();
    if reads.is_some() {
        limits.push("a file that this user may not read ends the save");
    }
    if writes.is_some() {
        limits.push(
            "other owners, setuid bits of their files, devices, file capabilities and trusted attributes are lost; \
             the volume's root directory keeps its time",
        );
    }
    let message = format!("its data is {} without privileges", ways.join(" and "));
    let finding = Finding::new(Verdict::Warn, "C-40", message)
        .on(volume.target.clone())
        .because(limits.join("; "));
    Some(match writes {
        Some(_) => finding.remedy(
            "what is lost is refused before the first byte of a volume unless it was accepted with --accept-loss",
        ),
        None => finding.remedy("--mover-user names another user"),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::capture::VolumeMode;
    use crate::object::ObjectId;
    use crate::surface::{ApiResource, ClusterIdentity};

    fn user(uid: Option<u32>) -> User {
        User {
            uid,
            ..User::default()
        }
    }

    fn volume(user: Option<User>) -> Volume {
        Volume {
            claim: ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "data"),
            mode: VolumeMode::Filesystem,
            capacity: 1,
            storage_class: None,
            driver: None,
            access_modes: Vec::new(),
            node: None,
            mounted_by: Vec::new(),
            pods: Vec::new(),
            user,
            together: None,
            saved: None,
        }
    }

    fn surface(openshift: bool) -> Surface {
        let constraints = ApiResource {
            group: "security.openshift.io".into(),
            version: "v1".into(),
            kind: "SecurityContextConstraints".into(),
            plural: "securitycontextconstraints".into(),
            namespaced: false,
            verbs: BTreeSet::new(),
            preferred: true,
            subresources: BTreeSet::new(),
        };
        Surface {
            cluster: ClusterIdentity {
                name: "b".into(),
                uid: String::new(),
                version: String::new(),
            },
            resources: openshift.then_some(constraints).into_iter().collect(),
            objects: Vec::new(),
            unseen: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    const BOTH: Unprivileged = Unprivileged {
        source: true,
        target: true,
        user: None,
    };

    #[test]
    fn nobody_is_chosen_for_who_did_not_ask() {
        let chosen = Unprivileged::default();
        let volume = volume(Some(user(Some(7))));
        assert_eq!(chosen.reader(&volume, &surface(false)), None);
        assert_eq!(chosen.writer(user(Some(7)), &volume, &surface(false)), None);
    }

    #[test]
    fn what_the_workload_leaves_open_is_as_on_a_and_on_openshift_the_clusters() {
        let volume = volume(Some(User {
            fs_group: Some(9),
            groups: vec![8],
            ..user(Some(7))
        }));
        let uid = |workload, openshift| {
            let writer = BOTH.writer(user(workload), &volume, &surface(openshift));
            let User {
                uid,
                gid: _,
                fs_group,
                groups,
            } = writer.unwrap();
            assert_eq!(fs_group, Some(9).filter(|_| !openshift));
            assert_eq!(groups.is_empty(), openshift);
            uid
        };
        assert_eq!(uid(Some(5), false), Some(5));
        assert_eq!(uid(None, false), Some(7));
        assert_eq!(uid(None, true), None);
        let stated = Unprivileged {
            user: Some((1, 2)),
            ..BOTH
        };
        let reader = stated.reader(&volume, &surface(true)).unwrap();
        assert_eq!((reader.uid, reader.gid), (Some(1), Some(2)));
        assert_eq!(reader.groups, [8]);
    }

    #[test]
    fn a_claim_nobody_mounts_is_read_as_nobody() {
        let reader = BOTH.reader(&volume(None), &surface(false)).unwrap();
        assert_eq!(reader.uid, Some(65_532));
        assert_eq!(
            BOTH.reader(&volume(None), &surface(true)).unwrap().uid,
            None
        );
    }
}
