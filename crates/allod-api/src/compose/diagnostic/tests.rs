//! Rendering: the caret stands under its place, and foreign text cannot steer a terminal.

use super::*;

fn report(text: &str) -> Report {
    Report {
        sources: vec![Source {
            name: "compose.yaml".into(),
            folder: None,
            text: text.into(),
        }],
        ..Report::default()
    }
}

fn problem(line: u32, column: u32, length: u32) -> Problem {
    Problem {
        severity: Severity::Error,
        span: Span {
            file: 0,
            line,
            column,
            length,
        },
        key: "services.web".into(),
        message: "no".into(),
        help: Some("say yes".into()),
    }
}

#[test]
fn the_caret_stands_under_its_place() {
    let mut report = report("a: 1\n  web: 2\n");
    report.push(problem(2, 3, 3));
    let shown = report.into_diagnostics()[0].to_string();
    let expected = "error: no\n --> compose.yaml:2:3 (services.web)\n  |\n2 |   web: 2\n  |   ^^^\n  = help: say yes";
    assert_eq!(shown, expected);
}

#[test]
fn colours_appear_only_when_asked_for() {
    let mut report = report("a: 1\n");
    report.push(problem(1, 1, 1));
    let diagnostic = report.into_diagnostics().remove(0);
    assert!(!diagnostic.to_string().contains('\x1b'));
    assert!(diagnostic.to_ansi().contains("\x1b[1;31merror"));
}

#[test]
fn control_characters_and_places_outside_the_text_do_no_harm() {
    let mut report = report("a:\t\x1b[2J\n");
    report.push(problem(1, 900, 900));
    report.push(problem(77, 1, 1));
    for diagnostic in report.into_diagnostics() {
        assert!(!diagnostic.to_string().contains('\x1b'));
        assert!(diagnostic.column < 20 && diagnostic.length < 20);
    }
}

#[test]
fn a_problem_is_told_once_and_errors_come_first() {
    let mut report = report("a: 1\nb: 2\n");
    report.push(Problem {
        severity: Severity::Warning,
        ..problem(1, 1, 1)
    });
    report.push(problem(2, 1, 1));
    report.push(problem(2, 1, 1));
    let lines: Vec<u32> = report
        .into_diagnostics()
        .iter()
        .map(|each| each.line)
        .collect();
    assert_eq!(lines, [2, 1]);
}
