//! S-51: OpenShift's ranges of user ids, groups and SELinux levels on namespaces.
//!
//! Files in volumes belong to ids of A's range. The same range on B keeps them readable, if no other
//! namespace of B has it; a namespace that is there already keeps the one it has.

use std::ops::Range;

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::object::{GroupKind, Object};

/// All three or none.
const RANGES: [&str; 3] = [UIDS, "openshift.io/sa.scc.supplemental-groups", LEVELS];
const UIDS: &str = "openshift.io/sa.scc.uid-range";
const LEVELS: &str = "openshift.io/sa.scc.mcs";

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let namespaces = input.objects().iter();
    for object in namespaces.filter(|object| object.is("", "Namespace")) {
        let set = RANGES.iter().filter(|key| object.annotation(key).is_some());
        match set.count() {
            0 => {}
            3 => findings.extend(whole(input, object)),
            set => findings.push(partly(object, set)),
        }
    }
}

fn partly(object: &Object, set: usize) -> Finding {
    let message = "the namespace has only some of OpenShift's three range annotations";
    Finding::new(Verdict::Block, "S-51", message)
        .on(object.id())
        .at("/metadata/annotations")
        .because(format!(
            "{set} of {} are set; its pods would be refused",
            list(RANGES)
        ))
        .remedy("set all three in a patch, or remove all three")
}

/// Whether B has another use for a complete range. On a B that is no OpenShift nobody reads it.
fn whole(input: &CheckInput<'_>, object: &Object) -> Option<Finding> {
    let scc = GroupKind::new("security.openshift.io", "SecurityContextConstraints");
    input.surface.resource(&scc, None)?;
    let on = |finding: Finding| finding.on(object.id()).at("/metadata/annotations");
    if input
        .surface
        .unseen
        .contains(&GroupKind::new("", "Namespace"))
    {
        let message = "it cannot be seen whether its user ids are free on the target cluster";
        let finding = Finding::new(Verdict::Warn, "S-51", message);
        return Some(on(finding).because("listing namespaces is forbidden to you there").remedy(
            "ask the target cluster's administrator, or remove the three annotations with a patch \
             and give the files in its volumes to the ids B allocates",
        ));
    }
    let mut there = input.surface.of_kind("", "Namespace");
    let (verdict, message, other) = there.find_map(|other| {
        let same = other.name() == object.name();
        let range = other.annotation(UIDS)?;
        match same {
            true if Some(range) != object.annotation(UIDS) => Some((
                Verdict::Warn,
                "the namespace is on the target cluster with other user ids".to_owned(),
                other,
            )),
            false if overlap(object, other) => Some((
                Verdict::Warn,
                format!(
                    "its user ids or SELinux level are those of namespace {} on the target cluster",
                    other.name()
                ),
                other,
            )),
            _ => None,
        }
    })?;
    let shown = |namespace: &Object| {
        let texts = [UIDS, LEVELS].map(|key| namespace.annotation(key).unwrap_or("none"));
        texts.join(", ")
    };
    Some(
        on(Finding::new(verdict, "S-51", message))
            .because(format!("{} here, {} there", shown(object), shown(other)))
            .remedy(
                "remove the three annotations with a patch, so that B allocates its own, and give \
                 the files in its volumes to the new ids",
            ),
    )
}

fn overlap(one: &Object, other: &Object) -> bool {
    let level = |namespace: &Object| namespace.annotation(LEVELS).map(str::to_owned);
    let uids = |namespace: &Object| namespace.annotation(UIDS).and_then(uids);
    let ids = uids(one).zip(uids(other));
    ids.is_some_and(|(one, other)| one.start < other.end && other.start < one.end)
        || level(one).is_some_and(|level| other.annotation(LEVELS) == Some(&level))
}

/// `first/count` or `first-last`.
fn uids(text: &str) -> Option<Range<u64>> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    if let Some((first, count)) = text.split_once('/') {
        let first = number(first)?;
        return Some(first..first.checked_add(number(count)?)?);
    }
    let (first, last) = text.split_once('-')?;
    Some(number(first)?..number(last)?.checked_add(1)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object, resource};
    use super::*;

    fn namespace(name: &str, uids: &str, level: &str) -> Object {
        let mut namespace = object("v1", "Namespace", name, "{}");
        namespace.value_mut()["metadata"]["annotations"] = serde_json::json!({
            UIDS: uids, "openshift.io/sa.scc.supplemental-groups": uids, LEVELS: level});
        namespace
    }

    fn case(others: Vec<Object>) -> Case {
        let mut case = Case::new(vec![namespace("shop", "1000650000/10000", "s0:c26,c5")]);
        let (group, kind) = ("security.openshift.io", "SecurityContextConstraints");
        case.surface
            .resources
            .push(resource(group, "v1", kind, false));
        case.surface.objects.extend(others);
        case
    }

    #[test]
    fn s_51_a_part_of_the_ranges_blocks() {
        let mut namespace = object("v1", "Namespace", "shop", "{}");
        namespace.value_mut()["metadata"]["annotations"] = serde_json::json!({LEVELS: "s0:c1,c2"});
        Case::new(vec![namespace]).expect(&[
            "block S-51 Namespace shop /metadata/annotations: the namespace has only some of OpenShift's three range annotations",
        ]);
    }

    #[test]
    fn s_51_a_range_that_is_free_on_b_travels() {
        case(vec![namespace("other", "1000660000/10000", "s0:c26,c0")]).expect(&[]);
        let same = namespace("shop", "1000650000/10000", "s0:c26,c5");
        case(vec![same]).expect(&[]);
    }

    #[test]
    fn s_51_a_range_of_another_namespace_of_b_is_a_warning() {
        let message = "warn S-51 Namespace shop /metadata/annotations: its user ids or SELinux level are those of namespace other on the target cluster";
        case(vec![namespace(
            "other",
            "1000655000-1000665000",
            "s0:c1,c0",
        )])
        .expect(&[message]);
        case(vec![namespace("other", "1/1", "s0:c26,c5")]).expect(&[message]);
    }

    #[test]
    fn s_51_a_namespace_that_is_there_with_another_range_is_a_warning() {
        case(vec![namespace("shop", "1000660000/10000", "s0:c1,c0")]).expect(&[
            "warn S-51 Namespace shop /metadata/annotations: the namespace is on the target cluster with other user ids",
        ]);
    }

    #[test]
    fn s_51_what_cannot_be_seen_is_said_and_means_nothing_without_openshift() {
        let mut unseen = case(Vec::new());
        unseen
            .surface
            .unseen
            .insert(GroupKind::new("", "Namespace"));
        unseen.expect(&[
            "warn S-51 Namespace shop /metadata/annotations: it cannot be seen whether its user ids are free on the target cluster",
        ]);
        let mut plain = case(vec![namespace("other", "1000650000/10000", "s0:c26,c5")]);
        plain
            .surface
            .resources
            .retain(|one| one.kind != "SecurityContextConstraints");
        plain.expect(&[]);
    }
}
