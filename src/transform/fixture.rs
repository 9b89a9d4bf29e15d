//! `ferry recipe test`: fixtures beside a recipe, and whether it still makes of them what they say.
//!
//! ```text
//! shop.yaml                               the recipe
//! shop.tests/CASE/input.yaml              objects as they are on A
//!                 values.yaml             values of the recipe's variables, where it has some
//!                 expected.yaml           the objects as B shall see them
//!                 expected-findings.txt   what the recipe has to say; absent: nothing
//!                 expected-lookalikes.txt what is listed as left alone (T-11); absent: nothing
//!                 expected-errors.txt     instead of all: why the recipe must be refused
//! ```
//!
//! Objects are compared as values, whatever their order and form in the file, and to the letter:
//! nothing is normalised away, because the recipe is what is tested. A rule that no case makes match
//! is named: nobody knows what it does.

mod case;
mod suite;

use std::io;
use std::path::PathBuf;

use serde::Serialize;

pub use self::suite::{Suite, suites};
use crate::diff::{Line, ObjectDiff};
use crate::exit::Exit;
use crate::object::ObjectError;
use crate::yaml::YamlError;

/// What became of one recipe's cases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SuiteReport {
    /// The recipe.
    pub recipe: PathBuf,
    /// Its cases, by name.
    pub cases: Vec<CaseReport>,
    /// Rules the recipe has of its own; those of included recipes are for their own fixtures.
    pub rules: usize,
    /// Rules no case makes match.
    pub unexercised: Vec<Unexercised>,
}

/// A rule no case makes match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unexercised {
    /// What it is called, as in "the registry rule for `quay.io`".
    pub rule: String,
    /// Its line in the recipe, from 1.
    pub line: usize,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseReport {
    /// The folder's name.
    pub name: String,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum Outcome {
    /// All is as expected.
    Passed,
    /// The expectations were written anew.
    Updated {
        /// Names of the files written or removed.
        files: Vec<String>,
    },
    /// Something is not as expected: `-` is the expectation, `+` what the recipe does.
    Failed {
        /// Objects that differ; values of Secrets are masked.
        objects: Vec<ObjectDiff>,
        /// Text files that differ.
        texts: Vec<TextDiff>,
    },
    /// The case cannot be read.
    Broken {
        /// Why.
        reason: String,
    },
}

/// A text file whose lines are not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TextDiff {
    /// The file's name.
    pub file: String,
    /// The difference.
    pub lines: Vec<Line>,
}

impl SuiteReport {
    /// Cases that failed or cannot be read.
    pub fn failed(&self) -> usize {
        let bad = |case: &&CaseReport| {
            matches!(
                case.outcome,
                Outcome::Failed { .. } | Outcome::Broken { .. }
            )
        };
        self.cases.iter().filter(bad).count()
    }
}

/// Why fixtures cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// A file or folder cannot be read.
    #[error("read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An expectation cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of objects is not YAML.
    #[error("read the objects of {}", path.display())]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: YamlError,
    },
    /// A document of a file is not an object.
    #[error("document {number} of {} is not an object", path.display())]
    Object {
        /// Which file.
        path: PathBuf,
        /// Which document, from 1.
        number: usize,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// A file holds one object twice.
    #[error("{} holds {object} twice", path.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// Which object.
        object: String,
    },
    /// A recipe has no cases.
    #[error("{} has no fixtures", recipe.display())]
    NoFixtures {
        /// The recipe.
        recipe: PathBuf,
        /// Where they would be.
        folder: PathBuf,
    },
    /// A folder has no recipe with fixtures.
    #[error("no recipe in {} has fixtures", folder.display())]
    Nothing {
        /// The folder.
        folder: PathBuf,
    },
    /// Fixtures whose recipe is gone.
    #[error("{} belongs to no recipe", folder.display())]
    Orphan {
        /// The folder of fixtures.
        folder: PathBuf,
    },
}

impl FixtureError {
    /// What the user can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoFixtures { folder, .. } => Some(format!(
                "put objects into {}/CASE/input.yaml and run `ferry recipe test --update`",
                folder.display()
            )),
            Self::Nothing { .. } => {
                Some("name a recipe file: fixtures of x.yaml are in x.tests/CASE beside it".into())
            }
            Self::Orphan { .. } => Some("rename it to its recipe's name, or remove it".into()),
            _ => None,
        }
    }

    /// Whose fault it is.
    pub fn exit(&self) -> Exit {
        Exit::Input
    }
}

#[cfg(test)]
mod tests;
