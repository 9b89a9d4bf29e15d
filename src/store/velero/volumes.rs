//! By what means Velero kept the data of each volume, as `<backup>-volumeinfo.json.gz` says.

use serde::Deserialize;

use crate::capture::Consistency;
use crate::object::ObjectId;

/// A claim in a backup, and its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The claim on the cluster that was backed up.
    pub claim: ObjectId,
    /// Where its data is.
    pub held: Held,
}

/// Where a volume's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the kopia repository of the claim's namespace.
    Kopia(KopiaSnapshot),
    /// Where it cannot be reached from here, and why.
    Elsewhere(String),
}

/// A volume in a kopia repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KopiaSnapshot {
    /// Id of its manifest, as hex.
    pub id: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// What moment it shows.
    pub consistency: Consistency,
}

/// One entry of the file. Velero writes some keys with a capital.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct VolumeInfo {
    pvc_name: String,
    pvc_namespace: String,
    backup_method: String,
    snapshot_data_moved: bool,
    skipped: bool,
    skipped_reason: String,
    result: String,
    pvb_info: Upload,
    snapshot_data_movement_info: Upload,
}

/// What an uploader said of one volume.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Upload {
    snapshot_handle: String,
    uploader_type: String,
    size: u64,
}

/// What became of the data of each claim. Volumes that no claim stands for, as a pod's own empty ones, belong to
/// nothing that could be restored and are left out.
pub(super) fn kept(infos: Vec<VolumeInfo>) -> Vec<Kept> {
    let claimed = infos.into_iter().filter(|info| !info.pvc_name.is_empty());
    claimed
        .map(|info| Kept {
            claim: ObjectId::namespaced(
                "",
                "PersistentVolumeClaim",
                &info.pvc_namespace,
                &info.pvc_name,
            ),
            held: held(info),
        })
        .collect()
}

fn held(info: VolumeInfo) -> Held {
    let elsewhere = |reason: &str| Held::Elsewhere(reason.into());
    if info.skipped {
        return Held::Elsewhere(format!("Velero skipped it: {}", info.skipped_reason));
    }
    let (upload, consistency) = match info.backup_method.as_str() {
        "PodVolumeBackup" => (info.pvb_info, Consistency::Live),
        "CSISnapshot" if info.snapshot_data_moved => {
            (info.snapshot_data_movement_info, Consistency::Snapshot)
        }
        "CSISnapshot" | "NativeSnapshot" => {
            return elsewhere("its data is a snapshot in the source's own storage");
        }
        other => return Held::Elsewhere(format!("Velero kept it by {other:?}")),
    };
    if info.result == "failed" {
        return elsewhere("Velero failed to back it up");
    }
    if upload.uploader_type != "kopia" {
        return Held::Elsewhere(format!("it was uploaded by {:?}", upload.uploader_type));
    }
    let is_id = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match is_id(&upload.snapshot_handle) {
        true => Held::Kopia(KopiaSnapshot {
            id: upload.snapshot_handle,
            bytes: upload.size,
            consistency,
        }),
        false => elsewhere("Velero names no snapshot of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(info: serde_json::Value) -> Vec<Held> {
        let infos = serde_json::from_value(json!([info])).unwrap();
        kept(infos).into_iter().map(|kept| kept.held).collect()
    }

    fn uploaded(handle: &str, uploader: &str) -> serde_json::Value {
        json!({"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "PodVolumeBackup", "result": "succeeded",
               "pvbInfo": {"snapshotHandle": handle, "uploaderType": uploader, "size": 7, "Phase": "Completed"}})
    }

    #[test]
    fn data_in_a_repository_is_found_and_data_in_the_source_s_storage_is_named() {
        let found = Held::Kopia(KopiaSnapshot {
            id: "0a1b".into(),
            bytes: 7,
            consistency: Consistency::Live,
        });
        assert_eq!(of(uploaded("0a1b", "kopia")), [found]);
        let moved = json!({"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "CSISnapshot",
            "snapshotDataMoved": true,
            "snapshotDataMovementInfo": {"snapshotHandle": "ff", "uploaderType": "kopia", "size": 9}});
        let found = Held::Kopia(KopiaSnapshot {
            id: "ff".into(),
            bytes: 9,
            consistency: Consistency::Snapshot,
        });
        assert_eq!(of(moved), [found]);
        let native =
            json!({"pvcName": "data", "pvcNamespace": "shop", "backupMethod": "NativeSnapshot"});
        let reason = Held::Elsewhere("its data is a snapshot in the source's own storage".into());
        assert_eq!(of(native), [reason]);
        let volume_of_a_pod = json!({"backupMethod": "PodVolumeBackup"});
        assert_eq!(of(volume_of_a_pod), []);
    }

    #[test]
    fn what_a_stranger_wrote_never_becomes_an_option_of_kopia() {
        for handle in ["", "--config-file=x", "../1", "0a 1b"] {
            let found = of(uploaded(handle, "kopia"));
            assert_eq!(
                found,
                [Held::Elsewhere("Velero names no snapshot of it".into())]
            );
        }
        assert_eq!(
            of(uploaded("0a", "restic")),
            [Held::Elsewhere("it was uploaded by \"restic\"".into())]
        );
    }
}
