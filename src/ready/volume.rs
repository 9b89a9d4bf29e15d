//! Readiness of claims.

use super::{Around, Readiness};
use crate::object::Object;

/// Bound, or Pending because its class binds late and nobody uses it yet (W-5). To demand Bound
/// would deadlock: the pod that binds it is created after it.
pub(super) fn claim(object: &Object, around: &Around) -> Readiness {
    match object.text("/status/phase") {
        Some("Bound") => Readiness::Current,
        Some("Lost") => Readiness::Failed("its volume is lost".into()),
        _ => {
            let class = object.text("/spec/storageClassName").unwrap_or_default();
            let consumed = object
                .annotation("volume.kubernetes.io/selected-node")
                .is_some();
            if around.late_binding.contains(class) && !consumed {
                return Readiness::Current;
            }
            Readiness::waiting(format!("no volume is bound yet (storage class {class:?})"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::judged;
    use super::*;

    #[test]
    fn w_5_a_late_binding_claim_without_a_pod_is_ready() {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "shop"},
            "spec": {"storageClassName": "late"}, "status": {"phase": "Pending"}});
        assert!(matches!(
            judged(claim.clone(), &Around::default()),
            Readiness::InProgress(_)
        ));
        let around = Around {
            late_binding: ["late".to_owned()].into(),
            ..Around::default()
        };
        assert_eq!(judged(claim, &around), Readiness::Current);
    }
}
