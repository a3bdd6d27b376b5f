//! What shells and `man` make of what the program gives them.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn allod(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_allod"))
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    output
}

/// What a bash that has read our completions offers for the last of these words.
fn offered(line: &[&str]) -> Vec<String> {
    let folder = TempDir::new().unwrap();
    let script = folder.path().join("allod.bash");
    std::fs::write(&script, allod(&["completions", "bash"]).stdout).unwrap();
    let words = line.join(" ");
    let (last, before) = (line.len() - 1, line.len() - 2);
    let asked = format!(
        "set -u; source '{}'; COMP_WORDS=({words} ''); COMP_WORDS=(\"${{COMP_WORDS[@]:0:{}}}\"); COMP_CWORD={last}\n\
         complete -p allod | grep -q -- '-F _allod' || exit 3\n\
         _allod allod \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{before}]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        line.len()
    );
    let output = Command::new("bash")
        .args(["--norc", "-c", &asked])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line:?}: {said}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_offers_commands_flags_and_values() {
    assert_eq!(offered(&["allod", "sta"]), ["status"]);
    assert_eq!(offered(&["allod", "credits", "ba"]), ["balance"]);
    let flags = offered(&["allod", "run", "--"]);
    assert!(flags.iter().any(|flag| flag == "--port"), "{flags:?}");
    let formats = offered(&["allod", "status", "--output", ""]);
    assert!(formats.iter().any(|format| format == "json"), "{formats:?}");
    assert!(offered(&["allod", "nosuch"]).is_empty());
}

#[test]
fn what_people_do_not_call_is_not_offered() {
    let commands = offered(&["allod", ""]);
    assert!(commands.len() > 20, "{commands:?}");
    for hidden in ["reference", "network-process"] {
        assert!(
            !commands.iter().any(|command| command == hidden),
            "{hidden} is offered"
        );
    }
}

/// What `man` has to complain about in a page.
fn complaints(page: &Path) -> String {
    let output = Command::new("man")
        .args(["--warnings", "--encoding=UTF-8", "-l"])
        .arg(page)
        .env("LC_ALL", "C.UTF-8")
        .env("MANPAGER", "cat")
        .env("MANWIDTH", "100")
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && shown.contains("NAME"),
        "{}",
        page.display()
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_has_a_page_that_man_shows_without_complaint() {
    let folder = TempDir::new().unwrap();
    allod(&["man", folder.path().to_str().unwrap()]);
    let mut pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    pages.sort();
    let names: Vec<String> = pages
        .iter()
        .map(|page| page.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    for wanted in ["allod.1", "allod-run.1", "allod-credits-send.1"] {
        assert!(
            names.iter().any(|name| name == wanted),
            "{wanted} is missing: {names:?}"
        );
    }
    assert!(
        !names.iter().any(|name| name.contains("network-process")),
        "{names:?}"
    );
    for command in offered(&["allod", ""])
        .iter()
        .filter(|word| !word.starts_with('-') && *word != "help")
    {
        assert!(
            names.contains(&format!("allod-{command}.1")),
            "{command} has no page"
        );
    }
    for page in &pages {
        assert_eq!(complaints(page), "", "{}", page.display());
    }
    let first = String::from_utf8(allod(&["man"]).stdout).unwrap();
    assert!(first.contains(".TH allod 1"), "{first}");
}

#[test]
fn a_broken_page_is_complained_about() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("broken.1");
    std::fs::write(&page, ".TH broken 1\n.SH NAME\nbroken\n.nosuchmacro\n").unwrap();
    assert!(complaints(&page).contains("nosuchmacro"));
}
