//! `ferry recipe lint`: what is allowed in a recipe and is still likely a mistake.

mod reach;
pub mod schema;

use std::collections::BTreeMap;
use std::fmt::Display;

use self::schema::TypeSchema;
use super::apply::apply_to;
use super::fault::{Fault, Faults};
use super::recipe::{Mapping, Recipe, Transform};
use super::source::Source;
use crate::capture::Capture;
use crate::knowledge::Knowledge;
use crate::object::Object;

/// What recipes are held against, beside themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Against<'a> {
    /// A capture they shall fit.
    pub capture: Option<&'a Capture>,
    /// Types of A and B that their patches shall fit.
    pub schemas: &'a [TypeSchema],
}

/// Looks at sound recipes again: rules that change nothing or can never match, names that are source
/// and target at once, paths that no object can have; with a capture also everything that would keep
/// the recipes from being applied to it.
///
/// Advice has the severity of a warning, what would fail that of an error.
pub fn lint(recipes: &[Recipe], against: Against<'_>, knowledge: &Knowledge) -> Vec<Fault> {
    let mut found: Vec<Fault> = recipes
        .iter()
        .flat_map(|recipe| advice(recipe, knowledge))
        .collect();
    found.extend(schema::judge(recipes, against.schemas));
    if let Some(capture) = against.capture {
        let captured = capture.objects.iter();
        let objects: Vec<Object> = captured.map(|captured| captured.object.clone()).collect();
        let source = Source::of(capture, &objects);
        if let Err(errors) = apply_to(&source, recipes, knowledge) {
            found.extend(errors.faults);
        }
    }
    found
}

fn advice(recipe: &Recipe, knowledge: &Knowledge) -> Vec<Fault> {
    let mut advice = Faults::advice(recipe.source.clone());
    for entry in &recipe.entries {
        match &entry.transform {
            Transform::Class(_, map)
            | Transform::Namespace(map)
            | Transform::ClusterDomain(map) => {
                same(map, &mut advice);
            }
            Transform::Registry(registry) => same(&registry.map, &mut advice),
            Transform::Names(names) => same(&names.map, &mut advice),
            Transform::Host(map) => same(map, &mut advice),
            Transform::Endpoint(map) => same(map, &mut advice),
            // The rest has no map.
            _ => {}
        }
    }
    reach::advise(recipe, knowledge, &mut advice);
    let mut families: BTreeMap<&str, Vec<&Mapping<String>>> = BTreeMap::new();
    for entry in &recipe.entries {
        if let Transform::Class(_, map) | Transform::Namespace(map) = &entry.transform {
            families
                .entry(entry.transform.key())
                .or_default()
                .extend(map);
        }
    }
    for lines in families.into_values() {
        chains(lines.into_iter(), &mut advice);
    }
    for variable in recipe.variables.iter().filter(|variable| !variable.used) {
        advice
            .add(
                format!("the variable `{}` is never used", variable.name),
                &variable.span,
                "declared here",
            )
            .help(format!(
                "write `${{{}}}` where it belongs, or take it out",
                variable.name
            ));
    }
    advice.into_list()
}

fn same<T: PartialEq + Display>(map: &[Mapping<T>], advice: &mut Faults) {
    for Mapping { from, to } in map.iter().filter(|line| line.from.value == line.to.value) {
        advice
            .add(
                format!("`{}` is mapped to itself", from.value),
                &to.span,
                "changes nothing",
            )
            .help("remove the line, unless it is there to say that the name stays");
    }
}

fn chains<'a>(map: impl Iterator<Item = &'a Mapping<String>>, advice: &mut Faults) {
    let lines: BTreeMap<&str, &Mapping<String>> =
        map.map(|line| (line.from.value.as_str(), line)).collect();
    for line in lines.values() {
        let Some(next) = lines.get(line.to.value.as_str()) else {
            continue;
        };
        let (a, b, c) = (&line.from.value, &line.to.value, &next.to.value);
        if a != b && b != c {
            advice
                .add(
                    format!("`{b}` is what `{a}` becomes, and becomes `{c}` itself"),
                    &line.to.span,
                    "a source too",
                )
                .also(&next.from.span, "its own rule")
                .help(format!(
                    "rules act once and together: what is `{a}` on the source ends as `{b}`, not as `{c}`"
                ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(transforms: &str) -> Vec<String> {
        let text = format!(
            "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {{name: t}}\ntransforms:\n{transforms}"
        );
        let recipe = Recipe::parse("t.yaml", &text).unwrap();
        let found = lint(&[recipe], Against::default(), Knowledge::builtin());
        let warning =
            |fault: &Fault| miette::Diagnostic::severity(fault) == Some(miette::Severity::Warning);
        assert!(found.iter().all(warning));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_plain_recipe_has_no_advice() {
        assert!(advice("- namespace: {map: {a: b}}\n- storageClass: {map: {b: a}}\n").is_empty());
    }

    #[test]
    fn rules_that_change_nothing_and_chains_are_pointed_out() {
        assert_eq!(
            advice("- storageClass: {map: {a: a, b: c}}\n- storageClass: {map: {c: d}}\n"),
            [
                "`a` is mapped to itself",
                "`c` is what `b` becomes, and becomes `d` itself"
            ]
        );
    }

    #[test]
    fn what_can_never_match_or_is_always_set_again_is_pointed_out() {
        assert_eq!(
            advice(
                "- namespace: {map: {shop: shop-prod}}\n\
                 - scale: {select: {kind: Deployment, namespace: shop-prod}, replicas: 1}\n\
                 - labels: {select: {kind: ClusterRole, namespace: shop}, set: {a: b}}\n\
                 - annotations: {select: {kind: Service}, set: {a: b}}\n\
                 - annotations: {set: {a: c, d: e}}\n  override: true\n\
                 - annotations: {select: {kind: Job}, set: {a: d}}\n  override: true\n"
            ),
            [
                "`select` asks for the namespace `shop-prod`, which `shop` becomes",
                "ClusterRole is in no namespace, and `select` asks for one",
                "what this annotations sets is always set again",
            ]
        );
    }

    #[test]
    fn two_entries_that_set_one_place_differently_are_pointed_out() {
        assert_eq!(
            advice(
                "- scale: {select: {kind: Deployment}, replicas: 1}\n\
                 - scale: {select: {kind: Deployment, name: web}, replicas: 2}\n\
                 - scale: {select: {kind: Job}, replicas: 2}\n\
                 - labels: {set: {a: b, c: d}}\n\
                 - labels: {set: {a: b, c: e}}\n\
                 - patch: {select: {kind: Service}, merge: {spec: {type: NodePort, a: {b: 1}}}}\n\
                 - patch: {select: {kind: Service}, jsonPatch: [{op: replace, path: /spec/type, value: ClusterIP}]}\n"
            ),
            [
                "two entries set replicas to different values",
                "two entries set labels `c` to different values",
                "two entries set /spec/type to different values",
            ]
        );
    }
}
