//! Lines of env files.

use super::super::diagnostic::Source;
use super::*;

fn read(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut report = Report::default();
    report.sources.push(Source {
        name: ".env".into(),
        folder: None,
        text: text.into(),
    });
    let known: Variables = [("KNOWN".to_string(), "k".to_string())].into();
    let pairs = parse(0, &known, &mut report);
    if report.has_errors() {
        return Err(report.into_diagnostics().remove(0).to_string());
    }
    Ok(pairs)
}

fn value(text: &str) -> String {
    read(text).unwrap().pop().unwrap().1.unwrap()
}

#[test]
fn values_in_all_their_quotes() {
    assert_eq!(value("A=plain text # comment"), "plain text");
    assert_eq!(value("A=with#hash"), "with#hash");
    assert_eq!(value("A = spaced "), "spaced");
    assert_eq!(value("export A=x"), "x");
    assert_eq!(value("A='$KNOWN \\n'"), "$KNOWN \\n");
    assert_eq!(
        value("A=\"$KNOWN \\n\\\"q\\\" \\$x\" # comment"),
        "k \n\"q\" $x"
    );
    assert_eq!(value("A=\"two\nlines\""), "two\nlines");
    assert_eq!(value("A="), "");
    assert_eq!(value("A=1\nB=${A}2"), "12");
    assert_eq!(value("\u{feff}# a comment\n\nA=1\r\n"), "1");
}

#[test]
fn a_name_alone_takes_the_callers_value() {
    assert_eq!(
        read("KNOWN\nOTHER").unwrap(),
        [("KNOWN".into(), Some("k".into())), ("OTHER".into(), None)]
    );
}

#[test]
fn broken_lines_are_named() {
    assert!(read("A=1\n2B=x").unwrap_err().contains(".env:2:1"));
    assert!(read("A=\"open").unwrap_err().contains("not closed"));
    assert!(read("A=${").unwrap_err().contains("no variable's name"));
}
