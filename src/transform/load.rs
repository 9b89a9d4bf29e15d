//! From the names a user gives to recipes: files, recipes that come with Ferry, and what they include.
//!
//! An included recipe is a recipe of its own that acts together with the others; it stands before the
//! one that includes it. One that is reached twice with the same values counts once. A circle is a
//! mistake at the line that closes it.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;

use super::builtin;
use super::fault::{Fault, Faults, RecipeErrors};
use super::parse::{self, Include};
use super::recipe::Recipe;
use super::values::Values;

/// The longest recipe (1 MiB): room for thousands of entries, and no dump of a cluster given by mistake.
const LARGEST: u64 = 1 << 20;

/// Reads recipes and everything they include, in the order they act. `names` are files, or
/// `builtin:NAME` for a recipe that comes with Ferry.
///
/// # Errors
/// Every mistake in all of them at once, each at its place; also values that no recipe has a variable
/// for.
pub fn load(names: &[String], values: &Values) -> Result<Vec<Recipe>, RecipeErrors> {
    let mut loader = Loader {
        values,
        open: Vec::new(),
        seen: BTreeSet::new(),
        recipes: Vec::new(),
        faults: Vec::new(),
        complete: true,
    };
    for name in names {
        let found = Place::named(name);
        loader.read(&found, &Values::default(), |message, help| {
            Fault::general(message, help)
        });
    }
    if loader.complete {
        let recipes = loader.recipes.iter();
        let declared: Vec<&str> = recipes
            .flat_map(|recipe| recipe.variables.iter().map(|one| one.name.as_str()))
            .collect();
        loader.faults.extend(values.unknown(&declared));
    }
    if loader.faults.is_empty() {
        return Ok(loader.recipes);
    }
    Err(RecipeErrors {
        name: names.join(", "),
        faults: loader.faults,
    })
}

/// Where a recipe is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Builtin(String),
    File(PathBuf),
}

impl Place {
    /// As a user names it.
    fn named(name: &str) -> Self {
        match name.strip_prefix(builtin::PREFIX) {
            Some(name) => Self::Builtin(name.to_owned()),
            None => Self::File(PathBuf::from(name)),
        }
    }

    /// As a recipe at this place names another. The error is an instruction.
    fn included(&self, name: &str) -> Result<Self, &'static str> {
        match (Self::named(name), self) {
            (Self::File(_), Self::Builtin(_)) => {
                Err("a recipe that comes with Ferry includes only others that do")
            }
            (Self::File(path), _) if path.is_absolute() => {
                Err("write the path as seen from this recipe, so that both can move together")
            }
            (Self::File(path), Self::File(own)) => {
                Ok(Self::File(own.parent().unwrap_or(Path::new("")).join(path)))
            }
            (builtin, _) => Ok(builtin),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Builtin(name) => format!("{}{name}", builtin::PREFIX),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// One name for one recipe, whatever way leads to it.
    fn identity(&self) -> String {
        match self {
            Self::Builtin(_) => self.shown(),
            Self::File(path) => std::fs::canonicalize(path)
                .unwrap_or_else(|_| path.clone())
                .display()
                .to_string(),
        }
    }

    /// Its text. The error is what is wrong and what to do.
    fn text(&self) -> Result<String, (String, String)> {
        match self {
            Self::Builtin(name) => builtin::find(name).map(str::to_owned).ok_or_else(|| {
                (
                    format!("there is no recipe `{}`", self.shown()),
                    builtin::advice(name),
                )
            }),
            Self::File(path) => read_file(path).map_err(|error| {
                (
                    format!("cannot read the recipe {}: {error}", path.display()),
                    "name a recipe file, or one of Ferry's own as `builtin:NAME`".into(),
                )
            }),
        }
    }
}

/// A file's text, of which no more is read than a recipe can be long.
fn read_file(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(std::io::Error::other(format!(
            "it is longer than {} MiB, and a recipe is not",
            LARGEST >> 20
        ))),
        false => Ok(text),
    }
}

struct Loader<'v> {
    values: &'v Values,
    /// The recipes that lead to the one being read.
    open: Vec<(String, String)>,
    /// What was read, with the values it was given.
    seen: BTreeSet<(String, String)>,
    recipes: Vec<Recipe>,
    faults: Vec<Fault>,
    /// Whether every recipe could be read far enough to know its variables.
    complete: bool,
}

impl Loader<'_> {
    fn read(&mut self, place: &Place, fixed: &Values, refuse: impl Fn(String, String) -> Fault) {
        let identity = place.identity();
        if self.open.iter().any(|(open, _)| *open == identity) {
            let mut way: Vec<&str> = self.open.iter().map(|(_, name)| name.as_str()).collect();
            let last = place.shown();
            way.push(&last);
            self.faults.push(refuse(
                format!("the recipe includes itself: {}", way.join(" → ")),
                "take one of the lines out".into(),
            ));
            return;
        }
        let text = match place.text() {
            Ok(text) => text,
            Err((message, help)) => {
                self.complete = false;
                return self.faults.push(refuse(message, help));
            }
        };
        if !self.seen.insert((identity.clone(), fixed.key())) {
            return;
        }
        let source = Arc::new(NamedSource::new(place.shown(), text).with_language("yaml"));
        let read = parse::read(&source, self.values, fixed);
        self.faults.extend(read.faults);
        self.open.push((identity, place.shown()));
        for include in &read.includes {
            self.include(place, include, &source);
        }
        self.open.pop();
        match read.recipe {
            Some(recipe) => self.recipes.push(recipe),
            None => self.complete = false,
        }
    }

    fn include(&mut self, from: &Place, include: &Include, source: &Arc<NamedSource<String>>) {
        let refuse = |message: String, help: String| {
            let mut faults = Faults::new(Arc::clone(source));
            faults
                .add(message, &include.target.span, "included here")
                .help(help);
            faults.into_one()
        };
        match from.included(&include.target.value) {
            Ok(place) => self.read(&place, &include.values, refuse),
            Err(help) => {
                self.complete = false;
                let message = format!("cannot include `{}`", include.target.value);
                self.faults.push(refuse(message, help.into()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
