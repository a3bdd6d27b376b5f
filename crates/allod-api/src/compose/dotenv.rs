//! Files of `NAME=value` lines: `.env` beside a deploy file, and `env_file` of a service.

use std::collections::BTreeMap;

use super::diagnostic::{Diagnostic, Problem, Report, Severity, Source, Span};
use super::interpolate::{Variables, replace};
use super::limits::REPLACED_BYTES_MAX;

#[cfg(test)]
mod tests;

/// Reads a file that the caller names for the variables of a deploy file. Values may use `known` variables.
///
/// # Errors
/// Everything that is wrong with it.
pub fn env_file(
    text: &str,
    file: &str,
    known: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Vec<Diagnostic>> {
    let mut report = Report::default();
    report.sources.push(Source {
        name: file.to_string(),
        folder: None,
        text: text.to_string(),
    });
    let pairs = parse(0, known, &mut report);
    if report.has_errors() {
        return Err(report.into_diagnostics());
    }
    let pairs = pairs.into_iter();
    Ok(pairs
        .filter_map(|(name, value)| Some((name, value?)))
        .collect())
}

/// Reads the report's file of that index. Values may use `known` variables and those before them.
/// A name without `=` has no value of its own.
pub(crate) fn parse(
    file: usize,
    known: &Variables,
    report: &mut Report,
) -> Vec<(String, Option<String>)> {
    let text = report
        .sources
        .get(file)
        .map(|source| source.text.clone())
        .unwrap_or_default();
    let mut variables = known.clone();
    let mut pairs = Vec::new();
    let mut bytes = 0_usize;
    let mut lines = text.lines().zip(1_u32..);
    while let Some((line, number)) = lines.next() {
        let trimmed = line.trim().trim_start_matches('\u{feff}');
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut fail = |message: String, help: &str| {
            report.push(problem(file, number, message, help));
        };
        let statement = trimmed.strip_prefix("export ").unwrap_or(trimmed);
        let (name, written) = match statement.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (statement, None),
        };
        if !is_name(name) {
            fail(
                format!("`{name}` is not a variable's name"),
                "write the line as NAME=value",
            );
            continue;
        }
        let Some(written) = written else {
            pairs.push((name.to_string(), known.get(name).cloned()));
            continue;
        };
        let Some(raw) = value(written, &mut lines) else {
            fail(
                "a quote is not closed".into(),
                "close it on this line or a later one",
            );
            break;
        };
        let read = match raw {
            Raw::Literal(text) => Ok(text),
            Raw::Template(text) => replace(&text, &variables).map(|replaced| replaced.text),
        };
        match read {
            Ok(text) => {
                bytes = bytes.saturating_add(text.len());
                if bytes > REPLACED_BYTES_MAX {
                    let message = "the file grows too large here, its variables replaced";
                    fail(message.into(), "bring long values along as files");
                    break;
                }
                variables.insert(name.to_string(), text.clone());
                pairs.push((name.to_string(), Some(text)));
            }
            Err(refused) => fail(refused.message, refused.help),
        }
    }
    pairs
}

fn problem(file: usize, line: u32, message: String, help: &str) -> Problem {
    Problem {
        severity: Severity::Error,
        span: Span {
            file,
            line,
            column: 1,
            length: u32::MAX,
        },
        key: String::new(),
        message,
        help: Some(help.to_string()),
    }
}

enum Raw {
    /// In single quotes: as it is.
    Literal(String),
    /// With variables to replace.
    Template(String),
}

fn is_name(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(is_part)
}

/// The value that starts with `written`; a quoted one may go on over further lines.
fn value<'a>(written: &str, lines: &mut impl Iterator<Item = (&'a str, u32)>) -> Option<Raw> {
    let quote = written
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''));
    let Some(quote) = quote else {
        let comment = written.find(" #").unwrap_or(written.len());
        let (text, _) = written.split_at(comment);
        return Some(Raw::Template(text.trim_end().to_string()));
    };
    let mut inside = String::new();
    let mut line = written.get(1..)?;
    loop {
        // An escape reaches no further than its line, so that each line is looked at once.
        if let Some(end) = closing(line, quote) {
            inside.push_str(line.get(..end)?);
            return Some(match quote {
                '\'' => Raw::Literal(inside),
                _ => Raw::Template(unescape(&inside)),
            });
        }
        inside.push_str(line);
        inside.push('\n');
        (line, _) = lines.next()?;
    }
}

fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            other if other == quote => return Some(index),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('$') => out.push_str("$$"),
            Some(other) => out.push(other),
            None => out.push('\\'),
        }
    }
    out
}
