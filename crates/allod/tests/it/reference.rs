//! The page of commands is what the program says of itself.

use std::path::Path;
use std::process::Command;

#[test]
fn the_page_of_commands_is_current() {
    let made = Command::new(env!("CARGO_BIN_EXE_allod"))
        .arg("reference")
        .output()
        .unwrap();
    assert!(made.status.success());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let made = String::from_utf8(made.stdout).unwrap();
    assert!(
        made == kept,
        "{} is not current; run: target/debug/allod reference > docs/reference/cli.md",
        path.display()
    );
}
