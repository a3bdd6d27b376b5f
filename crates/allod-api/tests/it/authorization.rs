//! The authorization table: every operation and every change, asked for by everybody who might ask.
//!
//! The cells are written down in `table.rs`, asserted here over real sockets against a real node, and printed into
//! `docs/reference/authorization.md` (`UPDATE_REFERENCE=1` writes it anew). An operation or a change without a row fails.

mod ask;
mod page;
mod stage;
mod table;

use allod_api::ops::OPERATIONS;
use allod_state::Action;

use stage::Stage;
use table::{ACTIONS, Cell, OPERATION_ROWS, Role, Row};

#[test]
fn every_operation_and_every_change_has_its_row() {
    let named: Vec<&str> = OPERATION_ROWS.iter().map(|row| row.name).collect();
    let there: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(
        named, there,
        "OPERATIONS and the table of operations differ"
    );
    let named: Vec<&str> = ACTIONS.iter().map(|row| row.name).collect();
    assert_eq!(
        named,
        Action::NAMES,
        "the law's list and the table of changes differ"
    );
}

#[test]
fn the_page_of_the_table_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference/authorization.md");
    let written = page::markdown();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == written,
        "docs/reference/authorization.md is not current: UPDATE_REFERENCE=1 cargo nextest run -p allod-api authorization"
    );
}

/// What one cell came to.
struct Seen {
    status: u16,
    code: String,
    /// Whether the answer tells of what the owner has.
    tells: bool,
}

/// What is wrong with a cell; nothing where it is as the table says.
fn fault(row: &Row, role: Role, seen: &Seen) -> Option<String> {
    let (status, code) = row.owner;
    let (wanted, tells) = match row.cell(role) {
        Cell::Yes => ((status, code), row.marker.is_some().then_some(true)),
        Cell::Blind => ((status, code), Some(false)),
        Cell::No(status, code) => ((status, code), row.marker.is_some().then_some(false)),
    };
    let is_answer = (seen.status, seen.code.as_str()) == wanted;
    if is_answer && tells.is_none_or(|tells| tells == seen.tells) {
        return None;
    }
    Some(format!(
        "{} as {role:?}: {} {} (tells of the owner's: {}), and the table says {:?} {:?}",
        row.name, seen.status, seen.code, seen.tells, wanted, tells
    ))
}

#[test]
fn a_cell_that_is_not_as_the_table_says_is_told() {
    let row = OPERATION_ROWS
        .iter()
        .find(|row| row.name == "app.list")
        .unwrap();
    let seen = |status, code: &str, tells| Seen {
        status,
        code: code.to_owned(),
        tells,
    };
    let refused = (403, "verb-not-granted");
    for (role, (status, code), tells, is_right) in [
        (Role::Owner, (200, ""), true, true),
        (Role::Owner, (200, ""), false, false),
        (Role::Owner, (404, ""), true, false),
        (Role::Stranger, (200, ""), false, true),
        (Role::Stranger, (200, ""), true, false),
        (Role::NoVerb, refused, false, true),
        (Role::NoVerb, (200, ""), true, false),
        (Role::NoVerb, (403, "expired-key"), false, false),
    ] {
        let told = fault(row, role, &seen(status, code, tells));
        assert_eq!(told.is_none(), is_right, "{role:?} {status} {code} {tells}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_operations_holds_slow() {
    let stage = Stage::set().await;
    let mut faults = Vec::new();
    for (operation, row) in OPERATIONS.iter().zip(OPERATION_ROWS) {
        let keys = stage.keys_for_reading(operation, row).await;
        for role in Role::ALL {
            for signer in keys.of(*role) {
                let seen = stage.read(operation, row, *role, signer).await;
                faults.extend(fault(row, *role, &seen));
            }
        }
        stage.clear().await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_of_the_changes_holds_slow() {
    let stage = Stage::set().await;
    let mut faults = Vec::new();
    for row in ACTIONS {
        let keys = stage.keys_for_changing(row).await;
        for role in Role::ALL {
            for signer in keys.of(*role) {
                let seen = stage.change(row, *role, signer).await;
                faults.extend(fault(row, *role, &seen));
            }
        }
        stage.clear().await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
