//! What is printed: results to standard output, notes to standard error, tables for people, JSON for programs.
//!
//! Every text that came from a server passes [`clean`]: no name can move the cursor, recolour the screen or
//! reverse the line it stands in.

pub(crate) mod time;

use std::fmt::Write as _;
use std::io::{self, Write as _};

use claviger_domain::key::is_deceptive;
use comfy_table::{ColumnConstraint, ContentArrangement, Table as Grid, Width, presets};
use serde_json::Value;

use crate::failure::Failure;

/// Writes lines to standard output. A reader that has gone (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes lines to standard error, where they disturb no pipe. There is nobody to tell if that fails.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes one JSON document to standard output.
pub(crate) fn print_json(document: &Value) -> Result<(), Failure> {
    print(&json_text(document))
}

/// Deceptive characters stand only inside strings, where JSON can write them as escapes.
fn json_text(document: &Value) -> String {
    let mut text = String::new();
    for character in format!("{document:#}").chars() {
        if is_deceptive(character) && character != '\n' {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(character);
        }
    }
    text
}

/// Text that is safe on one line of a terminal: what could deceive is shown as its number.
pub(crate) fn clean(text: &str) -> String {
    if !text.contains(is_deceptive) {
        return text.to_owned();
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_deceptive(character) {
            cleaned.extend(character.escape_unicode());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

/// How a column behaves when the terminal is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Never broken: ids, states, numbers.
    Whole(&'static str),
    /// As [`Column::Whole`], aligned to the right.
    Number(&'static str),
    /// Broken into lines where it must be: names, lists.
    Prose(&'static str),
}

/// Narrower than this, words fall apart; then the terminal may break the lines.
const PROSE_WIDTH_MIN: u16 = 14;
/// Blanks beside a cell, left and right together.
const PADDING: u16 = 2;

/// A table without lines, as wide as the terminal at most.
pub(crate) struct Table {
    grid: Grid,
    columns: Vec<Column>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let mut grid = Grid::new();
        grid.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        grid.set_header(columns.iter().map(|column| match column {
            Column::Whole(name) | Column::Number(name) | Column::Prose(name) => *name,
        }));
        for (position, column) in columns.iter().enumerate() {
            if let Some(placed) = grid.column_mut(position) {
                placed.set_padding((u16::from(position > 0), 1));
                if matches!(column, Column::Number(_)) {
                    placed.set_cell_alignment(comfy_table::CellAlignment::Right);
                }
            }
        }
        Self { grid, columns: columns.to_vec() }
    }

    /// Adds a row; every cell is made safe.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.grid.add_row(cells.into_iter().map(|cell| clean(&cell)));
    }

    /// The lines, without blanks at their ends.
    pub(crate) fn lines(mut self) -> String {
        let contents = self.grid.column_max_content_widths();
        for (position, (column, content)) in self.columns.iter().zip(contents).enumerate() {
            let constraint = match column {
                Column::Prose(_) => {
                    ColumnConstraint::LowerBoundary(Width::Fixed(PROSE_WIDTH_MIN.min(content + PADDING)))
                }
                Column::Whole(_) | Column::Number(_) => ColumnConstraint::ContentWidth,
            };
            if let Some(placed) = self.grid.column_mut(position) {
                placed.set_constraint(constraint);
            }
        }
        self.grid.trim_fmt()
    }
}

/// Labels and values in two columns; empty values are left out.
pub(crate) fn fields(rows: &[(&str, String)]) -> String {
    let shown = || rows.iter().filter(|(_, value)| !value.is_empty());
    let width = shown().map(|(label, _)| label.len()).max().unwrap_or(0);
    let lines = shown().map(|(label, value)| format!("{label:width$}  {}", clean(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A member that is text, or nothing: a server that leaves it out is not worth a failure.
pub(crate) fn text(document: &Value, name: &str) -> String {
    document[name].as_str().unwrap_or_default().to_owned()
}

/// The texts of a list, separated by commas.
pub(crate) fn list(document: &Value) -> String {
    let texts = document.as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.collect::<Vec<_>>().join(", ")
}

/// The rows of a list answer.
pub(crate) fn rows(document: &Value) -> &[Value] {
    document["data"].as_array().map_or(&[], Vec::as_slice)
}

/// `1 key`, `2 keys`.
pub(crate) fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_cannot_deceive() {
        assert_eq!(clean("Schlüssel № 1"), "Schlüssel № 1");
        assert_eq!(clean("a\u{1b}[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}");
    }

    #[test]
    fn json_stays_the_same_document_and_cannot_deceive() {
        let document = json!({"name": "a\u{202e}b\u{9b}2J\u{7f}\n", "data": [1, null]});
        let text = json_text(&document);
        assert!(!text.contains(|character| is_deceptive(character) && character != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), document);
    }

    #[test]
    fn tables_are_calm() {
        let mut table = Table::new(&[Column::Whole("ID"), Column::Prose("NAME"), Column::Number("CALLS")]);
        table.row(["org_1".to_owned(), "Acme\u{1b}".to_owned(), "7".to_owned()]);
        table.row(["org_22".to_owned(), "B".to_owned(), "1200".to_owned()]);
        insta::assert_snapshot!(table.lines(), @r"
        ID      NAME        CALLS
        org_1   Acme\u{1b}      7
        org_22  B            1200
        ");
    }

    #[test]
    fn narrow_terminals_break_prose_only() {
        let mut table = Table::new(&[Column::Whole("ID"), Column::Prose("NAME"), Column::Whole("STATE")]);
        table.grid.set_width(40);
        table.row(["key_00000000".to_owned(), "A rather long name that does not fit".to_owned(), "active".to_owned()]);
        insta::assert_snapshot!(table.lines(), @r"
        ID            NAME            STATE
        key_00000000  A rather long   active
                      name that does
                      not fit
        ");
    }

    #[test]
    fn fields_are_aligned_and_empty_ones_left_out() {
        let rows = [("id", "key_1".to_owned()), ("parent", String::new()), ("name", "x\u{7}".to_owned())];
        assert_eq!(fields(&rows), "id    key_1\nname  x\\u{7}");
    }
}
