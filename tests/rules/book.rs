//! The list of rules, whether each is tested, and the page written from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use ferry::knowledge::Knowledge;
use ferry::yaml;
use libtest_mimic::{Failed, Trial};
use regex::Regex;
use serde::Deserialize;

use crate::case::Case;

const REASONS: &str = "docs/design/0006-rules-not-built.md";
const PAGE: &str = "docs/reference/rules.md";

/// `transforms/rules.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    /// Its title.
    section: String,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// As in `E-24`.
    id: String,
    /// What it says.
    what: String,
    why: String,
}

/// Everything known of the rules.
struct Book {
    sections: Vec<Section>,
    /// By rule: the cases' files and sentences.
    cases: BTreeMap<String, Vec<(String, String)>>,
    /// Names of test functions and the files they are in.
    functions: Vec<(String, String)>,
    /// Rules with a written reason why they are not built.
    reasons: BTreeMap<String, String>,
}

/// The tests of the list itself.
pub fn trials(root: &Path, cases: &[Case]) -> Vec<Trial> {
    let book = Arc::new(Book::read(root, cases));
    let page = root.join(PAGE);
    let trial = |name: &str, test: fn(&Book) -> Result<(), Failed>| {
        let book = Arc::clone(&book);
        Trial::test(format!("book: {name}"), move || test(&book))
    };
    vec![
        trial(
            "every rule has a test or a written reason why not",
            Book::covered,
        ),
        trial("tables and cases name rules of the book", Book::named),
        Trial::test("book: the page of rules is up to date", {
            let book = Arc::clone(&book);
            move || book.page_is_fresh(&page)
        }),
    ]
}

impl Book {
    fn read(root: &Path, cases: &[Case]) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap();
        let mut by_rule: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for case in cases {
            let of_rule = by_rule.entry(case.rule.clone()).or_default();
            of_rule.push((case.file.clone(), case.case.clone()));
        }
        let mut functions = Vec::new();
        for folder in ["src", "tests/it"] {
            functions_below(root, Path::new(folder), &mut functions);
        }
        Self {
            sections: yaml::read(&text("transforms/rules.yaml")).unwrap(),
            cases: by_rule,
            functions,
            reasons: reasons(&text(REASONS)),
        }
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.sections.iter().flat_map(|section| &section.rules)
    }

    /// The files in which test functions are named after a rule, as `e_pt1_…` is after E-PT1.
    fn files_of(&self, id: &str) -> BTreeSet<&str> {
        let wanted = format!("_{}_", id.to_lowercase().replace('-', "_"));
        let named = self
            .functions
            .iter()
            .filter(|(name, _)| format!("_{name}_").contains(&wanted));
        named.map(|(_, file)| file.as_str()).collect()
    }

    fn is_tested(&self, id: &str) -> bool {
        self.cases.contains_key(id) || !self.files_of(id).is_empty()
    }

    fn covered(&self) -> Result<(), Failed> {
        let lacking = self
            .rules()
            .filter(|rule| !self.is_tested(&rule.id) && !self.reasons.contains_key(&rule.id));
        let ids: Vec<&str> = lacking.map(|rule| rule.id.as_str()).collect();
        none(
            &ids,
            "add a case to tests/rules, or say why not in docs/design/0006-rules-not-built.md",
        )
    }

    fn named(&self) -> Result<(), Failed> {
        let known: BTreeSet<&str> = self.rules().map(|rule| rule.id.as_str()).collect();
        let tables = used(Knowledge::builtin());
        let cases = self.cases.keys().map(String::as_str);
        let used = tables.iter().map(String::as_str).chain(cases);
        // A row of a family is called `W-9.deployment`.
        let rule = |id: &&str| !known.contains(id.split('.').next().unwrap_or_default());
        let unknown: Vec<&str> = used.filter(rule).collect();
        none(&unknown, "add them to transforms/rules.yaml")
    }

    fn page_is_fresh(&self, file: &Path) -> Result<(), Failed> {
        let page = self.page();
        if std::env::var_os("BLESS").is_some() {
            return Ok(fs::write(file, page)?);
        }
        let written = of_the_data(&fs::read_to_string(file).unwrap_or_default());
        let page = of_the_data(&page);
        match written == page {
            true => Ok(()),
            false => Err(format!(
                "{PAGE} is stale; BLESS=1 cargo test --test rules page writes it anew:\n{}",
                similar::TextDiff::from_lines(&written, &page).unified_diff()
            )
            .into()),
        }
    }

    fn page(&self) -> String {
        let mut page = String::from(
            "# The rules\n\nWritten from `transforms/rules.yaml` and the tests; \
             `BLESS=1 cargo test --test rules page` writes it\nanew. What is not built, and why, is in \
             [docs/design/0006](../design/0006-rules-not-built.md).\n",
        );
        for section in &self.sections {
            let tested = section.rules.iter().filter(|rule| self.is_tested(&rule.id));
            let (tested, all) = (tested.count(), section.rules.len());
            let others = match tested < all {
                true => ", the others a reason why they are not built",
                false => "",
            };
            write!(
                page,
                "\n## {}\n\n{tested} of {all} rules have tests{others}.\n\n",
                section.section
            )
            .unwrap();
            page.push_str("| rule | what | why | tests |\n| --- | --- | --- | --- |\n");
            for rule in &section.rules {
                let Rule { id, what, why } = rule;
                writeln!(page, "| {id} | {what} | {why} | {} |", self.tests(id)).unwrap();
            }
        }
        page
    }

    /// The tests of one rule: sentences of cases, files of functions.
    fn tests(&self, id: &str) -> String {
        let mut lines: Vec<String> = Vec::new();
        for (file, sentence) in self.cases.get(id).into_iter().flatten() {
            lines.push(format!("[{sentence}](../../tests/rules/{file})"));
        }
        for file in self.files_of(id) {
            lines.push(format!("[{file}](../../{file})"));
        }
        if self.reasons.contains_key(id) {
            let built = if lines.is_empty() {
                "not built"
            } else {
                "in part"
            };
            lines.push(format!("[{built}](../design/0006-rules-not-built.md)"));
        }
        lines.join("<br>")
    }
}

/// The page without what follows from Rust files: who adds a unit test elsewhere makes no page stale.
fn of_the_data(page: &str) -> String {
    static OF_FILES: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?m)(<br>)?\[(src|tests/it)/[^\]]*\]\([^)]*\)|^\d+ of \d+ rules have tests.*$")
            .unwrap()
    });
    let rest = OF_FILES.replace_all(page, "");
    rest.replace("| <br>", "| ").replace("|  |", "| |")
}

/// Adds the names of test functions in Rust files below a folder.
fn functions_below(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    let mut entries: Vec<_> = fs::read_dir(root.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            functions_below(root, &path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap();
            let file = path.to_string_lossy().into_owned();
            found.extend(test_functions(&text).map(|name| (name, file.clone())));
        }
    }
}

/// The functions of a Rust file that a `#[test]` or `#[tokio::test]` stands before.
fn test_functions(text: &str) -> impl Iterator<Item = String> {
    let mut marked = false;
    text.lines().filter_map(move |line| {
        let line = line.trim();
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
            return None;
        }
        let rest = line
            .strip_prefix("async ")
            .unwrap_or(line)
            .strip_prefix("fn ")?;
        std::mem::take(&mut marked)
            .then(|| rest.split(['(', '<']).next().unwrap_or(rest).to_owned())
    })
}

/// The rules of a page's list `- **E-24**: …` and `- **E-24, E-25**: …`, with the reason.
fn reasons(page: &str) -> BTreeMap<String, String> {
    let entries = page.lines().filter_map(|line| {
        let (ids, reason) = line.strip_prefix("- **")?.split_once("**: ")?;
        Some((ids, reason))
    });
    entries
        .flat_map(|(ids, reason)| {
            let ids = ids.split(", ");
            ids.map(move |id| (id.to_owned(), reason.to_owned()))
        })
        .collect()
}

/// The rules that rows of the tables name.
fn used(tables: &Knowledge) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    ids.extend(tables.edges.rows.iter().map(|row| row.id.to_string()));
    ids.extend(tables.produces.iter().map(|row| row.id.to_string()));
    ids.extend(tables.holds.iter().map(|row| row.id.clone()));
    ids.extend(tables.selectors.iter().map(|row| row.id.clone()));
    ids.extend(tables.normalize.iter().map(|row| row.id.clone()));
    ids.extend(tables.sanitize.skip.iter().map(|row| row.id.clone()));
    ids.extend(tables.sanitize.drop.iter().map(|row| row.id.clone()));
    ids.extend(tables.sanitize.fields.iter().map(|row| row.id.clone()));
    ids.extend(tables.targets.iter().map(|row| row.id.clone()));
    ids
}

/// Fails when there are any.
fn none(ids: &[&str], remedy: &str) -> Result<(), Failed> {
    match ids.is_empty() {
        true => Ok(()),
        false => Err(format!("{}: {remedy}", ids.join(", ")).into()),
    }
}
