//! Mistakes in a recipe, all at once, each drawn at its place in the file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};
use serde::Serialize;

/// One mistake: what, where, and what to do.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    labels: Vec<(Range<usize>, String)>,
    help: Option<String>,
    severity: Severity,
    source: Arc<NamedSource<String>>,
}

impl Fault {
    /// A mistake with no place in a file.
    pub(crate) fn general(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            labels: Vec::new(),
            help: Some(help.into()),
            severity: Severity::Error,
            source: Arc::new(NamedSource::new("", String::new())),
        }
    }

    /// Bytes of the recipe the mistake is about.
    pub fn span(&self) -> Option<Range<usize>> {
        self.labels.first().map(|(span, _)| span.clone())
    }
}

/// Where something stands in a file, as editors count: from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spot {
    /// The file, as the user named it.
    pub file: String,
    /// First line.
    pub line: usize,
    /// First column.
    pub column: usize,
    /// Last line.
    pub end_line: usize,
    /// The column after the last one.
    pub end_column: usize,
    /// What is to be said of the place.
    pub label: String,
}

impl Fault {
    /// Every place the mistake is about, the first one first.
    pub fn spots(&self) -> Vec<Spot> {
        let text = self.source.inner();
        let spot = |(span, label): &(Range<usize>, String)| {
            let (line, column) = line_and_column(text, span.start);
            let (end_line, end_column) = line_and_column(text, span.end);
            Spot {
                file: self.source.name().to_owned(),
                line,
                column,
                end_line,
                end_column,
                label: label.clone(),
            }
        };
        self.labels.iter().map(spot).collect()
    }
}

/// Line and column of a byte, both from 1; the column counts characters.
pub(crate) fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..byte.min(text.len())];
    let start = before
        .iter()
        .rposition(|letter| *letter == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|letter| **letter == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    (line, column)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Diagnostic for Fault {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.labels.is_empty()).then_some(self.source.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().map(|(span, text)| {
            LabeledSpan::new_with_span(Some(text.clone()), span.clone())
        })))
    }
}

/// Everything wrong with one recipe file. The recipe is not used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("recipe {name} has {}", count(faults.len()))]
pub struct RecipeErrors {
    /// The recipe, as the user named it.
    pub name: String,
    /// What is wrong, in file order; never empty.
    pub faults: Vec<Fault>,
}

fn count(faults: usize) -> String {
    match faults {
        1 => "1 mistake".into(),
        many => format!("{many} mistakes"),
    }
}

impl Diagnostic for RecipeErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.faults.iter().map(|fault| fault as &dyn Diagnostic),
        ))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(
            "nothing was changed; correct the recipe and run again (docs/recipes.md)",
        ))
    }
}

/// What is allowed in a recipe and most likely not meant.
#[derive(Clone, Debug, thiserror::Error)]
#[error("recipe {name}: {} to look at", things(faults.len()))]
pub struct Advice {
    /// The recipe, as the user named it.
    pub name: String,
    /// What it is, in file order; never empty.
    pub faults: Vec<Fault>,
}

fn things(faults: usize) -> String {
    match faults {
        1 => "1 thing".into(),
        many => format!("{many} things"),
    }
}

impl Diagnostic for Advice {
    fn severity(&self) -> Option<Severity> {
        Some(Severity::Warning)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.faults.iter().map(|fault| fault as &dyn Diagnostic),
        ))
    }
}

/// Why recipes could not be applied to these objects. No object was changed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the recipes do not fit the objects: {}", problems(faults.len()))]
pub struct TransformErrors {
    /// What is wrong, in recipe order; never empty.
    pub faults: Vec<Fault>,
}

fn problems(faults: usize) -> String {
    match faults {
        1 => "1 problem".into(),
        many => format!("{many} problems"),
    }
}

impl Diagnostic for TransformErrors {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(
            self.faults.iter().map(|fault| fault as &dyn Diagnostic),
        ))
    }
}

/// Collects mistakes of one file while the whole of it is read.
pub(crate) struct Faults {
    source: Arc<NamedSource<String>>,
    severity: Severity,
    list: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(source: Arc<NamedSource<String>>) -> Self {
        Self {
            source,
            severity: Severity::Error,
            list: Vec::new(),
        }
    }

    /// Collects what is allowed and most likely not meant.
    pub(crate) fn advice(source: Arc<NamedSource<String>>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::new(source)
        }
    }

    /// Records a mistake at a place; `label` is written under it.
    pub(crate) fn add(
        &mut self,
        message: impl Into<String>,
        span: &Range<usize>,
        label: impl Into<String>,
    ) -> &mut Self {
        self.list.push(Fault {
            message: message.into(),
            labels: vec![(span.clone(), label.into())],
            help: None,
            severity: self.severity,
            source: Arc::clone(&self.source),
        });
        self
    }

    /// Adds an instruction to the mistake just recorded.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        if let Some(fault) = self.list.last_mut() {
            fault.help = Some(help.into());
        }
        self
    }

    /// Adds words to the mistake just recorded.
    pub(crate) fn note(&mut self, note: impl fmt::Display) -> &mut Self {
        if let Some(fault) = self.list.last_mut() {
            fault.message = format!("{}: {note}", fault.message);
        }
        self
    }

    /// The folder of the file, as the user named it: what it names itself is seen from there.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        let file = std::path::Path::new(self.source.name());
        file.parent()
            .map(std::path::Path::to_path_buf)
            .unwrap_or_default()
    }

    /// Adds a second place to the mistake just recorded.
    pub(crate) fn also(&mut self, span: &Range<usize>, label: impl Into<String>) -> &mut Self {
        if let Some(fault) = self.list.last_mut() {
            fault.labels.push((span.clone(), label.into()));
        }
        self
    }

    /// The mistake just recorded, when there is to be only one.
    pub(crate) fn into_one(mut self) -> Fault {
        let last = self.list.pop();
        last.unwrap_or_else(|| Fault::general("a mistake without words", "report this"))
    }

    /// How many there are so far.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    /// Forgets mistakes after the first `keep` that only follow from an earlier one at the same place.
    pub(crate) fn forget(&mut self, keep: usize, places: &[Range<usize>]) {
        let mut number = 0;
        self.list.retain(|fault| {
            number += 1;
            number <= keep || !fault.span().is_some_and(|span| places.contains(&span))
        });
    }

    /// Takes over the mistakes of another file.
    pub(crate) fn take(&mut self, other: Self) {
        self.list.extend(other.into_list());
    }

    /// The mistakes in file order, those of other files last.
    pub(crate) fn into_list(mut self) -> Vec<Fault> {
        let own = &self.source;
        self.list.sort_by_key(|fault| {
            let other = !Arc::ptr_eq(&fault.source, own);
            (other, fault.span().map_or(0, |span| span.start))
        });
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        let text = "a: é\n  bb: c\n";
        assert_eq!(line_and_column(text, 0), (1, 1));
        assert_eq!(line_and_column(text, 5), (1, 5));
        assert_eq!(line_and_column(text, 8), (2, 3));
        assert_eq!(line_and_column(text, 99), (3, 1));
    }
}
