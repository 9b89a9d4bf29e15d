//! C-52: the target namespaces.

use super::{CheckInput, list};
use crate::finding::{Finding, Verdict};
use crate::object::ObjectId;
use crate::target::NamespaceState;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    for (from, to) in &input.transformed.namespaces {
        let source = &input.capture.surface.cluster;
        let stamp = format!("{}/{from}", source.name);
        if let Some(state) = input.target.namespaces.get(to) {
            let itself = from == to && source.is(&input.surface.cluster);
            findings.extend(occupied(to, &stamp, state, itself));
        }
    }
}

fn occupied(name: &str, stamp: &str, state: &NamespaceState, itself: bool) -> Option<Finding> {
    let finding = |message: String| {
        Finding::new(Verdict::Block, "C-52", message).on(ObjectId::cluster("", "Namespace", name))
    };
    match state {
        NamespaceState::Absent | NamespaceState::Empty => None,
        NamespaceState::Terminating => Some(
            finding(format!(
                "namespace {name} is being deleted on the target cluster"
            ))
            .because("metadata.deletionTimestamp is set; nothing can be created in it")
            .remedy("wait until it is gone, or choose another name in a recipe (`namespace:`)"),
        ),
        NamespaceState::Occupied {
            objects,
            foreign,
            stamped_by,
        } => {
            let others: Vec<_> = stamped_by.iter().filter(|by| *by != stamp).collect();
            if !others.is_empty() {
                return Some(
                    finding(format!(
                        "namespace {name} on the target cluster holds another application Ferry moved"
                    ))
                    .because(format!("it came from {}; this one comes from {stamp}", list(others)))
                    .remedy("choose another name in a recipe (`namespace: {map: …}`)"),
                );
            }
            if itself && !foreign.is_empty() {
                let same = finding(format!("namespace {name} is where this application runs"));
                return Some(
                    same.because("the capture is of this namespace of this very cluster")
                        .remedy(
                            "name another cluster with --to, or give the copy a name in a recipe \
                             (`namespace: {map: …}`)",
                        ),
                );
            }
            (!foreign.is_empty()).then(|| {
                finding(format!(
                    "namespace {name} on the target cluster is not empty"
                ))
                .because(format!(
                    "of its {objects} objects Ferry did not make {}: {}",
                    foreign.len(),
                    list(foreign)
                ))
                .remedy(match name {
                    "default" | "kube-system" | "kube-public" | "kube-node-lease" => {
                        "the cluster's own: choose another name in a recipe (`namespace: {map: …}`)"
                    }
                    _ => {
                        "choose another name in a recipe (`namespace: {map: …}`), or delete these \
                         objects if nobody needs them"
                    }
                })
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use crate::object::ObjectId;
    use crate::target::NamespaceState;

    fn with(state: NamespaceState) -> Case {
        let mut case = Case::new(vec![object("v1", "ConfigMap", "shop/a", "{}")]);
        case.target.namespaces.insert("shop".into(), state);
        case
    }

    #[test]
    fn c_52_an_absent_or_empty_namespace_is_fine() {
        with(NamespaceState::Absent).expect(&[]);
        with(NamespaceState::Empty).expect(&[]);
    }

    #[test]
    fn c_52_a_second_run_finds_its_own_objects_and_goes_on() {
        with(NamespaceState::Occupied {
            objects: 3,
            foreign: vec![],
            stamped_by: ["a/shop".to_owned()].into(),
        })
        .expect(&[]);
    }

    #[test]
    fn c_52_objects_of_others_block() {
        with(NamespaceState::Occupied {
            objects: 3,
            foreign: vec![ObjectId::namespaced("", "Secret", "shop", "x")],
            stamped_by: ["a/shop".to_owned()].into(),
        })
        .expect(&["block C-52 Namespace shop: namespace shop on the target cluster is not empty"]);
    }

    #[test]
    fn c_52_the_source_itself_is_not_advised_to_be_emptied() {
        let mut case = with(NamespaceState::Occupied {
            objects: 3,
            foreign: vec![ObjectId::namespaced("", "Secret", "shop", "x")],
            stamped_by: [].into(),
        });
        case.surface.cluster = case.capture.surface.cluster.clone();
        case.expect(&["block C-52 Namespace shop: namespace shop is where this application runs"]);
        case.target
            .namespaces
            .insert("shop".into(), NamespaceState::Absent);
        case.expect(&[]);
    }

    #[test]
    fn c_52_another_application_blocks() {
        with(NamespaceState::Occupied {
            objects: 3,
            foreign: vec![],
            stamped_by: ["a/other".to_owned()].into(),
        })
        .expect(&[
            "block C-52 Namespace shop: namespace shop on the target cluster holds another application Ferry moved",
        ]);
    }
}
