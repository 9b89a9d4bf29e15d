//! From recipe text to [`Recipe`], finding every mistake on the way.
//!
//! Nothing is guessed and nothing is ignored: an unknown key, a wrong type or a name no cluster would
//! take refuses the whole recipe. A transform that silently did nothing would look like a success.

mod fields;
mod maps;
mod patches;

use std::ops::Range;
use std::sync::Arc;

use aws_lc_rs::digest::SHA256;
use miette::NamedSource;

pub(super) use self::fields::{
    Fields, entries_of, flag, in_words, number, placed_texts, suggest, text, texts,
};
pub(super) use self::maps::mappings;
pub(super) use self::patches::{OPERATIONS, path};
use super::class::Class;
use super::fault::{Fault, Faults};
use super::grammar::{self, Need, Shape};
use super::hooks::HookEntry;
use super::recipe::{Entry, Marks, Placed, Recipe, Scale, Transform};
use super::select::Select;
use super::values::{self, Values};
use super::variables::{self, Variable};
use super::{
    config_text, convert, exposure, guard, hooks, rename, resources, scheduling, secrets, volumes,
};
use crate::yaml::located::{Key, Located, Node, parse_located};

/// What a recipe says it is.
pub(super) const API_VERSION: &str = "ferry.dev/v1alpha1";
pub(super) const KIND: &str = "Recipe";

/// Keys under which an entry's variables are not put in: an expression has them as its own values.
const EXPRESSION: [&str; 2] = ["select", "cel"];

/// What a recipe's text says.
pub(super) struct Read {
    /// The recipe, when it could be read so far.
    pub(super) recipe: Option<Recipe>,
    /// The recipes it includes, in order.
    pub(super) includes: Vec<Include>,
    /// Everything wrong with it, in file order.
    pub(super) faults: Vec<Fault>,
}

/// One recipe that another includes.
#[derive(Clone, Debug)]
pub(super) struct Include {
    /// A path as seen from the including recipe, or `builtin:NAME`.
    pub(super) target: Placed<String>,
    /// Values for its variables; the user's win over them.
    pub(super) values: Values,
}

/// Reads a recipe and says everything that is wrong with it. `includer` are the values that a
/// recipe gives one that it includes.
pub(super) fn read(source: &Arc<NamedSource<String>>, user: &Values, includer: &Values) -> Read {
    let mut faults = Faults::new(Arc::clone(source));
    let mut includes = Vec::new();
    let recipe = match parse_located(source.inner()) {
        Ok(mut tree) => Document {
            source,
            user,
            includer,
        }
        .read(&mut tree, &mut includes, &mut faults),
        Err(error) => {
            faults.add("the file is not valid YAML", &error.span, &error.message);
            None
        }
    };
    Read {
        recipe,
        includes,
        faults: faults.into_list(),
    }
}

/// What a document is read with.
struct Document<'d> {
    source: &'d Arc<NamedSource<String>>,
    user: &'d Values,
    includer: &'d Values,
}

impl Document<'_> {
    fn read(
        &self,
        tree: &mut Located,
        includes: &mut Vec<Include>,
        faults: &mut Faults,
    ) -> Option<Recipe> {
        let (mut variables, open) = self.put_in_variables(tree, faults);
        let told = faults.len();
        if matches!(tree.node, Node::Scalar(serde_json::Value::Null)) {
            faults
                .add("the recipe is empty", &tree.span, "nothing here")
                .help("`ferry recipe new CAPTURE` writes one to begin with; docs/recipes.md has examples");
            return None;
        }
        let fields = Fields::read(tree, &tree.span, &grammar::RECIPE, faults)?;
        header(&fields, faults);
        let name = fields
            .required("metadata", faults)
            .and_then(|node| metadata(node, faults));
        if let Some(node) = fields.get("include") {
            includes.extend(self.includes(node, faults));
        }
        let others = ["include", "hooks"];
        let node = match others.iter().any(|key| fields.get(key).is_some()) {
            true => fields.get("transforms"),
            false => fields.required("transforms", faults),
        };
        let entries = node
            .map(|node| entries(node, &mut variables, faults))
            .unwrap_or_default();
        maps::contradictions(&entries, faults);
        let hooks = fields
            .get("hooks")
            .map(|node| hooks(node, name.as_deref(), &mut variables, faults))
            .unwrap_or_default();
        faults.forget(told, &open);
        Some(Recipe {
            name: name?,
            digest: self.digest(&variables),
            entries,
            hooks,
            variables,
            source: Arc::clone(self.source),
        })
    }

    /// Gives the variables their values and puts them into everything below `include` and
    /// `transforms`.
    fn put_in_variables(
        &self,
        tree: &mut Located,
        faults: &mut Faults,
    ) -> (Vec<Variable>, Vec<Range<usize>>) {
        let mut open = Vec::new();
        let Node::Map(keys) = &mut tree.node else {
            return (Vec::new(), open);
        };
        let declared = keys.iter().find(|(key, _)| key.text == "variables");
        let mut variables = declared
            .map(|(_, node)| variables::declare(node, self.user, self.includer, faults))
            .unwrap_or_default();
        for (key, node) in keys {
            if ["include", "transforms", "hooks"].contains(&key.text.as_str()) {
                let mut kept = Vec::new();
                expressions(node, &mut |text| kept.push(std::mem::take(text)));
                open.extend(variables::put_in(node, &mut variables, faults));
                let mut kept = kept.into_iter();
                expressions(node, &mut |text| *text = kept.next().unwrap_or_default());
            }
        }
        (variables, open)
    }

    /// What a plan was computed from: the text and the values of its variables.
    fn digest(&self, variables: &[Variable]) -> String {
        let mut context = aws_lc_rs::digest::Context::new(&SHA256);
        context.update(self.source.inner().as_bytes());
        for variable in variables {
            let value = variable.value.clone().unwrap_or_default();
            context.update(format!("\0{}={value}", variable.name).as_bytes());
        }
        hex::encode(context.finish())
    }

    fn includes(&self, node: &Located, faults: &mut Faults) -> Vec<Include> {
        let Node::List(items) = &node.node else {
            faults
                .add(
                    format!("`include` must be a list, found {}", node.describe()),
                    &node.span,
                    "expected a list",
                )
                .help("write `include: [base.yaml]`");
            return Vec::new();
        };
        let read = |item: &Located| {
            let (node, values) = match &item.node {
                Node::Map(_) => {
                    let fields = Fields::read(item, &item.span, &grammar::INCLUDE, faults)?;
                    let values = values::of_include(&fields, self.source, faults);
                    (fields.required("recipe", faults)?, values)
                }
                _ => (item, Values::default()),
            };
            let target = Placed {
                value: text(node, faults)?,
                span: node.span.clone(),
            };
            Some(Include { target, values })
        };
        items.iter().filter_map(read).collect()
    }
}

/// Visits the text of every `select: {cel: …}` of a list of transforms or hooks.
fn expressions(transforms: &mut Located, visit: &mut dyn FnMut(&mut String)) {
    let Node::List(entries) = &mut transforms.node else {
        return;
    };
    let mut below = |node: &mut Located| {
        let [select, cel] = EXPRESSION;
        if let Some(Node::Scalar(serde_json::Value::String(text))) = child(node, select)
            .and_then(|select| child(select, cel))
            .map(|cel| &mut cel.node)
        {
            visit(text);
        }
    };
    for entry in entries {
        below(entry);
        if let Node::Map(keys) = &mut entry.node {
            keys.iter_mut().for_each(|(_, body)| below(body));
        }
    }
}

fn child<'n>(node: &'n mut Located, wanted: &str) -> Option<&'n mut Located> {
    let Node::Map(entries) = &mut node.node else {
        return None;
    };
    let mut entries = entries.iter_mut();
    entries.find_map(|(key, node): &mut (Key, Located)| (key.text == wanted).then_some(node))
}

fn header(fields: &Fields<'_>, faults: &mut Faults) {
    for (key, wanted) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let given = fields
            .required(key, faults)
            .map(|node| (node, text(node, faults)));
        if let Some((node, Some(given))) = given
            && given != wanted
        {
            faults
                .add(
                    format!("unknown {key} `{given}`"),
                    &node.span,
                    "not understood",
                )
                .help(format!("write `{key}: {wanted}`"));
        }
    }
}

fn metadata(node: &Located, faults: &mut Faults) -> Option<String> {
    let fields = Fields::read(node, &node.span, &grammar::METADATA, faults)?;
    if let Some(node) = fields.get("description") {
        text(node, faults);
    }
    let node = fields.required("name", faults)?;
    let name = text(node, faults)?;
    if name.trim().is_empty() {
        faults.add("the recipe's name is empty", &node.span, "give it a name");
    }
    Some(name)
}

fn entries(node: &Located, variables: &mut [Variable], faults: &mut Faults) -> Vec<Entry> {
    let Node::List(items) = &node.node else {
        faults
            .add(
                format!("`transforms` must be a list, found {}", node.describe()),
                &node.span,
                "expected a list",
            )
            .help("begin each transform with `- `");
        return Vec::new();
    };
    let read = |(number, item)| entry(number, item, faults);
    let mut entries: Vec<Entry> = items.iter().enumerate().filter_map(read).collect();
    for entry in &mut entries {
        if let Some(expression) = entry.transform.select_mut().and_then(|s| s.cel.as_mut()) {
            patches::give_variables(expression, variables, faults);
        }
    }
    entries
}

fn hooks(
    node: &Located,
    recipe: Option<&str>,
    variables: &mut [Variable],
    faults: &mut Faults,
) -> Vec<HookEntry> {
    let mut hooks = hooks::parse(node, recipe.unwrap_or_default(), faults);
    for expression in hooks.iter_mut().filter_map(|one| one.select.cel.as_mut()) {
        patches::give_variables(expression, variables, faults);
    }
    hooks
}

fn entry(number: usize, node: &Located, faults: &mut Faults) -> Option<Entry> {
    let transforms = grammar::ENTRY.of_need(Need::One);
    let fields = Fields::read(node, &node.span, &grammar::ENTRY, faults)?;
    let name = fields.get("name").and_then(|node| text(node, faults));
    let mut yes = |key| {
        let node = fields.get(key);
        node.and_then(|node| flag(node, faults)).unwrap_or(false)
    };
    let (optional, r#override) = (yes("optional"), yes("override"));
    let mut given = fields
        .entries()
        .filter(|(key, _)| transforms.contains(&key.text.as_str()));
    let Some((key, body)) = given.next() else {
        // An unknown key was reported already and is most likely the transform misspelt.
        if !fields.had_unknown() {
            faults
                .add(
                    "the entry has no transform",
                    &node.span,
                    "nothing to do here",
                )
                .help(format!("add one of {}", in_words(&transforms)));
        }
        return None;
    };
    for (second, _) in given {
        faults
            .add(
                "the entry has two transforms",
                &second.span,
                "second transform",
            )
            .also(&key.span, "first transform")
            .help("begin a new entry with `- ` for each transform");
    }
    Some(Entry {
        number,
        name,
        optional,
        r#override,
        span: key.span.clone(),
        transform: transform(&key.text, body, &key.span, faults)?,
    })
}

fn transform(
    key: &str,
    body: &Located,
    span: &Range<usize>,
    faults: &mut Faults,
) -> Option<Transform> {
    if let Some(class) = Class::ALL.into_iter().find(|class| class.key() == key) {
        let map = maps::classes(class, body, span, faults)?;
        return Some(Transform::Class(class, map));
    }
    Some(match key {
        "registry" => Transform::Registry(maps::registry(body, span, faults)?),
        "names" => Transform::Names(rename::parse(body, span, faults)?),
        "namespace" => Transform::Namespace(maps::namespaces(body, span, faults)?),
        "host" => Transform::Host(maps::hosts(body, span, faults)?),
        "scheduling" => Transform::Scheduling(scheduling::parse(body, span, faults)?),
        "exposure" => Transform::Exposure(exposure::parse(body, span, faults)?),
        "scale" => Transform::Scale(scale(body, span, faults)?),
        "resources" => Transform::Resources(resources::parse(body, span, faults)?),
        "volumes" => Transform::Volumes(volumes::parse(body, span, faults)?),
        "text" => Transform::Text(config_text::parse(body, span, faults)?),
        "secrets" => Transform::Secrets(secrets::parse(body, span, faults)?),
        "endpoint" => Transform::Endpoint(maps::endpoints(body, span, faults)?),
        "clusterDomain" => Transform::ClusterDomain(maps::domains(body, span, faults)?),
        "labels" => Transform::Labels(marks(body, span, &grammar::LABELS, faults)?),
        "annotations" => Transform::Annotations(marks(body, span, &grammar::ANNOTATIONS, faults)?),
        "cloneGuard" => Transform::CloneGuard(guard::parse(body, span, faults)?),
        "convert" => Transform::Convert(convert::parse(body, span, faults)?),
        "leaveOut" => {
            let fields = Fields::read(body, span, &grammar::LEAVE_OUT, faults)?;
            fields.required("select", faults)?;
            Transform::LeaveOut(select_of(&fields, faults))
        }
        _ => Transform::Patch(patches::patch(body, span, faults)?),
    })
}

/// The entry's selection; without one everything.
pub(super) fn select_of(fields: &Fields<'_>, faults: &mut Faults) -> Select {
    let node = fields.get("select");
    node.and_then(|node| patches::select(node, faults))
        .unwrap_or_default()
}

fn scale(body: &Located, span: &Range<usize>, faults: &mut Faults) -> Option<Scale> {
    let fields = Fields::read(body, span, &grammar::SCALE, faults)?;
    let replicas = fields
        .get("replicas")
        .map(|node| number(node, "replicas", faults));
    let (mut min, mut max) = (None, None);
    if let Some(node) = fields.get("autoscaler")
        && let Some(fields) = Fields::read(node, &node.span, &grammar::AUTOSCALER, faults)
    {
        let mut bound = |key| {
            let node = fields.get(key);
            node.and_then(|node| number(node, key, faults))
        };
        (min, max) = (bound("min"), bound("max"));
    }
    if replicas.is_none() && fields.get("autoscaler").is_none() {
        fields.required("replicas", faults);
        return None;
    }
    Some(Scale {
        select: select_of(&fields, faults),
        replicas: replicas.flatten(),
        min,
        max,
    })
}

fn marks(
    body: &Located,
    span: &Range<usize>,
    shape: &'static Shape,
    faults: &mut Faults,
) -> Option<Marks> {
    let what = shape.what;
    let fields = Fields::read(body, span, shape, faults)?;
    let select = select_of(&fields, faults);
    let set = fields
        .get("set")
        .map(|node| maps::marks_to_set(node, what, faults))
        .unwrap_or_default();
    let remove = fields
        .get("remove")
        .map(|node| placed_texts(node, faults))
        .unwrap_or_default();
    let pods = fields
        .get("pods")
        .and_then(|node| flag(node, faults))
        .unwrap_or(false);
    if fields.get("set").is_none() && fields.get("remove").is_none() {
        faults
            .add(
                format!("`{what}` changes nothing"),
                span,
                "neither `set` nor `remove`",
            )
            .help("add `set: {key: value}` or `remove: [key]`");
    }
    for key in &remove {
        if let Some((first, _)) = set.iter().find(|(first, _)| first.value == key.value) {
            faults
                .add(
                    format!("`{}` is set and removed", key.value),
                    &key.span,
                    "removed here",
                )
                .also(&first.span, "set here")
                .help("keep one of them");
        }
    }
    Some(Marks {
        select,
        set,
        remove,
        pods,
    })
}

#[cfg(test)]
mod tests;
