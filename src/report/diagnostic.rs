//! Errors as the user meets them: what failed, why (the chain, once), and what to do.

use miette::Diagnostic;

use super::palette::{Role, paint};
use super::{Output, Report};

impl Report {
    /// Tells an error. Diagnostics that carry source text are drawn with their spans; all others are a
    /// line, the chain of causes, and the help.
    pub fn error(self, error: &(dyn Diagnostic + Send + Sync + 'static)) {
        match self.output {
            Output::Json => super::talk(&json(error).to_string()),
            Output::Human => super::talk(&human(error)),
        }
    }
}

fn human(error: &(dyn Diagnostic + Send + Sync + 'static)) -> String {
    let drawn = error.source_code().is_some() || error.related().is_some();
    let sort = match error.severity() {
        Some(miette::Severity::Warning | miette::Severity::Advice) => paint(Role::Warn, "warning:"),
        _ => paint(Role::Bad, "error:"),
    };
    let mut out = format!("{sort} {error}");
    let mut cause = error.source();
    let mut said = error.to_string();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat their source in their own text; say it once.
        if !said.contains(&text) {
            out.push_str(&format!("\n  caused by: {text}"));
        }
        said = text;
        cause = error.source();
    }
    if drawn {
        for related in error.related().into_iter().flatten() {
            if let Some(text) = undrawn(related) {
                out.push_str(&format!("\n  {text}"));
                continue;
            }
            let mut text = String::new();
            let handler = miette::GraphicalReportHandler::new().with_links(false);
            if handler.render_report(&mut text, related).is_ok() {
                out.push('\n');
                out.push_str(text.trim_end());
            }
        }
    }
    if let Some(help) = error.help() {
        out.push_str(&format!("\n\n{} {help}", paint(Role::Hint, "hint:")));
    }
    out
}

/// The longest line of a source that is shown, in bytes: more fills the screen and shows nothing.
const LINE: usize = 400;

/// A mistake in a line too long to be shown, with its place in numbers.
fn undrawn(error: &dyn Diagnostic) -> Option<String> {
    let source = error.source_code()?;
    let mut labels = error.labels()?;
    // Whole lines, and those around them, as they would be drawn.
    let long = |label: miette::LabeledSpan| {
        let lines = source.read_span(label.inner(), 1, 1).ok()?;
        let mut lines = lines.data().split(|byte| *byte == b'\n');
        lines.any(|line| line.len() > LINE).then_some(())
    };
    labels.find_map(long)?;
    let mut text = format!("x {error}");
    for place in places(error) {
        let word = |key: &str| place[key].as_str().unwrap_or_default().to_owned();
        let (line, column) = (&place["line"], &place["column"]);
        text.push_str(&format!(
            "\n   at {}:{line}:{column}: {}",
            word("file"),
            word("label")
        ));
    }
    if let Some(help) = error.help() {
        text.push_str(&format!("\n  help: {help}"));
    }
    Some(text)
}

fn json(error: &dyn Diagnostic) -> serde_json::Value {
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    serde_json::json!({
        "error": error.to_string(),
        "causes": causes,
        "help": error.help().map(|help| help.to_string()),
        "places": places(error),
        "related": error.related().into_iter().flatten().map(json).collect::<Vec<_>>(),
    })
}

/// Where an error's labels stand: file, line and column from 1, and what the label says.
fn places(error: &dyn Diagnostic) -> Vec<serde_json::Value> {
    let Some(source) = error.source_code() else {
        return Vec::new();
    };
    let place = |label: miette::LabeledSpan| {
        let start = source.read_span(label.inner(), 0, 0).ok()?;
        Some(serde_json::json!({
            "file": start.name(),
            "line": start.line() + 1,
            "column": start.column() + 1,
            "label": label.label(),
        }))
    };
    let labels = error.labels().into_iter().flatten();
    labels.filter_map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::Recipe;

    #[test]
    fn a_mistake_in_an_endless_line_is_told_without_the_line() {
        let error = Recipe::parse("r.yaml", &"a".repeat(5000)).unwrap_err();
        let text = human(&error);
        assert!(text.len() < 500, "{text}");
        assert!(text.contains("at r.yaml:1:1: expected a map"), "{text}");
        let error = Recipe::parse("r.yaml", &format!("a: {}", "[".repeat(5000))).unwrap_err();
        assert!(human(&error).len() < 500);
    }

    #[test]
    fn an_error_in_json_keeps_file_line_and_column() {
        let text = "apiVersion: ferry.dev/v1alpha1\nkind: Recipe\nmetadata: {nmae: x, name: t}\ntransforms: []\n";
        let error = Recipe::parse("r.yaml", text).unwrap_err();
        let shown = json(&error);
        assert_eq!(
            shown["related"][0]["places"],
            serde_json::json!([
                {"file": "r.yaml", "line": 3, "column": 12, "label": "not a key here"}
            ])
        );
    }
}
