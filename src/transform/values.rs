//! What the user gives recipes for their variables: files of `--values`, and `--set name=value`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use miette::NamedSource;
use serde_json::Value;

use super::fault::{Fault, Faults, RecipeErrors};
use super::parse::{Fields, entries_of, suggest};
use super::variables::Kind;
use crate::yaml::located::{Located, parse_located};

/// Values by the name of their variable. Of several values for one name the last counts.
#[derive(Clone, Debug, Default)]
pub struct Values {
    given: BTreeMap<String, Given>,
}

/// One value and where it was given.
#[derive(Clone, Debug)]
pub(super) struct Given {
    form: Written,
    span: Range<usize>,
    source: Arc<NamedSource<String>>,
}

#[derive(Clone, Debug)]
enum Written {
    /// In YAML: it has a type.
    Typed(Located),
    /// After `--set name=`: its type is what the variable wants.
    Text(String),
}

impl Values {
    /// Reads values files, then `name=value` pairs; later ones win.
    ///
    /// # Errors
    /// Every file that cannot be read or is not a YAML map, and every pair without `=`, at once.
    pub fn read(files: &[impl AsRef<Path>], pairs: &[String]) -> Result<Self, RecipeErrors> {
        let mut values = Self::default();
        let mut faults = Vec::new();
        for file in files {
            let file = file.as_ref();
            match std::fs::read_to_string(file) {
                Ok(text) => values.file(&file.display().to_string(), &text, &mut faults),
                Err(error) => faults.push(Fault::general(
                    format!("cannot read the values file {}: {error}", file.display()),
                    "name a YAML file with --values",
                )),
            }
        }
        for pair in pairs {
            values.pair(pair, &mut faults);
        }
        match faults.is_empty() {
            true => Ok(values),
            false => Err(RecipeErrors {
                name: "values".into(),
                faults,
            }),
        }
    }

    fn file(&mut self, file: &str, text: &str, all: &mut Vec<Fault>) {
        let source = Arc::new(NamedSource::new(file, text.to_owned()).with_language("yaml"));
        let mut faults = Faults::new(Arc::clone(&source));
        match parse_located(text) {
            Ok(tree) => self.map(&tree, &source, &mut faults),
            Err(error) => {
                faults.add("the file is not valid YAML", &error.span, &error.message);
            }
        }
        all.extend(faults.into_list());
    }

    /// Takes the keys of a map.
    pub(super) fn map(
        &mut self,
        tree: &Located,
        source: &Arc<NamedSource<String>>,
        faults: &mut Faults,
    ) {
        let Some(entries) = entries_of(tree, &tree.span, "values", faults) else {
            return;
        };
        for (key, node) in entries {
            let span = match node.span.is_empty() {
                true => key.span.clone(),
                false => node.span.clone(),
            };
            let given = Given {
                form: Written::Typed(node.clone()),
                span,
                source: Arc::clone(source),
            };
            self.given.insert(key.text.clone(), given);
        }
    }

    fn pair(&mut self, pair: &str, all: &mut Vec<Fault>) {
        let source = Arc::new(NamedSource::new("--set", pair.to_owned()));
        let Some((name, value)) = pair.split_once('=') else {
            let mut faults = Faults::new(source);
            faults
                .add(
                    format!("`--set {pair}` gives no value"),
                    &(0..pair.len()),
                    "no `=`",
                )
                .help("write `--set name=value`");
            all.extend(faults.into_list());
            return;
        };
        let given = Given {
            form: Written::Text(value.to_owned()),
            span: 0..pair.len(),
            source,
        };
        self.given.insert(name.to_owned(), given);
    }

    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }

    /// Equal for equal values.
    pub(super) fn key(&self) -> String {
        let given = self.given.iter();
        let plain = given.map(|(name, given)| {
            let value = match &given.form {
                Written::Typed(node) => node.value(),
                Written::Text(text) => Value::String(text.clone()),
            };
            (name.clone(), value)
        });
        Value::Object(plain.collect()).to_string()
    }

    /// Values for variables that no recipe has: most likely misspelt names.
    pub(super) fn unknown(&self, declared: &[&str]) -> Vec<Fault> {
        let unknown = self.given.iter();
        let unknown = unknown.filter(|(name, _)| !declared.contains(&name.as_str()));
        let told = unknown.flat_map(|(name, given)| {
            let mut faults = Faults::new(Arc::clone(&given.source));
            faults
                .add(
                    format!("no recipe has a variable `{name}`"),
                    &given.span,
                    "would be ignored",
                )
                .help(suggest(name, declared).unwrap_or_else(|| {
                    "declare it under `variables:` of a recipe, or leave it out".into()
                }));
            faults.into_list()
        });
        told.collect()
    }
}

impl Given {
    /// The value as a variable's type wants it.
    pub(super) fn as_kind(&self, kind: Kind, name: &str, faults: &mut Faults) -> Option<Value> {
        let value = match &self.form {
            Written::Typed(node) => node.value(),
            Written::Text(text) if kind == Kind::String => Value::String(text.clone()),
            // `--set replicas=2`, `--set zones=[a, b]`: YAML, as in a values file.
            Written::Text(text) => match parse_located(text) {
                Ok(node) => node.value(),
                Err(_) => Value::String(text.clone()),
            },
        };
        if kind.holds(&value) {
            return Some(value);
        }
        let mut fault = Faults::new(Arc::clone(&self.source));
        fault
            .add(
                format!("the value of `{name}` must be {kind}"),
                &self.span,
                format!(
                    "found {}",
                    Located::from_value(&value, &self.span).describe()
                ),
            )
            .help(match kind {
                Kind::String => "put it in quotes",
                Kind::Integer => "write digits only",
                Kind::Boolean => "write `true` or `false`",
                Kind::List => "write `[one, two]`",
                Kind::Map => "write `{from: to}`",
            });
        faults.take(fault);
        None
    }
}

/// The values a recipe gives one that it includes.
pub(super) fn of_include(
    fields: &Fields<'_>,
    source: &Arc<NamedSource<String>>,
    faults: &mut Faults,
) -> Values {
    let mut values = Values::default();
    if let Some(node) = fields.get("values") {
        values.map(node, source, faults);
    }
    values
}
