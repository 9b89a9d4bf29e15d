//! `hooks`: commands in the application's own containers, and whose pods they run in.
//!
//! A hook selects workloads, by the words with which everything is selected, as they are on A; it runs in their
//! pods. It changes no object: which command runs where is part of the plan.

use std::ops::Range;

use super::fault::{Fault, Faults};
use super::grammar;
use super::parse::{Fields, flag, in_words, placed_texts, select_of, suggest, text};
use super::recipe::{Placed, Recipe};
use super::select::Select;
use super::source::Source;
use crate::graph::roots::Roots;
use crate::hook::{Hook, Moment, OnError, Pods, TIMEOUT, WAIT, WaitFor, seconds};
use crate::object::{Object, ObjectId};
use crate::yaml::located::{Located, Node};

pub(super) const MOMENTS: [(&str, Moment); 2] = [
    ("before-hold", Moment::BeforeHold),
    ("after-release", Moment::AfterRelease),
];
pub(super) const PODS: [(&str, Pods); 2] = [("all", Pods::All), ("first", Pods::First)];
pub(super) const ON_ERROR: [(&str, OnError); 2] =
    [("fail", OnError::Fail), ("continue", OnError::Continue)];
pub(super) const WAIT_FOR: [(&str, WaitFor); 2] =
    [("ready", WaitFor::Ready), ("running", WaitFor::Running)];

/// One entry of `hooks`.
#[derive(Clone, Debug)]
pub struct HookEntry {
    /// What runs.
    pub hook: Hook,
    /// In whose pods.
    pub select: Select,
    /// Whether it may match nothing.
    pub optional: bool,
    /// Bytes of its name.
    pub span: Range<usize>,
}

/// A hook and the workload in whose pods it runs, by its name on A.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What runs.
    pub hook: Hook,
    /// The workload.
    pub object: ObjectId,
}

/// Reads `hooks:`.
pub(super) fn parse(node: &Located, recipe: &str, faults: &mut Faults) -> Vec<HookEntry> {
    let Node::List(items) = &node.node else {
        let message = format!("`hooks` must be a list, found {}", node.describe());
        faults.add(message, &node.span, "expected a list");
        faults.help("begin each hook with `- name: `");
        return Vec::new();
    };
    let read = |item: &Located| entry(item, recipe, faults);
    let entries: Vec<HookEntry> = items.iter().filter_map(read).collect();
    for (at, second) in entries.iter().enumerate() {
        let same = |first: &&HookEntry| first.hook.name == second.hook.name;
        if let Some(first) = entries[..at].iter().find(same) {
            faults
                .add("two hooks have one name", &second.span, "second")
                .also(&first.span, "first")
                .help("give each a name of its own: plans and journals show it");
        }
    }
    entries
}

fn entry(node: &Located, recipe: &str, faults: &mut Faults) -> Option<HookEntry> {
    let fields = Fields::read(node, &node.span, &grammar::HOOK, faults)?;
    let name = fields.get("name").and_then(|node| placed(node, faults));
    let moment = word(&fields, "when", &MOMENTS, faults);
    let wait_for = word(&fields, "waitFor", &WAIT_FOR, faults);
    if let (Some(Moment::BeforeHold), Some(_), Some(node)) =
        (moment, wait_for, fields.get("waitFor"))
    {
        let message = "nothing is waited for on the source: its pods run, or the hook fails";
        faults.add(message, &node.span, "only for `after-release`");
    }
    let timeout = fields.get("timeout").map(|node| duration(node, faults));
    let container = fields.get("container").map(|node| text(node, faults));
    let command = fields.get("command").and_then(|node| command(node, faults));
    let yes = fields.get("optional").and_then(|node| flag(node, faults));
    let (pods, on_error) = (
        word(&fields, "pods", &PODS, faults),
        word(&fields, "onError", &ON_ERROR, faults),
    );
    let select = select_of(&fields, faults);
    fields.get("select")?;
    let name = name?;
    Some(HookEntry {
        hook: Hook {
            name: name.value,
            origin: format!("recipe {recipe}"),
            moment: moment?,
            pods: pods.unwrap_or_default(),
            container: container.flatten(),
            command: command?,
            timeout: timeout.flatten().unwrap_or(TIMEOUT),
            on_error: on_error.unwrap_or_default(),
            wait_for: wait_for.unwrap_or_default(),
            wait: WAIT,
        },
        select,
        optional: yes.unwrap_or(false),
        span: name.span,
    })
}

fn placed(node: &Located, faults: &mut Faults) -> Option<Placed<String>> {
    let value = text(node, faults)?;
    if value.trim().is_empty() || value.chars().any(char::is_control) {
        faults.add("the hook's name is no name", &node.span, "give it a name");
        return None;
    }
    Some(Placed {
        value,
        span: node.span.clone(),
    })
}

/// One of some words.
fn word<T: Copy>(
    fields: &Fields<'_>,
    key: &str,
    words: &[(&str, T)],
    faults: &mut Faults,
) -> Option<T> {
    let node = fields.get(key)?;
    let given = text(node, faults)?;
    let known = words.iter().find(|(word, _)| *word == given);
    if known.is_none() {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        faults
            .add(format!("unknown `{key}`: `{given}`"), &node.span, "here")
            .help(suggest(&given, &names).unwrap_or_else(|| format!("it is {}", in_words(&names))));
    }
    known.map(|(_, value)| *value)
}

fn duration(node: &Located, faults: &mut Faults) -> Option<u64> {
    let given = text(node, faults)?;
    let read = seconds(&given);
    if read.is_none() {
        faults
            .add(format!("`{given}` is no time"), &node.span, "not a time")
            .help("write it with its unit, as in `30s` or `5m`");
    }
    read
}

fn command(node: &Located, faults: &mut Faults) -> Option<Vec<String>> {
    if !matches!(node.node, Node::List(_)) {
        let message = format!("`command` must be a list, found {}", node.describe());
        faults
            .add(message, &node.span, "expected a list")
            .help("no shell reads it; where one shall, write `[sh, -ec, 'a && b']`");
        return None;
    }
    let words = placed_texts(node, faults);
    if words.first().is_none_or(|word| word.value.is_empty()) {
        faults.add("`command` has no program", &node.span, "nothing to run");
        return None;
    }
    Some(words.into_iter().map(|word| word.value).collect())
}

/// In whose pods the hooks of all recipes run, in their order. One that finds nobody is a mistake.
pub(super) fn choose(
    source: &Source<'_>,
    recipes: &[Recipe],
    roots: &Roots<'_>,
) -> (Vec<Chosen>, Vec<Fault>) {
    let (mut chosen, mut all) = (Vec::new(), Vec::new());
    for recipe in recipes {
        let mut faults = Faults::new(recipe.source.clone());
        for entry in &recipe.hooks {
            let before = chosen.len();
            for object in source.objects {
                match entry.select.matches(object) {
                    Ok(true) if has_pods(object, &entry.select, roots) => chosen.push(Chosen {
                        hook: entry.hook.clone(),
                        object: object.id(),
                    }),
                    Ok(_) => {}
                    Err(error) => {
                        let message = format!("the expression fails on {}", object.id());
                        faults.add(message, &error.span, error.reason);
                        faults.help("ask `has(object.…)` first, or narrow `select` with `kind`");
                        break;
                    }
                }
            }
            if chosen.len() == before && !entry.optional && faults.len() == 0 {
                faults
                    .add(
                        format!("the hook `{}` selects nothing that has pods", entry.hook.name),
                        &entry.span,
                        "would never run",
                    )
                    .help(
                        "select the workload whose pods it runs in, as in `{kind: StatefulSet, name: db}`, as it \
                         is on the source; a Pod only when nothing else made it; or add `optional: true`",
                    );
            }
        }
        all.extend(faults.into_list());
    }
    (chosen, all)
}

/// Whether an object runs pods that last: one with a pod template, or one of a kind that was asked for by name, as
/// an operator's.
fn has_pods(object: &Object, select: &Select, roots: &Roots<'_>) -> bool {
    let passing = ["Job", "CronJob", "PodTemplate"].contains(&object.kind());
    let named = !select.kinds.is_empty() && !object.group().is_empty();
    !passing && (object.is("", "Pod") || named || !roots.pods(object).is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::hook::{Moment, OnError};
    use crate::knowledge::Knowledge;
    use crate::object::Object;
    use crate::transform::{Recipe, apply};

    const HEAD: &str =
        "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {name: t}\nhooks:\n";

    fn mistakes(hook: &str) -> Vec<String> {
        let errors = Recipe::parse("t.yaml", &format!("{HEAD}{hook}")).unwrap_err();
        errors.faults.iter().map(ToString::to_string).collect()
    }

    fn objects() -> [Object; 2] {
        [
            ("v1", "Service", json!({})),
            (
                "apps/v1",
                "StatefulSet",
                json!({"template": {"spec": {"containers": []}}}),
            ),
        ]
        .map(|(version, kind, spec)| {
            Object::new(json!({"apiVersion": version, "kind": kind, "spec": spec,
                "metadata": {"name": "db", "namespace": "shop", "labels": {"app": "db"}}}))
            .unwrap()
        })
    }

    #[test]
    fn a_recipe_of_hooks_alone_chooses_what_has_pods() {
        let text = format!(
            "{HEAD}- {{name: flush, when: before-hold, select: {{labels: {{app: db}}}}, command: [sync, '$${{A}}']}}\n"
        );
        let recipe = Recipe::parse("t.yaml", &text).unwrap();
        let made = apply(&objects(), &[recipe], Knowledge::builtin()).unwrap();
        let [chosen] = made.hooks.as_slice() else {
            panic!("{:?}", made.hooks)
        };
        assert_eq!(chosen.object.kind, "StatefulSet");
        assert_eq!(chosen.hook.command, ["sync", "${A}"]);
        assert_eq!(chosen.hook.moment, Moment::BeforeHold);
        assert_eq!(chosen.hook.on_error, OnError::Fail);
    }

    #[test]
    fn a_hook_that_would_never_run_is_a_mistake_unless_it_may() {
        let text = |more: &str| {
            format!(
                "{HEAD}- {{name: x, when: after-release, select: {{kind: Service}}, command: [a]{more}}}\n"
            )
        };
        let apply = |more: &str| {
            let recipe = Recipe::parse("t.yaml", &text(more)).unwrap();
            apply(&objects(), &[recipe], Knowledge::builtin())
        };
        let errors = apply("").unwrap_err();
        assert_eq!(
            errors.faults[0].to_string(),
            "the hook `x` selects nothing that has pods"
        );
        assert!(apply(", optional: true").unwrap().hooks.is_empty());
    }

    #[test]
    fn every_mistake_of_a_hook_is_told() {
        assert_eq!(
            mistakes(
                "- {name: a, when: after, select: {kind: A}, command: sync, timeout: '300', onError: Fail, \
                 waitFor: never, shell: sh}\n"
            ),
            [
                "unknown `when`: `after`",
                "`command` must be a list, found a string",
                "`300` is no time",
                "unknown `onError`: `Fail`",
                "unknown `waitFor`: `never`",
                "unknown key `shell` in a hook",
            ]
        );
        assert_eq!(
            mistakes("- {name: a}\n"),
            [
                "a hook lacks `when`",
                "a hook lacks `select`",
                "a hook lacks `command`"
            ]
        );
        let two = "{name: a, when: before-hold, select: {kind: A}, command: [x]}";
        assert_eq!(
            mistakes(&format!("- {two}\n- {two}\n")),
            ["two hooks have one name"]
        );
    }
}
