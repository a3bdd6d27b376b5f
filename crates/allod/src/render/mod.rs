//! How things look: tables, times and sizes for people, JSON and YAML for programs.

pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod views;
pub(crate) mod yaml;

use std::io::{IsTerminal, Write};

use allod_api::compose::Diagnostic;
use serde::Serialize;

/// What a shell shows for a process that a closed pipe ended.
const CLOSED_PIPE: i32 = 141;

/// Prints data on standard output. Where nobody reads it any more, the process ends quietly.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    if write!(out, "{text}{end}")
        .and_then(|()| out.flush())
        .is_err()
    {
        std::process::exit(CLOSED_PIPE);
    }
}

/// Says something on standard error.
pub(crate) fn say(text: &str) {
    // Where nobody listens any more, nothing is lost.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says what went wrong, with all its causes.
pub(crate) fn complain(message: &str, source: Option<&dyn std::error::Error>) {
    let mut text = format!("error: {message}");
    let mut source = source;
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    say(&text);
}

/// Shows problems of a deploy file at their place.
pub(crate) fn diagnose(diagnostics: &[Diagnostic]) {
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for diagnostic in diagnostics {
        if is_coloured {
            say(&diagnostic.to_ansi());
        } else {
            say(&diagnostic.to_string());
        }
    }
}

/// The value as JSON for a program to read.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string_pretty(value).expect("views are plain data with text keys")
}

/// The value as a JSON tree.
pub(crate) fn value<T: Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("views are plain data with text keys")
}
