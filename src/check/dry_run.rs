//! C-70: what B's own dry run said, and C-5: fields B dropped without a word.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{CheckInput, is_blocked, list};
use crate::finding::{Finding, Verdict};
use crate::object::{Object, ObjectId, pointer};
use crate::target::DryRun;

/// Dropping one of these changes what a pod may do.
const SECURITY: [&str; 5] = [
    "securityContext",
    "seccompProfile",
    "appArmorProfile",
    "hostUsers",
    "automountServiceAccountToken",
];

pub(super) fn check(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let mut unproven: BTreeMap<&str, Vec<ObjectId>> = BTreeMap::new();
    for object in input.objects() {
        let id = object.id();
        match input.target.dry_run.get(&id) {
            Some(DryRun::Rejected {
                status, message, ..
            }) if is_expected(input, &id, *status, message) => {}
            // A refusal that another check explained already, with its remedy, is not said twice.
            Some(DryRun::Rejected { .. }) if is_blocked(findings, &id) => {}
            Some(DryRun::Rejected {
                status,
                reason,
                message,
            }) => findings.push(rejected(id, *status, reason, message)),
            Some(DryRun::Accepted { object: stored }) => findings.extend(dropped(object, stored)),
            Some(DryRun::Unproven { reason }) => unproven.entry(reason).or_default().push(id),
            None => {}
        }
    }
    for (reason, objects) in unproven {
        let all = objects.len() == input.objects().len();
        let what = match all {
            true => "no object could be tried".to_owned(),
            false => format!("{} objects could not be tried", objects.len()),
        };
        findings.push(
            Finding::new(
                Verdict::Info,
                "C-70",
                format!("{what} on the target cluster without writing"),
            )
            .because(match all {
                true => reason.to_owned(),
                false => format!("{reason}: {}", list(objects)),
            })
            .remedy("the other checks were made; the restore will tell the rest"),
        );
    }
}

/// Refusals that do not matter to a plan: a claim that is there is kept as it is, and the number of
/// replicas belongs to whoever scaled the workload last (W-8).
fn is_expected(input: &CheckInput<'_>, id: &ObjectId, status: u16, message: &str) -> bool {
    let live = input.target.live.contains_key(id);
    let kept = live && id.is("", "PersistentVolumeClaim");
    let mut fields = message
        .split(|letter: char| letter.is_whitespace() || letter == ',')
        .filter(|word| word.starts_with('.'))
        .peekable();
    let scaled = live
        && status == 409
        && fields.peek().is_some()
        && fields.all(|field| field == ".spec.replicas");
    kept || scaled
}

fn rejected(id: ObjectId, status: u16, reason: &str, message: &str) -> Finding {
    let remedy = match status {
        403 if message.contains("quota") => {
            "raise the quota on the target, or lower requests or replicas in a recipe"
        }
        403 => "ask the target's administrator what its policies allow, or patch the object",
        409 => {
            "another manager owns these fields on the target; leave them to it, or take them with \
             `ferry apply --force-conflicts`"
        }
        _ => "patch the field the message names in a recipe",
    };
    Finding::new(
        Verdict::Block,
        "C-70",
        format!("the target cluster refuses the object ({status} {reason})"),
    )
    .on(id)
    .because(message)
    .remedy(remedy)
}

/// C-5: what was sent and is not in the answer.
fn dropped(sent: &Object, stored: &Object) -> Vec<Finding> {
    let mut lost = Vec::new();
    compare(sent.value(), stored.value(), String::new(), &mut lost);
    lost.into_iter()
        // The server turns stringData into data, and these are its own.
        .filter(|path| {
            let own = ["/stringData", "/status", "/metadata/creationTimestamp", "/metadata/managedFields"];
            !own.iter().any(|prefix| path.starts_with(prefix))
        })
        .map(|path| {
            let security = pointer::segments(&path).any(|key| SECURITY.contains(&key.as_ref()));
            let verdict = if security { Verdict::Block } else { Verdict::Warn };
            Finding::new(verdict, "C-5", "the target cluster drops this field without a word")
                .on(sent.id())
                .at(path)
                .because("it was sent in a dry run and is not in the answer: a newer field, or a feature that is off")
                .remedy("remove the field with a patch if the application works without it, or upgrade the target")
        })
        .collect()
}

fn compare(sent: &Value, stored: &Value, path: String, lost: &mut Vec<String>) {
    match (sent, stored) {
        (Value::Object(sent), Value::Object(stored)) => {
            for (key, child) in sent {
                let path = pointer::join(&path, key);
                match stored.get(key) {
                    Some(stored) => compare(child, stored, path, lost),
                    None if is_empty(child) => {}
                    None if child.is_object() => {
                        compare(child, &Value::Object(Map::new()), path, lost)
                    }
                    None => lost.push(path),
                }
            }
        }
        // Lists of another length were merged or completed; their elements cannot be paired.
        (Value::Array(sent), Value::Array(stored)) if sent.len() == stored.len() => {
            for (index, (sent, stored)) in sent.iter().zip(stored).enumerate() {
                compare(sent, stored, format!("{path}/{index}"), lost);
            }
        }
        _ => {}
    }
}

/// What a server leaves out because it is the same as nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(map) => map.values().all(is_empty),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Case, object};
    use crate::target::DryRun;

    fn answered(spec: &str, answer: DryRun) -> Case {
        let sent = object("apps/v1", "Deployment", "shop/a", spec);
        let mut case = Case::new(vec![sent.clone()]);
        case.target.dry_run.insert(sent.id(), answer);
        case
    }

    fn stored(spec: &str) -> DryRun {
        DryRun::Accepted {
            object: object("apps/v1", "Deployment", "shop/a", spec),
        }
    }

    #[test]
    fn c_70_a_refusal_blocks_with_the_servers_words() {
        let refusal = DryRun::Rejected {
            status: 422,
            reason: "Invalid".into(),
            message: "spec.x: Required value".into(),
        };
        let found = answered("{}", refusal).expect(&[
            "block C-70 Deployment.apps shop/a: the target cluster refuses the object (422 Invalid)",
        ]);
        assert_eq!(found[0].evidence.as_deref(), Some("spec.x: Required value"));
    }

    #[test]
    fn c_70_replicas_someone_else_set_are_theirs() {
        let refusal = |fields: &str| DryRun::Rejected {
            status: 409,
            reason: "Conflict".into(),
            message: format!(
                "Apply failed with 1 conflict: conflict with \"x\" using apps/v1: {fields}"
            ),
        };
        let scaled = |fields: &str| {
            let mut case = answered("{}", refusal(fields));
            let live = case.capture.objects[0].object.clone();
            case.target.live.insert(live.id(), live);
            case
        };
        scaled(".spec.replicas").expect(&[]);
        scaled(".spec.paused\n- .spec.replicas").expect(&[
            "block C-70 Deployment.apps shop/a: the target cluster refuses the object (409 Conflict)",
        ]);
    }

    #[test]
    fn c_70_what_could_not_be_tried_is_said_once() {
        let unproven = DryRun::Unproven {
            reason: "its namespace is not there".into(),
        };
        answered("{}", unproven).expect(&[
            "info C-70 -: no object could be tried on the target cluster without writing",
        ]);
    }

    #[test]
    fn c_5_a_field_dropped_in_silence_is_found_by_comparing() {
        answered(r#"{"a": {"new": 1}, "b": [], "c": [{"x": 1}]}"#, stored(r#"{"a": {}, "c": [{"x": 1, "y": 2}], "d": 1}"#))
            .expect(&["warn C-5 Deployment.apps shop/a /spec/a/new: the target cluster drops this field without a word"]);
        answered(r#"{"hostUsers": true}"#, stored("{}"))
            .expect(&["block C-5 Deployment.apps shop/a /spec/hostUsers: the target cluster drops this field without a word"]);
    }
}
