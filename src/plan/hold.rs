//! Keeping a workload quiet until its data is proven (W-8, W-9), from the rows of `holds.yaml`.

use serde_json::{Value, json};

use super::{Body, Hold, stamp};
use crate::knowledge::holds::HoldRow;
use crate::object::{Object, ObjectId};

/// The row for an object's kind.
pub(super) fn row<'a>(rows: &'a [HoldRow], id: &ObjectId) -> Option<&'a HoldRow> {
    rows.iter().find(|row| id.is(&row.group, &row.kind))
}

/// The hold for an object; none when it is quiet as captured, so that a suspended CronJob stays so.
pub(super) fn hold(row: &HoldRow, body: &Object) -> Option<Hold> {
    let captured = body.pointer(&row.path);
    let effective = captured.or(row.default.as_ref());
    if effective.is_some_and(|value| row.quiet.contains(value)) {
        return None;
    }
    Some(Hold {
        rule: row.id.clone(),
        path: row.path.clone(),
        held: row.held.clone(),
        release: if row.scale { effective } else { captured }.cloned(),
        scale: row.scale,
    })
}

/// Whether a live object is held already, by an earlier run that did not end.
pub(super) fn is_held(row: &HoldRow, live: &Object) -> bool {
    live.pointer(&row.path) == Some(&row.held)
        && (!row.scale || live.annotation(stamp::REPLICAS_ANNOTATION).is_some())
}

/// The object as it is sent while held.
pub(super) fn held(body: &Body, hold: &Hold) -> Body {
    let mut body = body.clone();
    body.merge(nested(&hold.path, hold.held.clone()));
    if hold.scale
        && let Some(replicas) = &hold.release
    {
        body.annotate(stamp::REPLICAS_ANNOTATION, &replicas.to_string());
    }
    body
}

/// The object as it is sent on release: a replica count belongs to the scale manager by then.
pub(super) fn released(body: &Body, hold: &Hold) -> Body {
    let mut body = body.clone();
    if hold.scale {
        body.merge(nested(&hold.path, Value::Null));
    }
    body
}

/// Whether an object is a Job that has run to its end: nothing of it runs any more.
pub(super) fn has_ended(object: &Object) -> bool {
    let conditions = object.pointer("/status/conditions");
    let conditions = conditions.and_then(Value::as_array).into_iter().flatten();
    let ends = |one: &Value| one["type"] == "Complete" || one["type"] == "Failed";
    object.is("batch", "Job")
        && conditions
            .filter(|one| ends(one))
            .any(|one| one["status"] == "True")
}

/// `{"spec": {"replicas": value}}` for `/spec/replicas`.
pub(super) fn nested(pointer: &str, value: Value) -> Value {
    let tokens = pointer.trim_start_matches('/').rsplit('/');
    tokens.fold(
        value,
        |inner, token| json!({ token.replace("~1", "/").replace("~0", "~"): inner }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::knowledge::Knowledge;

    fn object(kind: &str, group: &str, spec: Value) -> Body {
        let object = Object::new(json!({"apiVersion": format!("{group}/v1"), "kind": kind,
            "metadata": {"name": "x", "namespace": "n"}, "spec": spec}));
        object.unwrap().into()
    }

    fn hold_of(object: &Object) -> Option<Hold> {
        hold(
            row(&Knowledge::builtin().holds, &object.id()).unwrap(),
            object,
        )
    }

    #[test]
    fn w_8_a_deployment_is_held_at_zero_and_gives_its_count_back_through_scale() {
        let deployment = object("Deployment", "apps", json!({"replicas": 3}));
        let hold = hold_of(&deployment).unwrap();
        let held = held(&deployment, &hold);
        assert_eq!(held.pointer("/spec/replicas"), Some(&json!(0)));
        assert_eq!(held.annotation(stamp::REPLICAS_ANNOTATION), Some("3"));
        assert_eq!(hold.release, Some(json!(3)));
        assert_eq!(released(&deployment, &hold).pointer("/spec/replicas"), None);
    }

    #[test]
    fn a_deployment_without_a_count_gets_the_servers_default_back() {
        let hold = hold_of(&object("Deployment", "apps", json!({}))).unwrap();
        assert_eq!(hold.release, Some(json!(1)));
    }

    #[test]
    fn what_is_quiet_as_captured_is_not_held() {
        assert_eq!(
            hold_of(&object("CronJob", "batch", json!({"suspend": true}))),
            None
        );
        assert_eq!(
            hold_of(&object("StatefulSet", "apps", json!({"replicas": 0}))),
            None
        );
    }

    #[test]
    fn w_9_a_cron_job_is_suspended_and_released_as_captured() {
        let cron = object("CronJob", "batch", json!({"schedule": "* * * * *"}));
        let hold = hold_of(&cron).unwrap();
        assert_eq!(
            held(&cron, &hold).pointer("/spec/suspend"),
            Some(&json!(true))
        );
        assert_eq!(released(&cron, &hold), cron);
    }

    #[test]
    fn w_9_a_daemon_set_is_held_by_a_selector_no_node_has() {
        let daemon = object("DaemonSet", "apps", json!({"template": {"spec": {}}}));
        let hold = hold_of(&daemon).unwrap();
        let held = held(&daemon, &hold);
        let selector = held.pointer("/spec/template/spec/nodeSelector").unwrap();
        assert_eq!(selector, &json!({"ferry.dev/hold": "true"}));
        assert_eq!(released(&daemon, &hold), daemon);
    }
}
