//! Claims whose data does not travel, and data with traps (W-7, T-8).

use std::collections::{BTreeMap, BTreeSet};

use super::{CheckInput, list};
use crate::capture::Volume;
use crate::finding::{Finding, Verdict};
use crate::object::ObjectId;
use crate::object::quantity::Quantity;
use crate::plan::stamp::{DATA_ANNOTATION, DATA_PENDING};
use crate::target::RUN_LABEL;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let volumes = input.capture.volumes.iter();
    let volumes: BTreeMap<&ObjectId, &Volume> =
        volumes.map(|volume| (&volume.claim, volume)).collect();
    kept(input, &volumes, findings);
    unstored(input, &volumes, findings);
    for (captured, object) in input.pairs() {
        if !object.is("", "PersistentVolumeClaim") {
            continue;
        }
        match volumes.get(&captured.object.id()) {
            None => findings.push(
                Finding::new(
                    Verdict::Warn,
                    "W-7",
                    "the claim is made, but no data travels with it",
                )
                .on(object.id())
                .because("it was not bound to a volume on the source cluster, or was left out")
                .remedy("accept an empty volume, or capture again once the claim is bound"),
            ),
            Some(volume) => {
                let asked = object.text("/spec/resources/requests/storage");
                let size = asked.and_then(Quantity::parse).map(Quantity::ceil);
                if let Some(size) = size.filter(|size| *size < volume.capacity) {
                    findings.push(
                        Finding::new(
                            Verdict::Warn,
                            "T-8",
                            "the claim is smaller on the target than on the source",
                        )
                        .on(object.id())
                        .at("/spec/resources/requests/storage")
                        .because(format!("{size} bytes instead of {}", volume.capacity))
                        .remedy("ask for at least the size of the source; the data may not fit"),
                    );
                }
            }
        }
    }
}

/// Claims that are on the target with data of an earlier run keep it: nothing is ever written over data.
/// Who rehearsed and now migrates for good must hear that today's data stays behind.
fn kept(
    input: &CheckInput<'_>,
    volumes: &BTreeMap<&ObjectId, &Volume>,
    findings: &mut Vec<Finding>,
) {
    let claims: Vec<(ObjectId, Option<&str>)> = input
        .pairs()
        .filter_map(|(captured, object)| {
            let volume = volumes.get(&captured.object.id())?;
            let live = input.target.live.get(&object.id())?;
            let held = live.annotation(DATA_ANNOTATION)?;
            let wanted = volume
                .saved
                .as_ref()
                .map(|saved| saved.proof.digest.as_str());
            let stale = held != DATA_PENDING && Some(held) != wanted;
            stale.then(|| (object.id(), live.label(RUN_LABEL)))
        })
        .collect();
    if claims.is_empty() {
        return;
    }
    findings.push(
        Finding::new(
            Verdict::Warn,
            "W-13",
            "claims on the target keep the data an earlier run brought; the source's data of now is not brought",
        )
        .because(list(claims.iter().map(|(id, _)| id)))
        .remedy(format!(
            "to bring it, take the earlier run back with {}, or delete these claims and what mounts them on the \
             target, and migrate again",
            undo(claims.iter().map(|(_, run)| *run).collect()),
        )),
    );
}

/// Data that the storage carried once, at the time of the capture, and that is nowhere now but where it arrived.
fn unstored(
    input: &CheckInput<'_>,
    volumes: &BTreeMap<&ObjectId, &Volume>,
    findings: &mut Vec<Finding>,
) {
    for (captured, object) in input.pairs() {
        let volume = volumes.get(&captured.object.id());
        let saved = volume.and_then(|volume| volume.saved.as_ref());
        let Some(saved) = saved.filter(|saved| saved.held.is_some()) else {
            continue;
        };
        let live = input.target.live.get(&object.id());
        let mark = live.and_then(|live| live.annotation(DATA_ANNOTATION));
        if mark != Some(&saved.proof.digest) {
            findings.push(
                Finding::new(
                    Verdict::Abort,
                    "W-7",
                    "the claim's data is not in the store",
                )
                .on(object.id())
                .because("the storage carried it when the capture was taken, with --shared-storage")
                .remedy("capture or migrate again"),
            );
        }
    }
}

/// How the runs that made the claims are taken back; one without a label is not named.
fn undo(runs: BTreeSet<Option<&str>>) -> String {
    let known = runs.iter().flatten();
    let mut ways: Vec<String> = known
        .map(|run| format!("`ferry runs undo {run} --delete-data`"))
        .collect();
    if runs.contains(&None) {
        ways.push("`ferry runs undo RUN --delete-data` (`ferry runs list` names it)".into());
    }
    ways.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};

    fn claim(size: &str) -> Case {
        let spec = format!(
            r#"{{"storageClassName": "x", "resources": {{"requests": {{"storage": "{size}"}}}}}}"#
        );
        let mut case = Case::new(vec![object("v1", "PersistentVolumeClaim", "shop/a", &spec)]);
        let mut class = object("storage.k8s.io/v1", "StorageClass", "x", "{}");
        class.value_mut()["provisioner"] = "csi.example.com".into();
        case.surface.objects.push(class);
        case
    }

    #[test]
    fn w_13_the_way_back_names_the_runs_that_made_the_claims() {
        assert_eq!(
            super::undo([Some("r1"), Some("r2"), Some("r1")].into()),
            "`ferry runs undo r1 --delete-data` and `ferry runs undo r2 --delete-data`"
        );
        assert!(super::undo([None].into()).contains("`ferry runs list` names it"));
    }

    #[test]
    fn w_7_a_claim_without_data_is_a_warning() {
        claim("1Gi").expect(&[
            "warn W-7 PersistentVolumeClaim shop/a: the claim is made, but no data travels with it",
        ]);
    }

    #[test]
    fn w_7_a_claim_is_compared_with_itself_when_others_stay_behind() {
        let mut case = claim("1Gi").with_volumes();
        let first = object("v1", "ConfigMap", "shop/0", "{}");
        let captured = Case::new(vec![first]).capture.objects;
        case.capture.objects.splice(0..0, captured);
        case.transforms = "- leaveOut: {select: {kind: ConfigMap}}";
        case.expect(&[]);
    }

    #[test]
    fn t_8_a_smaller_claim_is_a_warning() {
        claim("1Gi").with_volumes().expect(&[]);
        claim("1023Mi").with_volumes().expect(&[
            "warn T-8 PersistentVolumeClaim shop/a /spec/resources/requests/storage: the claim is smaller on the target than on the source",
        ]);
    }
}
