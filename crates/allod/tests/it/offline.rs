//! What the program says and ends with where no node runs.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn allod(home: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_allod"))
        .args(arguments)
        .env("ALLOD_HOME", home)
        .env_remove("ALLOD_API")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ends_with(code: i32, arguments: &[&str]) -> String {
    let home = TempDir::new().unwrap();
    let output = allod(home.path(), arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?} said {said}"
    );
    assert!(
        output.stdout.is_empty(),
        "{arguments:?} put an error on standard output"
    );
    said
}

#[test]
fn without_a_node_every_command_is_unreachable_and_says_what_to_do() {
    let commands: &[&[&str]] = &[
        &["status"],
        &["run", "nginx"],
        &["logs", "web"],
        &["exec", "web", "--", "true"],
        &["bill", "verify"],
        &["credits", "balance"],
        &["-o", "json", "node", "list"],
        &["down", "--yes"],
    ];
    for command in commands {
        let said = ends_with(9, command);
        assert!(said.starts_with("error: "), "{command:?} said {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("help: "), "{command:?} ended with {last}");
    }
}

#[test]
fn wrong_calls_end_with_2() {
    let commands: &[&[&str]] = &[
        &[],
        &["nosuch"],
        &["run"],
        &["logs", "a/b/c"],
        &["scale", "web", "-1"],
        &["bill", "--month", "2026-13"],
        &["credits", "send", "acct_x", "1"],
        &["status", "--timeout", "soon"],
        &["--api", "https://example.org", "identity"],
    ];
    for command in commands {
        ends_with(2, command);
    }
}

#[test]
fn a_home_without_an_identity_says_so() {
    let said = ends_with(4, &["--api", "http://127.0.0.1:1", "status"]);
    assert!(said.contains("there is no identity"), "{said}");
    ends_with(4, &["identity", "show"]);
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let said = ends_with(2, &["down"]);
    assert!(said.contains("--yes"), "{said}");
}

#[test]
fn what_needs_no_node_works_without_one() {
    let home = TempDir::new().unwrap();
    let shells = ["bash", "zsh", "fish"].map(|shell| vec!["completions", shell]);
    let others = [
        vec!["version"],
        vec!["config", "path", "-o", "yaml"],
        vec!["--help"],
    ];
    for command in shells.into_iter().chain(others) {
        let output = allod(home.path(), &command);
        assert!(
            output.status.success() && !output.stdout.is_empty(),
            "{command:?}"
        );
    }
    let output = allod(home.path(), &["config", "path", "-o", "json"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains(&home.path().join("node").display().to_string()),
        "{text}"
    );
}
