//! Problems with a deploy file: where, what, and what to do instead.
//!
//! All problems of a file are gathered in one [`Report`] before anything is said, so that a reader
//! mends a file once, not once per problem.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use super::limits::{DIAGNOSTICS_MAX, SHOWN_CHARS_MAX};

#[cfg(test)]
mod tests;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file cannot be deployed.
    Error,
    /// The file can be deployed, but something in it has no effect or may surprise.
    Warning,
}

/// One problem. Its `Display` shows the source line with a caret under the place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1; 0 where the problem is not in a line of a file.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// How many characters are meant.
    pub length: u32,
    /// The keys that lead to the place, as `services.web.ports[0]`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do instead.
    pub help: Option<String>,
    /// The text of the line.
    pub source_line: String,
}

impl Diagnostic {
    /// The same text as `Display`, with colours for a terminal.
    pub fn to_ansi(&self) -> String {
        let mut text = String::new();
        self.render(&mut text, &COLOURED)
            .expect("writing to a String cannot fail");
        text
    }

    fn render(&self, out: &mut impl fmt::Write, paint: &Paint) -> fmt::Result {
        let (word, colour) = match self.severity {
            Severity::Error => ("error", paint.error),
            Severity::Warning => ("warning", paint.warning),
        };
        let (strong, dim, end) = (paint.strong, paint.dim, paint.end);
        write!(out, "{colour}{word}{end}{strong}: {}{end}", self.message)?;
        let gutter = self.line.to_string().len();
        if self.line > 0 {
            let Self {
                file, line, column, ..
            } = self;
            write!(out, "\n{:gutter$}{dim}-->{end} {file}:{line}:{column}", "")?;
            if !self.key.is_empty() {
                write!(out, " ({})", self.key)?;
            }
            let before = " ".repeat(usize::try_from(*column).unwrap_or(1).saturating_sub(1));
            let carets = "^".repeat(usize::try_from(self.length).unwrap_or(1).max(1));
            write!(out, "\n{:gutter$} {dim}|{end}", "")?;
            write!(out, "\n{dim}{line} |{end} {}", self.source_line)?;
            write!(
                out,
                "\n{:gutter$} {dim}|{end} {before}{colour}{carets}{end}",
                ""
            )?;
        } else if !self.key.is_empty() {
            write!(
                out,
                "\n{:gutter$}{dim}-->{end} {} ({})",
                "", self.file, self.key
            )?;
        }
        if let Some(help) = &self.help {
            write!(out, "\n{:gutter$} {dim}={end} help: {help}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, &PLAIN)
    }
}

struct Paint {
    error: &'static str,
    warning: &'static str,
    strong: &'static str,
    dim: &'static str,
    end: &'static str,
}

const PLAIN: Paint = Paint {
    error: "",
    warning: "",
    strong: "",
    dim: "",
    end: "",
};

const COLOURED: Paint = Paint {
    error: "\x1b[1;31m",
    warning: "\x1b[1;33m",
    strong: "\x1b[1m",
    dim: "\x1b[34m",
    end: "\x1b[0m",
};

/// A place in one of the files of a [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The file's index in the report.
    pub(crate) file: usize,
    /// The line, from 1.
    pub(crate) line: u32,
    /// The column in characters, from 1.
    pub(crate) column: u32,
    /// How many characters it covers.
    pub(crate) length: u32,
}

/// A problem before it is known to a report.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    pub(crate) span: Span,
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    /// Adds what to do instead.
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A file that takes part.
#[derive(Debug)]
pub(crate) struct Source {
    /// The name to show.
    pub(crate) name: String,
    /// The folder that its relative paths start from; `None` where no file may be read.
    pub(crate) folder: Option<PathBuf>,
    /// Its whole text.
    pub(crate) text: String,
}

/// The files that take part, and what is wrong with them so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) sources: Vec<Source>,
    diagnostics: Vec<Diagnostic>,
    spoilt: Vec<Span>,
}

impl Report {
    /// Notes a problem that leaves its place without a sensible value, and keeps what would follow
    /// from that quiet.
    pub(crate) fn push_spoiling(&mut self, problem: Problem) {
        let span = problem.span;
        self.push(problem);
        if self.spoilt.len() < DIAGNOSTICS_MAX {
            self.spoilt.push(span);
        }
    }

    /// Notes a problem once, however often an alias or `extends` repeats it.
    pub(crate) fn push(&mut self, problem: Problem) {
        let Span {
            file,
            line,
            column,
            length,
        } = problem.span;
        let source = self.sources.get(file);
        let name = source.map_or("", |source| source.name.as_str());
        let is_same = |seen: &Diagnostic| {
            (seen.line, seen.column) == (line, column)
                && seen.file == name
                && seen.message == problem.message
        };
        if self.spoilt.contains(&problem.span) {
            return;
        }
        if self.diagnostics.len() >= DIAGNOSTICS_MAX || self.diagnostics.iter().any(is_same) {
            return;
        }
        let index = usize::try_from(line).unwrap_or(0).checked_sub(1);
        let text = source.map_or("", |source| source.text.as_str());
        let written = index
            .and_then(|index| text.lines().nth(index))
            .unwrap_or("");
        let source_line: String = written
            .chars()
            .take(SHOWN_CHARS_MAX)
            .map(printable)
            .collect();
        let shown = u32::try_from(source_line.chars().count()).unwrap_or(u32::MAX);
        let column = column.clamp(1, shown.saturating_add(1));
        let room = shown.saturating_add(1).saturating_sub(column).max(1);
        self.diagnostics.push(Diagnostic {
            severity: problem.severity,
            file: name.to_string(),
            line,
            column,
            length: length.clamp(1, room),
            key: problem.key,
            message: problem.message.chars().map(printable).collect(),
            help: problem.help,
            source_line,
        });
    }

    /// Is there an error among the problems?
    pub(crate) fn has_errors(&self) -> bool {
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        self.diagnostics.iter().any(is_error)
    }

    /// All problems: errors first, then in the order of the file.
    pub(crate) fn into_diagnostics(mut self) -> Vec<Diagnostic> {
        let names: Vec<String> = self
            .sources
            .iter()
            .map(|source| source.name.clone())
            .collect();
        self.diagnostics.sort_by_key(|diagnostic| {
            let file = names.iter().position(|name| *name == diagnostic.file);
            (
                diagnostic.severity,
                file,
                diagnostic.line,
                diagnostic.column,
            )
        });
        self.diagnostics
    }
}

/// Terminals obey control characters, and a tab would move the caret away from its place.
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        control if control.is_control() => '\u{fffd}',
        other => other,
    }
}
