//! C-40, C-41: can B's storage classes make the claims?

use serde_json::Value;

use super::{CheckInput, list};
use crate::capture::VolumeMode;
use crate::finding::{Finding, Verdict};
use crate::knowledge::provisioners::Provisioner;
use crate::object::{GroupKind, Object};

const GROUP: &str = "storage.k8s.io";
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
const OLD_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// One claim, or the template of claims.
struct Claim<'a> {
    object: &'a Object,
    /// Where its spec stands.
    path: String,
    spec: &'a Value,
    /// The annotation that still wins over the field.
    annotation: Option<&'a str>,
}

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let claims: Vec<Claim<'_>> = input.objects().iter().flat_map(claims).collect();
    if claims.is_empty() {
        return;
    }
    if input
        .surface
        .unseen
        .contains(&GroupKind::new(GROUP, "StorageClass"))
    {
        findings.push(
            Finding::new(
                Verdict::Warn,
                "C-40",
                "the storage classes of the target cluster cannot be seen",
            )
            .because("listing StorageClass.storage.k8s.io is forbidden to you there")
            .remedy("ask for the right to list storage classes, or compare the names by hand"),
        );
        return;
    }
    let mut unset = false;
    for claim in &claims {
        match (claim.annotation, claim.spec["storageClassName"].as_str()) {
            (Some(name), _) | (None, Some(name)) => {
                findings.extend(named(input, claim, name));
            }
            (None, None) => {
                unset = true;
                findings.extend(defaulted(input, claim));
            }
        }
    }
    if unset && defaults(input).len() > 1 {
        let names = list(defaults(input).iter().map(|class| class.name()));
        findings.push(
            Finding::new(
                Verdict::Warn,
                "C-41",
                "the target cluster has several default storage classes",
            )
            .because(format!(
                "claims that name no class get the newest of {names}"
            ))
            .remedy("name a class in a recipe"),
        );
    }
}

/// PersistentVolumeClaims, and the templates of StatefulSets. Templates elsewhere are edges of the
/// graph (E-7, E-PT7).
fn claims(object: &Object) -> Vec<Claim<'_>> {
    if object.is("", "PersistentVolumeClaim") {
        return vec![claim(object, object.value(), "/spec".into())];
    }
    if !object.is("apps", "StatefulSet") {
        return Vec::new();
    }
    let templates = object.pointer("/spec/volumeClaimTemplates");
    let templates = templates.and_then(Value::as_array).into_iter().flatten();
    templates
        .enumerate()
        .map(|(index, template)| {
            let path = format!("/spec/volumeClaimTemplates/{index}/spec");
            claim(object, template, path)
        })
        .collect()
}

fn claim<'a>(object: &'a Object, value: &'a Value, path: String) -> Claim<'a> {
    Claim {
        object,
        path,
        spec: &value["spec"],
        annotation: value["metadata"]["annotations"][OLD_ANNOTATION].as_str(),
    }
}

fn named(input: &CheckInput<'_>, claim: &Claim<'_>, name: &str) -> Option<Finding> {
    if name.is_empty() {
        let static_volume = claim.spec["volumeName"].is_string();
        return (!static_volume).then(|| {
            on(
                claim,
                "storageClassName",
                Verdict::Warn,
                "C-40",
                "the claim asks for no class at all".into(),
            )
            .because("storageClassName is empty: only a volume made by hand can bind to it")
            .remedy("map the class '' to one of the target cluster in a recipe, or make the volume")
        });
    }
    let Some(class) = input.surface.find(GROUP, "StorageClass", name) else {
        let there = input
            .surface
            .of_kind(GROUP, "StorageClass")
            .map(Object::name);
        return Some(
            on(
                claim,
                "storageClassName",
                Verdict::Block,
                "C-40",
                format!("the target cluster has no storage class {name}"),
            )
            .because(format!("it has {}", list(there)))
            .remedy(format!(
                "map the class in a recipe: `- storageClass: {{map: {{{}: <class on the target>}}}}`",
                original(input, claim).unwrap_or(name)
            )),
        );
    };
    fits(input, claim, class)
}

/// The class's name on A, which is what a recipe maps.
fn original<'a>(input: &CheckInput<'a>, claim: &Claim<'_>) -> Option<&'a str> {
    let mut pairs = input.pairs();
    let (captured, _) = pairs.find(|(_, object)| std::ptr::eq(*object, claim.object))?;
    captured
        .object
        .text(&format!("{}/storageClassName", claim.path))
}

fn defaults<'a>(input: &CheckInput<'a>) -> Vec<&'a Object> {
    let classes = input.surface.of_kind(GROUP, "StorageClass");
    classes
        .filter(|class| class.annotation(DEFAULT_CLASS) == Some("true"))
        .collect()
}

fn defaulted(input: &CheckInput<'_>, claim: &Claim<'_>) -> Option<Finding> {
    match defaults(input).first() {
        Some(class) => fits(input, claim, class),
        None => Some(
            on(
                claim,
                "storageClassName",
                Verdict::Block,
                "C-40",
                "the claim names no storage class and the target cluster has no default".into(),
            )
            .because("no class has the annotation storageclass.kubernetes.io/is-default-class=true")
            .remedy(
                "set the class with a patch in a recipe, or mark a default class on the target",
            ),
        ),
    }
}

/// Whether the class's driver can do what the claim asks.
fn fits(input: &CheckInput<'_>, claim: &Claim<'_>, class: &Object) -> Option<Finding> {
    let driver = class.text("/provisioner")?;
    let mode = match claim.spec["volumeMode"].as_str() {
        Some("Block") => VolumeMode::Block,
        _ => VolumeMode::Filesystem,
    };
    let wanted: Vec<&str> = claim.spec["accessModes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let Some(row) = input.knowledge.provisioner(driver) else {
        let shared = wanted.iter().find(|mode| mode.ends_with("Many"))?;
        return Some(
            on(
                claim,
                "accessModes",
                Verdict::Warn,
                "C-40",
                format!("it is not known whether {driver} can do {shared}"),
            )
            .because(format!(
                "class {} uses it, and no row of provisioners.yaml names it",
                class.name()
            ))
            .remedy("ask whoever runs the storage; a claim that cannot be met stays Pending"),
        );
    };
    cannot(claim, class, driver, row, mode, &wanted)
        .or_else(|| lossy(claim, class, driver, row, mode))
}

fn cannot(
    claim: &Claim<'_>,
    class: &Object,
    driver: &str,
    row: &Provisioner,
    mode: VolumeMode,
    wanted: &[&str],
) -> Option<Finding> {
    let can = match mode {
        VolumeMode::Block => &row.block,
        VolumeMode::Filesystem => &row.filesystem,
    };
    let lacking = wanted
        .iter()
        .find(|mode| !can.iter().any(|can| can == *mode))?;
    let (field, message) = match (mode, can.is_empty()) {
        (VolumeMode::Block, true) => ("volumeMode", "gives no raw devices".to_owned()),
        (VolumeMode::Block, false) => {
            ("accessModes", format!("cannot do {lacking} on raw devices"))
        }
        (VolumeMode::Filesystem, _) => ("accessModes", format!("cannot do {lacking}")),
    };
    Some(
        on(
            claim,
            field,
            Verdict::Block,
            "C-40",
            format!(
                "storage class {} of the target cluster {message}",
                class.name()
            ),
        )
        .because(format!("its driver is {driver}: {}", row.why))
        .remedy("map the class to one that can, or change the claim with a patch"),
    )
}

/// A file system that does not keep what every entry has. A run says so too, before it begins.
fn lossy(
    claim: &Claim<'_>,
    class: &Object,
    driver: &str,
    row: &Provisioner,
    mode: VolumeMode,
) -> Option<Finding> {
    let losses = row.losses_of(class);
    if losses.is_empty() || mode == VolumeMode::Block {
        return None;
    }
    let names: Vec<String> = losses.iter().map(ToString::to_string).collect();
    let message = format!(
        "storage class {} of the target cluster does not keep the {} of files",
        class.name(),
        names.join(" and ")
    );
    let finding = on(claim, "storageClassName", Verdict::Warn, "C-40", message)
        .because(format!("its driver is {driver}: {}", row.why));
    Some(finding.remedy(format!(
        "map the class to one that does; to load data all the same, accept it with --accept-loss {}",
        names.join(" --accept-loss ")
    )))
}

fn on(claim: &Claim<'_>, field: &str, verdict: Verdict, rule: &str, message: String) -> Finding {
    Finding::new(verdict, rule, message)
        .on(claim.object.id())
        .at(format!("{}/{field}", claim.path))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};

    fn claim(spec: &str) -> Case {
        let mut case = Case::new(vec![object("v1", "PersistentVolumeClaim", "shop/a", spec)]);
        let class = |name: &str, driver: &str| {
            let mut class = object("storage.k8s.io/v1", "StorageClass", name, "{}");
            class.value_mut()["provisioner"] = driver.into();
            class
        };
        case.surface.objects.extend([
            class("disk", "ebs.csi.aws.com"),
            class("files", "efs.csi.aws.com"),
            class("own", "csi.example.com"),
            class("share", "smb.csi.k8s.io"),
        ]);
        case.with_volumes()
    }

    #[test]
    fn c_40_a_class_that_is_there_and_can_is_fine() {
        claim(r#"{"storageClassName": "disk", "accessModes": ["ReadWriteOnce"]}"#).expect(&[]);
        claim(r#"{"storageClassName": "own", "accessModes": ["ReadWriteOnce"]}"#).expect(&[]);
    }

    #[test]
    fn c_40_a_missing_class_blocks_and_says_how_to_map_it() {
        let case = claim(r#"{"storageClassName": "fast", "accessModes": ["ReadWriteOnce"]}"#);
        let finding = &case.expect(&[
            "block C-40 PersistentVolumeClaim shop/a /spec/storageClassName: the target cluster has no storage class fast",
        ])[0];
        assert_eq!(
            finding.evidence.as_deref(),
            Some("it has disk, files, own, share")
        );
        assert!(finding.remedy.as_ref().unwrap().contains("map: {fast:"));
    }

    #[test]
    fn c_40_access_and_volume_modes_must_fit_the_driver() {
        claim(r#"{"storageClassName": "disk", "accessModes": ["ReadWriteMany"]}"#).expect(&[
            "block C-40 PersistentVolumeClaim shop/a /spec/accessModes: storage class disk of the target cluster cannot do ReadWriteMany",
        ]);
        claim(r#"{"storageClassName": "files", "accessModes": ["ReadWriteOnce"], "volumeMode": "Block"}"#)
            .expect(&[
                "block C-40 PersistentVolumeClaim shop/a /spec/volumeMode: storage class files of the target cluster gives no raw devices",
            ]);
        claim(r#"{"storageClassName": "own", "accessModes": ["ReadWriteMany"]}"#).expect(&[
            "warn C-40 PersistentVolumeClaim shop/a /spec/accessModes: it is not known whether csi.example.com can do ReadWriteMany",
        ]);
    }

    #[test]
    fn c_40_storage_that_keeps_no_owners_is_told_with_what_accepts_it() {
        let asks = r#"{"storageClassName": "share", "accessModes": ["ReadWriteMany"]}"#;
        let mut case = claim(asks);
        let finding = &case.expect(&[
            "warn C-40 PersistentVolumeClaim shop/a /spec/storageClassName: storage class share of the target cluster does not keep the owner and mode of files",
        ])[0];
        assert!(
            finding
                .remedy
                .as_ref()
                .unwrap()
                .ends_with("--accept-loss owner --accept-loss mode")
        );
        for class in &mut case.surface.objects {
            class.value_mut()["parameters"] = serde_json::json!({"protocol": "nfs"});
        }
        case.expect(&[]);
    }

    #[test]
    fn c_40_an_unset_class_needs_a_default() {
        claim(r#"{"accessModes": ["ReadWriteOnce"]}"#).expect(&[
            "block C-40 PersistentVolumeClaim shop/a /spec/storageClassName: the claim names no storage class and the target cluster has no default",
        ]);
    }

    #[test]
    fn c_40_classes_that_cannot_be_seen_are_not_missing() {
        let mut case = claim(r#"{"storageClassName": "fast"}"#);
        case.surface.objects.clear();
        case.surface.unseen.insert(crate::object::GroupKind::new(
            "storage.k8s.io",
            "StorageClass",
        ));
        case.expect(&["warn C-40 -: the storage classes of the target cluster cannot be seen"]);
    }

    #[test]
    fn c_41_two_default_classes_are_a_warning() {
        let mut case = claim(r#"{"accessModes": ["ReadWriteOnce"]}"#);
        for class in &mut case.surface.objects {
            class.value_mut()["metadata"]["annotations"] =
                serde_json::json!({"storageclass.kubernetes.io/is-default-class": "true"});
        }
        case.expect(&["warn C-41 -: the target cluster has several default storage classes"]);
    }
}
