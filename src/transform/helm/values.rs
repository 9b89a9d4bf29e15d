//! The values of a release follow the maps of a recipe.
//!
//! ```text
//! chart's values ─┐
//!                 ├─▶ what was in effect on A ──transforms──▶ what differs ──▶ the release's own values
//! user's values ──┘
//! ```
//!
//! `helm upgrade` without new values takes those of the record. Were only the manifest rewritten, the
//! first upgrade on B would go back to A's registry, hosts and classes. What the chart sets by itself is
//! in effect just as well, so that what changes of it becomes a value of the release's own.
//!
//! Values are no object and have no schema. They are looked at as the `spec` of one, by the same rows of
//! `targets.yaml` as any custom resource; entries that select objects are not about them.

use serde_json::{Map, Value, json};

use crate::object::{Object, pointer};
use crate::transform::apply::{Lens, stages};
use crate::transform::names::Maps;
use crate::transform::source::Source;
use crate::transform::work::{Part, Work};

/// What values are called in the tables (`Values.helm.sh`).
const AS_OBJECT: (&str, &str) = ("helm.sh/v1", "Values");
/// Where they stand in that object.
const PLACE: &str = "/spec";

/// The values as B shall have them.
pub(super) struct Followed {
    /// The record's new `config`.
    pub(super) config: Value,
    /// The entry that asked for the first change.
    pub(super) part: Part,
    /// Paths, joined by dots, that were the chart's alone.
    pub(super) added: Vec<String>,
}

/// The record's values after all maps; `None` when nothing in them changes.
pub(super) fn follow(
    record: &Value,
    home: Option<&str>,
    work: &Work<'_>,
    lens: Lens<'_>,
    maps: &mut Maps,
) -> Option<Followed> {
    let given = &record["config"];
    let (api_version, kind) = AS_OBJECT;
    let object = Object::new(json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": {"name": record["name"], "namespace": home},
        "spec": in_effect(&record["chart"]["values"], given),
    }));
    let objects = [object.ok()?];
    let source = Source {
        definitions: work.source.all_definitions(),
        ..Source::new(&objects)
    };
    let mut inner = Work::new(&source, work.recipes);
    drop(stages(&mut inner, lens, maps));
    let effective = inner.objects()[0].pointer(PLACE)?;
    let mut config = match given {
        Value::Object(_) => given.clone(),
        _ => Value::Object(Map::new()),
    };
    let mut followed = None;
    let mut added = Vec::new();
    for (change, part) in inner.changes.iter().zip(&inner.origins) {
        let Some(path) = change
            .path
            .strip_prefix(PLACE)
            .filter(|path| !path.is_empty())
        else {
            continue;
        };
        let place = own(effective, path);
        let name = dotted(place);
        if given.pointer(place).is_none() && !added.contains(&name) {
            added.push(name);
        }
        let Some(value) = effective.pointer(place) else {
            continue;
        };
        pointer::set(&mut config, place, value.clone());
        followed.get_or_insert(*part);
    }
    Some(Followed {
        config,
        part: followed?,
        added,
    })
}

/// The chart's values under the user's, as Helm merges them: maps key by key, lists whole, and null
/// takes a value of the chart's away.
fn in_effect(chart: &Value, given: &Value) -> Value {
    let (Value::Object(chart), Value::Object(given)) = (chart, given) else {
        return match given {
            Value::Null => chart.clone(),
            given => given.clone(),
        };
    };
    let mut merged = chart.clone();
    for (key, value) in given {
        if value.is_null() {
            merged.remove(key);
            continue;
        }
        let below = merged.get(key).unwrap_or(&Value::Null);
        let below = in_effect(below, value);
        merged.insert(key.clone(), below);
    }
    Value::Object(merged)
}

/// The value that has to be the release's own for a change at `path`: the outermost list on the way, as
/// lists are taken whole, or the place itself.
fn own<'p>(effective: &Value, path: &'p str) -> &'p str {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    let lists = ends.map(|end| &path[..end]);
    let mut lists = lists.filter(|prefix| effective.pointer(prefix).is_some_and(Value::is_array));
    lists.next().unwrap_or(path)
}

/// As people write a value's path: `image.registry`.
fn dotted(path: &str) -> String {
    let segments: Vec<_> = pointer::segments(path).collect();
    segments.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::references::References;
    use crate::knowledge::Knowledge;
    use crate::transform::Recipe;

    /// What a record's values become under some transforms.
    fn followed(record: &Value, transforms: &str) -> Option<Followed> {
        let text = format!(
            "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
        );
        let recipes = [Recipe::parse("t.yaml", &text).unwrap()];
        let knowledge = Knowledge::builtin();
        let references = References::new(knowledge, []);
        let lens = Lens {
            knowledge,
            references: &references,
        };
        let source = Source::new(&[]);
        let work = Work::new(&source, &recipes);
        let mut maps = Maps::join(&recipes).unwrap();
        follow(record, Some("shop"), &work, lens, &mut maps)
    }

    const MAPS: &str = "- registry: {map: {r.a: r.b/m, docker.io: r.b/hub}}
- host: {map: {shop.a: shop.b}}
- storageClass: {map: {fast: gp3}}
";

    #[test]
    fn t_4h_values_the_user_gave_follow_the_maps() {
        let record = json!({"name": "web", "config": {
            "image": {"registry": "r.a", "repository": "shop/web", "tag": "1"},
            "sidecar": {"image": "r.a/log:2"},
            "ingress": {"hosts": [{"host": "shop.a"}], "enabled": true},
            "persistence": {"storageClass": "fast"}, "greeting": "r.a"}});
        let done = followed(&record, MAPS).unwrap();
        assert_eq!(
            done.config,
            json!({
                "image": {"registry": "r.b", "repository": "m/shop/web", "tag": "1"},
                "sidecar": {"image": "r.b/m/log:2"},
                "ingress": {"hosts": [{"host": "shop.b"}], "enabled": true},
                "persistence": {"storageClass": "gp3"}, "greeting": "r.a"})
        );
        assert_eq!(done.added, Vec::<String>::new());
        let again = json!({"name": "web", "config": done.config});
        assert!(followed(&again, MAPS).is_none());
    }

    #[test]
    fn t_4h_what_the_chart_sets_by_itself_becomes_the_releases_own() {
        let record = json!({
            "name": "cache",
            "chart": {"values": {
                "image": {"registry": "docker.io", "repository": "bitnami/redis", "tag": "7"},
                "hosts": ["shop.a", "other.a"], "metrics": {"image": {"registry": "docker.io", "repository": "x/y", "tag": "1"}}}},
            "config": {"image": {"tag": "8"}, "metrics": null}});
        let done = followed(&record, MAPS).unwrap();
        assert_eq!(
            done.config,
            json!({"image": {"registry": "r.b", "repository": "hub/bitnami/redis", "tag": "8"},
                "hosts": ["shop.b", "other.a"], "metrics": null})
        );
        assert_eq!(done.added, ["image.repository", "image.registry", "hosts"]);
    }

    #[test]
    fn t_4h_a_registry_for_all_images_is_the_one_that_counts() {
        let record = json!({"name": "cache", "config": {
            "global": {"imageRegistry": "r.a"},
            "image": {"registry": "docker.io", "repository": "bitnami/redis", "tag": "7"}}});
        assert_eq!(
            followed(&record, MAPS).unwrap().config,
            json!({"global": {"imageRegistry": "r.b/m"},
                "image": {"registry": "docker.io", "repository": "bitnami/redis", "tag": "7"}})
        );
    }

    #[test]
    fn values_about_nothing_that_moves_stay_as_they_are() {
        assert!(followed(&json!({"name": "web", "config": {"a": 1}}), MAPS).is_none());
        assert!(followed(&json!({"name": "web"}), MAPS).is_none());
    }
}
