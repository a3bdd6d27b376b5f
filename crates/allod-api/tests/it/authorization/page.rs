//! The table as a page for people.

use super::table::{ACTIONS, Cell, OPERATION_ROWS, Role, Row};

const HEAD: &str = "\
# Who may do what

This page is the authorization table. Every cell of it is asked for over HTTP against a real node by a test, which also
fails where an operation or a change has no row. What no row allows is refused.

The columns, from left to right: nobody (no signature); a key of another account, in that account's name; the same key
in the owner's name; a key of the owner with all rights; the narrowest key that the row lets in (one of its verbs, and
only the app or node it is about, or all apps where the row concerns the whole account); a key with every verb but the
row's; a key with the verb for another app or node; a key whose grant has ended; one that was revoked; the narrowest key
with its budget used up; the owner calling the node by a name that is not its own; the owner from a web page that is not
the node's.

**yes**: answered as the owner is. **nothing**: answered, and nothing of the owner's is in the answer. Anything else is
the code of the refusal.
";

const READS: &str = "\
## Operations

Reads, logs and shells are asked for with a request signed after RFC 9421. Budgets bound what is spent, so reading goes
on without one.
";

const CHANGES: &str = "\
## Changes

Transactions, signed by their author, whoever submits them (`POST /v1/transactions`). The law decides, on every
validator alike. What another account does in its own name happens to its own things.
";

pub(super) fn markdown() -> String {
    let mut page = format!("{HEAD}\n{READS}\n");
    table(&mut page, OPERATION_ROWS);
    page.push_str(&format!("\n{CHANGES}\n"));
    table(&mut page, ACTIONS);
    page
}

fn table(page: &mut String, rows: &[Row]) {
    let headings: Vec<&str> = Role::ALL.iter().map(|role| role.heading()).collect();
    page.push_str(&format!("| | {} |\n|---|", headings.join(" | ")));
    page.push_str(&"---|".repeat(Role::COUNT));
    page.push('\n');
    for row in rows {
        let cells: Vec<String> = Role::ALL
            .iter()
            .map(|role| match row.cell(*role) {
                Cell::Yes => "yes".to_owned(),
                Cell::Blind => "nothing".to_owned(),
                Cell::No(_, code) => format!("`{code}`"),
            })
            .collect();
        page.push_str(&format!("| `{}` | {} |\n", row.name, cells.join(" | ")));
    }
}
