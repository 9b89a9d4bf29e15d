//! C-61: what the user may not do on B.

use super::CheckInput;
use crate::finding::{Finding, Verdict};

/// Without these rights a run would stop half-way, so it does not start.
pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let cluster = &input.surface.cluster.name;
    for right in input.missing_rights {
        findings.push(
            Finding::new(
                Verdict::Abort,
                "C-61",
                format!("you may not {right} on cluster {cluster}"),
            )
            .because("the cluster answered the question (SelfSubjectAccessReview) with no")
            .remedy("ask its administrator for a Role with this right, or use another context"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Case;
    use crate::cluster::rights::Right;

    #[test]
    fn c_61_a_missing_right_aborts_before_anything_is_written() {
        let mut case = Case::new(vec![]);
        case.missing_rights = vec![Right::new("create", "", "secrets", Some("shop"))];
        case.expect(&["abort C-61 -: you may not create secrets in namespace shop on cluster b"]);
    }
}
