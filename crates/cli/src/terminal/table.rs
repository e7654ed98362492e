//! Tables: a header, a line, rows.

use comfy_table::{ContentArrangement, LineStyle, TableStyle};

use super::{out, plain};

/// A table for a person.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let line = LineStyle::none().fill('─').junction('─');
        let mut table = comfy_table::Table::new();
        table.load_style(TableStyle::new().header_separator(line));
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = impl AsRef<str>>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| one_line(cell.as_ref())).collect();
        self.0.add_row(cells);
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let printed = self.0.to_string();
        for line in printed.lines() {
            out::line(line.trim_end());
        }
    }
}

fn one_line(cell: &str) -> String {
    plain(cell).split_whitespace().collect::<Vec<_>>().join(" ")
}
