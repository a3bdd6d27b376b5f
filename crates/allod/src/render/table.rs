//! Tables: columns of text, without lines, as wide as what is in them.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A table with these headings. A heading that ends in `>` has its column aligned to the right.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(headings.map(|heading| heading.trim_end_matches('>')));
    for row in rows {
        table.add_row(row.map(|cell| super::text::plain(&cell)));
    }
    table.discover_columns();
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.ends_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

/// Names and values, one pair a line.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", super::text::plain(value)));
    lines.collect::<Vec<_>>().join("\n")
}
