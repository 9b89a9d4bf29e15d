//! Where a mover must be because of claims that others carried.
//!
//! One mover carries what a pod mounts together, but not always all of it: some is on B already, from an earlier run or
//! from a mover that did better than the rest. A volume that is made now has to be reachable from where those are.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::DataError;
use super::api::{CLAIM, VOLUME};
use super::movers::{ClusterMovers, place};
use super::party::{Party, Round};
use crate::object::ObjectId;

impl ClusterMovers {
    /// Terms of node selectors, one list for each demand, of volumes of B that a round does not mount itself.
    pub(super) async fn near(
        &self,
        party: &Party<'_>,
        round: &Round,
    ) -> Result<Vec<Value>, DataError> {
        let mounted = round
            .seats
            .iter()
            .filter_map(|seat| party.volumes.get(seat.at));
        let mounted: BTreeSet<&ObjectId> = mounted.map(|volume| &volume.target).collect();
        let with = party.volumes.iter().flat_map(|volume| &volume.with);
        let own = party.volumes.iter().map(|volume| &volume.target);
        let others: BTreeSet<&ObjectId> =
            with.chain(own).filter(|id| !mounted.contains(id)).collect();
        let mut near = Vec::new();
        for other in others {
            let demands = self.demands(other).await?;
            near.extend(demands.filter(|terms| !near.contains(terms)));
        }
        Ok(near)
    }

    /// From which nodes a claim of B can be reached, if it has a volume that cares.
    async fn demands(&self, claim: &ObjectId) -> Result<Option<Value>, DataError> {
        let api = self.side(self.target.as_ref(), claim)?;
        let (namespace, name) = place(claim);
        let claim = api.get(&CLAIM, Some(namespace), name).await?;
        let Some(volume) = claim
            .as_ref()
            .and_then(|claim| claim.text("/spec/volumeName"))
        else {
            return Ok(None);
        };
        let volume = match api.get(&VOLUME, None, volume).await {
            // Movers without privileges need no rights on volumes, and have none.
            Err(error) if error.is_forbidden() => None,
            volume => volume?,
        };
        let terms = "/spec/nodeAffinity/required/nodeSelectorTerms";
        Ok(volume.and_then(|volume| volume.pointer(terms).cloned()))
    }
}

/// Terms that hold where one of the first and one of the second hold.
pub(super) fn both(first: &Value, second: &Value) -> Value {
    let terms = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (first, second) = (terms(first), terms(second));
    if first.is_empty() {
        return second.into();
    }
    let mut all = Vec::new();
    for one in &first {
        for other in &second {
            let mut term = Map::new();
            for key in ["matchExpressions", "matchFields"] {
                let tests = [one, other].into_iter().flat_map(|from| terms(&from[key]));
                let tests: Vec<Value> = tests.collect();
                if !tests.is_empty() {
                    term.insert(key.into(), tests.into());
                }
            }
            all.push(term.into());
        }
    }
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_has_to_suit_one_term_of_each_list() {
        let term = |key: &str| json!({"matchExpressions": [{"key": key, "operator": "Exists"}]});
        let test = |key: &str| json!({"key": key, "operator": "Exists"});
        assert_eq!(both(&Value::Null, &json!([term("a")])), json!([term("a")]));
        let named = json!([{"matchFields": [test("metadata.name")]}]);
        let wanted = json!([
            {"matchExpressions": [test("a")], "matchFields": [test("metadata.name")]},
            {"matchExpressions": [test("b")], "matchFields": [test("metadata.name")]},
        ]);
        assert_eq!(both(&json!([term("a"), term("b")]), &named), wanted);
        let wanted = json!([{"matchExpressions": [test("a"), test("b")]}]);
        assert_eq!(both(&json!([term("a")]), &json!([term("b")])), wanted);
    }
}
