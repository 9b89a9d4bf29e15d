//! References to objects that neither travel nor are on B (rule book §0, missing targets).

use foldhash::HashSet;

use super::{CheckInput, classes};
use crate::finding::{Finding, Verdict};
use crate::graph::{Edge, Presence, Strength};
use crate::object::ObjectId;

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let nodes = input.graph.nodes.iter();
    let missing: HashSet<&ObjectId> = nodes
        .filter(|node| node.presence == Presence::Missing)
        .map(|node| &node.id)
        .collect();
    for edge in &input.graph.edges {
        // Kinds and classes have checks of their own, with better advice.
        let elsewhere = classes::is_class(&edge.to)
            || edge
                .to
                .is("apiextensions.k8s.io", "CustomResourceDefinition")
            || edge.to.is("", "Namespace") && edge.rule == "E-1";
        if !elsewhere && missing.contains(&edge.to) {
            findings.extend(finding(edge));
        }
    }
}

fn finding(edge: &Edge) -> Option<Finding> {
    let (verdict, effect) = match edge.strength {
        Strength::H => (
            Verdict::Block,
            "it cannot be created without it, or would be wrong",
        ),
        Strength::R => (Verdict::Warn, "it would be created and never become ready"),
        Strength::S => (Verdict::Info, "it works without it"),
        Strength::N | Strength::P => return None,
    };
    Some(
        Finding::new(verdict, &edge.rule, format!("{} is not there", edge.to))
            .on(edge.from.clone())
            .at(edge.path.clone())
            .because(format!(
                "it is neither captured nor on the target cluster; {effect}"
            ))
            .remedy(
                "capture the namespace it is in too, create it on the target, or remove the \
                 reference with a patch",
            ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use crate::graph::Strength;
    use crate::object::ObjectId;

    fn case(strength: Strength) -> Case {
        let mut case = Case::new(vec![object("apps/v1", "Deployment", "shop/a", "{}")]);
        case.missing(
            "/spec/x",
            ObjectId::namespaced("", "Secret", "shop", "s"),
            strength,
        );
        case
    }

    #[test]
    fn a_missing_target_is_as_bad_as_its_edge_is_strong() {
        case(Strength::H)
            .expect(&["block E-X Deployment.apps shop/a /spec/x: Secret shop/s is not there"]);
        case(Strength::R)
            .expect(&["warn E-X Deployment.apps shop/a /spec/x: Secret shop/s is not there"]);
        case(Strength::S)
            .expect(&["info E-X Deployment.apps shop/a /spec/x: Secret shop/s is not there"]);
        case(Strength::N).expect(&[]);
    }
}
