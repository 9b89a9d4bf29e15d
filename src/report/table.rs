//! Tables whose columns line up, with coloured cells.

use unicode_width::UnicodeWidthStr;

use super::palette::{Role, paint};

/// One cell: its text and, where it has one, its meaning.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    role: Option<Role>,
}

impl Cell {
    /// A cell with a meaning.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            role: Some(role),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            role: None,
        }
    }
}

/// Renders a header and rows; the last column is never padded.
pub fn render(header: &[&str], rows: &[Vec<Cell>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|title| title.width()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.width());
        }
    }
    let titles: Vec<Cell> = header
        .iter()
        .map(|title| Cell::new(Role::Heading, *title))
        .collect();
    let mut out = String::new();
    for row in std::iter::once(&titles).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let last = column + 1 == row.len();
            let text = cell
                .role
                .map_or_else(|| cell.text.clone(), |role| paint(role, &cell.text));
            out.push_str(&text);
            if !last {
                let gap = widths
                    .get(column)
                    .map_or(0, |width| width.saturating_sub(cell.text.width()));
                out.push_str(&" ".repeat(gap + 2));
            }
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_under_their_titles() {
        let rows = vec![
            vec![Cell::from("a"), Cell::from("long cell")],
            vec!["bbbb".into(), "x".into()],
        ];
        let plain = anstream::adapter::strip_str(&render(&["K", "NAME"], &rows)).to_string();
        assert_eq!(plain, "K     NAME\na     long cell\nbbbb  x\n");
    }
}
