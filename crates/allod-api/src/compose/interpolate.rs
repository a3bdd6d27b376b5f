//! Replacing `${VARIABLE}` in the values of a document, as the Compose specification has it.
//!
//! It works on the parsed tree, not on the text: a variable's value can neither add keys nor break
//! the quoting, and every problem knows its place.

use std::collections::BTreeMap;

use super::diagnostic::{Problem, Report, Severity, Span};
use super::limits::{REPLACED_BYTES_MAX, VALUE_BYTES_MAX, VARIABLE_DEPTH_MAX};
use super::node::{Node, Value};

#[cfg(test)]
mod tests;

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Replaces the variables in every value of the tree.
pub(crate) fn interpolate(node: &mut Node, variables: &Variables, report: &mut Report) {
    let mut walk = Walk {
        variables,
        report,
        bytes: 0,
    };
    walk.node(node, "");
}

/// A value with its variables replaced, and the names of those that were not set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) text: String,
    pub(crate) unset: Vec<String>,
}

/// Replaces the variables in one value. The error says what is wrong with it.
pub(crate) fn replace(text: &str, variables: &Variables) -> Result<Replaced, Refused> {
    let mut template = Template {
        variables,
        rest: text,
        unset: Vec::new(),
    };
    let text = template.until_end(0)?;
    Ok(Replaced {
        text,
        unset: template.unset,
    })
}

/// Why a value's variables cannot be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) message: String,
    pub(crate) help: &'static str,
}

impl Refused {
    fn new(message: impl Into<String>, help: &'static str) -> Self {
        Refused {
            message: message.into(),
            help,
        }
    }
}

struct Walk<'a> {
    variables: &'a Variables,
    report: &'a mut Report,
    bytes: usize,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node, path: &str) {
        let span = node.span;
        match &mut node.value {
            Value::Null => {}
            Value::Text(text) => self.text(text, span, path),
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{index}]"));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    let joint = if path.is_empty() { "" } else { "." };
                    self.node(&mut entry.value, &format!("{path}{joint}{}", entry.key));
                }
            }
        }
    }

    fn text(&mut self, text: &mut String, span: Span, path: &str) {
        if !text.contains('$') || self.bytes > REPLACED_BYTES_MAX {
            return;
        }
        match replace(text, self.variables) {
            Ok(replaced) => {
                for name in replaced.unset {
                    let message = format!("the variable `{name}` is not set; it is taken as empty");
                    let problem = problem(Severity::Warning, span, path, message);
                    let help = format!("set it, or give a default: ${{{name}:-value}}");
                    self.report.push(problem.help(help));
                }
                self.bytes = self.bytes.saturating_add(replaced.text.len());
                if self.bytes > REPLACED_BYTES_MAX {
                    let message = "the file grows too large here, its variables replaced".into();
                    let problem = problem(Severity::Error, span, path, message);
                    self.report
                        .push(problem.help("bring long values along as files"));
                } else {
                    *text = replaced.text;
                }
            }
            Err(refused) => {
                let problem = problem(Severity::Error, span, path, refused.message);
                self.report.push_spoiling(problem.help(refused.help));
            }
        }
    }
}

fn problem(severity: Severity, span: Span, path: &str, message: String) -> Problem {
    Problem {
        severity,
        span,
        key: path.to_string(),
        message,
        help: None,
    }
}

const DOLLAR: &str = "a dollar sign that is meant as one is written $$";

struct Template<'a> {
    variables: &'a Variables,
    rest: &'a str,
    unset: Vec<String>,
}

impl Template<'_> {
    /// Everything up to the end of the text or, inside braces, up to the closing one.
    fn until_end(&mut self, depth: usize) -> Result<String, Refused> {
        let mut out = String::new();
        while let Some(next) = self.rest.chars().next() {
            if depth > 0 && next == '}' {
                break;
            }
            self.rest = &self.rest[next.len_utf8()..];
            if next == '$' {
                self.variable(depth, &mut out)?;
            } else {
                out.push(next);
            }
            if out.len() > VALUE_BYTES_MAX {
                let message = format!("the value grows over {VALUE_BYTES_MAX} bytes");
                return Err(Refused::new(message, "put it into a file of its own"));
            }
        }
        Ok(out)
    }

    /// What a `$`, already read, stands for.
    fn variable(&mut self, depth: usize, out: &mut String) -> Result<(), Refused> {
        if let Some(rest) = self.rest.strip_prefix('$') {
            self.rest = rest;
            out.push('$');
            return Ok(());
        }
        if let Some(rest) = self.rest.strip_prefix('{') {
            self.rest = rest;
            return self.braced(depth, out);
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Refused::new(
                "a `$` is followed by no variable's name",
                DOLLAR,
            ));
        }
        match self.variables.get(&name) {
            Some(value) => out.push_str(value),
            None => self.unset.push(name),
        }
        Ok(())
    }

    fn braced(&mut self, depth: usize, out: &mut String) -> Result<(), Refused> {
        if depth >= VARIABLE_DEPTH_MAX {
            let message = format!("variables are nested more than {VARIABLE_DEPTH_MAX} deep");
            return Err(Refused::new(message, "give the default in plain text"));
        }
        let name = self.name();
        if name.is_empty() {
            return Err(Refused::new(
                "`${` is followed by no variable's name",
                DOLLAR,
            ));
        }
        let value = self.variables.get(&name);
        let operators = [":-", ":?", ":+", "-", "?", "+", ""];
        let operator = operators
            .into_iter()
            .find(|operator| self.rest.starts_with(operator));
        let operator = operator.unwrap_or_default();
        self.rest = &self.rest[operator.len()..];
        let unset_before = self.unset.len();
        let word = if operator.is_empty() {
            String::new()
        } else {
            self.until_end(depth + 1)?
        };
        let Some(rest) = self.rest.strip_prefix('}') else {
            let message = format!("`${{{name}` is not closed, or has an unknown operator");
            return Err(Refused::new(
                message,
                "the operators are :- - :? ? :+ and +",
            ));
        };
        self.rest = rest;
        let counts_empty = operator.starts_with(':');
        let present = value.filter(|value| !(counts_empty && value.is_empty()));
        let uses_word = match operator.trim_start_matches(':') {
            "-" | "?" => present.is_none(),
            "+" => present.is_some(),
            _ => false,
        };
        if !uses_word {
            self.unset.truncate(unset_before);
        }
        match (operator.trim_start_matches(':'), present) {
            ("?", None) => {
                let reason = if word.is_empty() {
                    "it is required"
                } else {
                    word.as_str()
                };
                let message = format!("the variable `{name}` is not set: {reason}");
                return Err(Refused::new(
                    message,
                    "set it in the environment or in .env",
                ));
            }
            ("+", None) => {}
            ("-", None) | ("+", Some(_)) => out.push_str(&word),
            (_, Some(value)) => out.push_str(value),
            (_, None) => self.unset.push(name),
        }
        Ok(())
    }

    fn name(&mut self) -> String {
        let is_start = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !self.rest.starts_with(is_start) {
            return String::new();
        }
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_string()
    }
}
