//! C-61: what the user may not do on A and B.

use super::CheckInput;
use crate::cluster::rights::{Right, grant};
use crate::finding::{Finding, Verdict};

/// Without these rights a run would stop half-way, so it does not start.
pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    for lacking in input.lacking {
        let message = format!(
            "you may not do on cluster {} what this needs: {}",
            lacking.cluster,
            lacking.summary().join("; ")
        );
        let commands = grant(&lacking.rights, lacking.user.as_deref());
        let wide = |right: &Right| {
            right.namespace.is_none()
                && ["namespaces", "persistentvolumes"].contains(&right.resource.as_str())
        };
        let instead = match lacking.rights.iter().any(wide) {
            true => " or, where it is for movers, move volumes without privileges (--unprivileged)",
            false => "",
        };
        findings.push(
            Finding::new(Verdict::Abort, "C-61", message)
                .because("the cluster answered the question (SelfSubjectAccessReview) with no")
                .remedy(format!(
                    "use another context{instead}, or let an administrator run\n{commands}"
                )),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use crate::cluster::rights::{Lacking, Right};

    #[test]
    fn c_61_missing_rights_abort_before_anything_is_written_with_the_commands_that_grant_them() {
        let mut case = Case::new(vec![]);
        let right = |verb, resource| Right::new(verb, "", resource, Some("shop"));
        case.lacking = vec![Lacking {
            cluster: "b".into(),
            user: Some("jane".into()),
            rights: vec![
                right("create", "secrets"),
                right("create", "services"),
                right("patch", "secrets"),
                right("patch", "services"),
                Right::new("create", "", "namespaces", None),
            ],
        }];
        case.expect(&[
            "abort C-61 -: you may not do on cluster b what this needs: create namespaces in every \
             namespace; create, patch secrets, services in namespace shop",
        ]);
    }
}
