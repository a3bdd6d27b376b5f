//! `docs/trust.md` shows the list as it is.

use super::layer::BEYOND;
use super::list::ROWS;

#[test]
fn the_page_shows_every_probe() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/trust.md");
    let page = std::fs::read_to_string(page).unwrap();
    for row in ROWS {
        let answer = if row.answer.is_empty() {
            "ended"
        } else {
            row.answer
        };
        let line = format!("| `{}` | {} | `{answer}` |", row.name, row.refused_by);
        assert!(
            page.contains(&line),
            "docs/trust.md lacks this line:\n{line}"
        );
    }
    for row in BEYOND {
        let (opened, answer) = (row.opened.words(), row.answer.replace("shut ", ""));
        let line = format!("| {opened} | `{}` | `{answer}` | {} |", row.probe, row.next);
        assert!(
            page.contains(&line),
            "docs/trust.md lacks this line:\n{line}"
        );
    }
}
