//! Where hosts that a cutover moved are served now: what DNS has to say.

use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Cluster, Place};
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::plan::{Action, Body, Plan, hosts_of};
use crate::report::palette::{Role, paint};
use crate::report::table::{Cell, render};

/// Where objects of B tell by which addresses they are reached.
const ADDRESSES: [(&str, &[&str]); 3] = [
    ("/status/loadBalancer/ingress", &["ip", "hostname"]),
    ("/status/ingress", &["routerCanonicalHostname"]),
    ("/status/addresses", &["value"]),
];

/// A host that B has from A.
#[derive(Debug, Serialize)]
pub(super) struct Switched {
    host: String,
    /// The object of B that takes it.
    object: ObjectId,
    /// Where B answers for it, as the object says; empty while it does not.
    addresses: Vec<String>,
}

/// The hosts that a plan moves, each with B's object for it; as B says now.
pub(super) async fn switched(target: &Cluster, plan: &Plan) -> Vec<Switched> {
    let moved: Vec<&String> = (plan.steps.iter())
        .filter_map(|step| match &step.action {
            Action::GiveUp { hosts, .. } => Some(hosts),
            _ => None,
        })
        .flatten()
        .collect();
    let mut all = Vec::new();
    if moved.is_empty() {
        return all;
    }
    for step in &plan.steps {
        let Action::Apply { body, .. } = &step.action else {
            continue;
        };
        let hosts = hosts_of(body, Knowledge::builtin()).into_iter();
        let hosts: Vec<String> = hosts.filter(|host| moved.contains(&host)).collect();
        if hosts.is_empty() {
            continue;
        }
        let addresses = live(target, body).await.as_ref().map(addresses);
        let addresses = addresses.unwrap_or_default();
        all.extend(hosts.into_iter().map(|host| Switched {
            host,
            object: step.object.clone(),
            addresses: addresses.clone(),
        }));
    }
    all
}

async fn live(target: &Cluster, body: &Body) -> Option<Object> {
    let served = target.served().await.ok()?;
    let same = |one: &&crate::surface::ApiResource| {
        one.group == body.group() && one.kind == body.kind() && one.version == body.version()
    };
    let resource = served.iter().find(same)?;
    target.get(Place::of(resource, body)).await.ok()?
}

fn addresses(object: &Object) -> Vec<String> {
    let mut all = Vec::new();
    for (list, keys) in ADDRESSES {
        let list = object.pointer(list).and_then(Value::as_array);
        for one in list.into_iter().flatten() {
            let found = keys.iter().find_map(|key| one[*key].as_str());
            all.extend(found.map(str::to_owned));
        }
    }
    all
}

/// It as lines.
pub(super) fn text(hosts: &[Switched]) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let row = |one: &Switched| -> Vec<Cell> {
        let addresses = match one.addresses.as_slice() {
            [] => "none yet: ask the object's status again".to_owned(),
            some => some.join(", "),
        };
        vec![
            Cell::new(Role::Name, &one.host),
            one.object.to_string().into(),
            addresses.into(),
        ]
    };
    let rows: Vec<Vec<Cell>> = hosts.iter().map(row).collect();
    format!(
        "cluster A has given its hosts up and B has them; {}\n{}",
        paint(
            Role::Hint,
            "where no DNS controller follows the objects, point the records there:"
        ),
        render(&["HOST", "OBJECT ON B", "ADDRESSES"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_where_each_kind_tells_them() {
        let of = |status: Value| {
            let object = serde_json::json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"},
                "status": status});
            addresses(&Object::new(object).unwrap())
        };
        let balancer = serde_json::json!({"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"hostname": "lb.x"}]}});
        assert_eq!(of(balancer), ["10.0.0.1", "lb.x"]);
        let route =
            serde_json::json!({"ingress": [{"host": "a.x", "routerCanonicalHostname": "r.x"}]});
        assert_eq!(of(route), ["r.x"]);
        let gateway =
            serde_json::json!({"addresses": [{"type": "IPAddress", "value": "10.0.0.2"}]});
        assert_eq!(of(gateway), ["10.0.0.2"]);
        assert_eq!(of(serde_json::json!({})), [""; 0]);
    }
}
