//! A parsed document: scalars as they were written, each with its place.
//!
//! Scalars stay text until something asks for a number, so that `0.5` is never a float and `0440`
//! never a decimal.

use super::diagnostic::{Problem, Report, Severity, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A scalar, quoted or not.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file, its keys distinct.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

impl Node {
    /// The value of a key, where this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                let entry = entries.iter().find(|entry| entry.key == key);
                entry.map(|entry| &entry.value)
            }
            _ => None,
        }
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Text(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map of keys",
        }
    }
}

/// A node, and the keys that lead to it.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    pub(crate) node: &'a Node,
    /// The last key or index alone.
    pub(crate) name: String,
    /// All keys, as `services.web.ports[0]`.
    pub(crate) path: String,
    pub(crate) key_span: Span,
}

impl<'a> At<'a> {
    /// The document itself.
    pub(crate) fn root(node: &'a Node) -> Self {
        Self::named(node, "")
    }

    /// A node that some path leads to.
    pub(crate) fn named(node: &'a Node, path: &str) -> Self {
        At {
            node,
            name: path.rsplit('.').next().unwrap_or_default().to_string(),
            path: path.to_string(),
            key_span: node.span,
        }
    }

    /// An error in the value.
    pub(crate) fn error(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Error, self.node.span, message.into())
    }

    /// An error in that the key is there at all.
    pub(crate) fn key_error(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Error, self.key_span, message.into())
    }

    /// A warning about the value.
    pub(crate) fn warning(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Warning, self.node.span, message.into())
    }

    /// A warning about the key.
    pub(crate) fn key_warning(&self, message: impl Into<String>) -> Problem {
        self.problem(Severity::Warning, self.key_span, message.into())
    }

    /// The text of a scalar.
    pub(crate) fn text(&self, report: &mut Report) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.expected("a single value", report);
                None
            }
        }
    }

    /// The text of a scalar, read by `parse`, whose error says what is wrong with it.
    pub(crate) fn read<T>(
        &self,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.text(report)?) {
            Ok(value) => Some(value),
            Err(message) => {
                report.push(self.refused(&message));
                None
            }
        }
    }

    /// An error in the value, of a parser's words: what is wrong, and after it what to do.
    pub(crate) fn refused(&self, message: &str) -> Problem {
        let (wrong, next) = split_next(message);
        let problem = self.error(wrong);
        match next {
            Some(next) => problem.help(next),
            None => problem,
        }
    }

    /// A yes or a no.
    pub(crate) fn truth(&self, report: &mut Report) -> Option<bool> {
        self.read(report, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            _ => Err(format!(
                "`{text}` is not a yes or a no: write true or false"
            )),
        })
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn number(&self, report: &mut Report, least: u32, most: u32) -> Option<u32> {
        self.read(report, |text| {
            let number = text
                .parse()
                .ok()
                .filter(|number| (least..=most).contains(number));
            let wrong = || {
                format!("`{text}` does not fit here: write a whole number from {least} to {most}")
            };
            number.ok_or_else(wrong)
        })
    }

    /// The items of a list.
    pub(crate) fn items(&self, report: &mut Report) -> Vec<At<'a>> {
        let Value::List(items) = &self.node.value else {
            self.expected("a list", report);
            return Vec::new();
        };
        let item = |(index, node): (usize, &'a Node)| At {
            node,
            name: index.to_string(),
            path: format!("{}[{index}]", self.path),
            key_span: node.span,
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The items of a list, or the one value that stands for a list of one.
    pub(crate) fn one_or_more(&self, report: &mut Report) -> Vec<At<'a>> {
        match self.node.value {
            Value::List(_) => self.items(report),
            _ => vec![self.clone()],
        }
    }

    /// The texts of a list of scalars, or of a single one.
    pub(crate) fn texts(&self, report: &mut Report) -> Vec<String> {
        let items = self.one_or_more(report);
        items
            .iter()
            .filter_map(|item| item.text(report))
            .map(str::to_string)
            .collect()
    }

    /// The values of a map, each at its key.
    pub(crate) fn entries(&self, report: &mut Report) -> Vec<At<'a>> {
        let Value::Map(entries) = &self.node.value else {
            self.expected("a map of keys", report);
            return Vec::new();
        };
        let entry = |entry: &'a Entry| At {
            node: &entry.value,
            name: entry.key.clone(),
            path: match self.path.as_str() {
                "" => entry.key.clone(),
                path => format!("{path}.{}", entry.key),
            },
            key_span: entry.key_span,
        };
        entries.iter().map(entry).collect()
    }

    /// The keys of a map, to be taken one by one.
    pub(crate) fn fields(&self, report: &mut Report) -> Fields<'a> {
        Fields {
            rest: self.entries(report),
        }
    }

    /// Names with values, from a map or from a list of `NAME=value`; no value where none is given.
    pub(crate) fn pairs(&self, report: &mut Report) -> Vec<(String, Option<String>, At<'a>)> {
        if let Value::Map(_) = self.node.value {
            let value = |at: At<'a>, report: &mut Report| match at.node.value {
                Value::Null => Some((at.name.clone(), None, at)),
                _ => Some((at.name.clone(), Some(at.text(report)?.to_string()), at)),
            };
            let entries = self.entries(report);
            return entries
                .into_iter()
                .filter_map(|at| value(at, report))
                .collect();
        }
        let split = |at: At<'a>, report: &mut Report| {
            let text = at.text(report)?;
            Some(match text.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string()), at),
                None => (text.to_string(), None, at),
            })
        };
        if !matches!(self.node.value, Value::List(_)) {
            self.expected("a map or a list", report);
            return Vec::new();
        }
        let items = self.items(report);
        items
            .into_iter()
            .filter_map(|at| split(at, report))
            .collect()
    }

    fn expected(&self, wanted: &str, report: &mut Report) {
        let name = &self.name;
        let found = self.node.kind();
        let (what, looks) = match self.path.as_str() {
            "" => (
                "the file".to_string(),
                "services: { web: { image: nginx:alpine } }".to_string(),
            ),
            _ if is_index(name) => ("an item of this list".to_string(), looks(name, wanted)),
            _ => (format!("`{name}`"), looks(name, wanted)),
        };
        let problem = self.error(format!("{what} should be {wanted}, but is {found}"));
        report.push(problem.help(format!("write it as {looks}")));
    }

    fn problem(&self, severity: Severity, span: Span, message: String) -> Problem {
        Problem {
            severity,
            span,
            key: self.path.clone(),
            message,
            help: None,
        }
    }
}

fn is_index(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_digit())
}

/// What a value of the wanted kind looks like under its key.
fn looks(name: &str, wanted: &str) -> String {
    match wanted {
        "a single value" if is_index(name) => "`- value`".to_string(),
        _ if is_index(name) => "`- { key: value }`".to_string(),
        "a single value" => format!("`{name}: value`"),
        "a list" => format!("`{name}: [first, second]`, or one `- item` in each line"),
        "a map of keys" => format!("`{name}: {{ key: value }}`, or one `key: value` in each line"),
        _ => format!("`{name}: {{ NAME: value }}` or `{name}: [NAME=value]`"),
    }
}

/// A parser's words as what is wrong and, where they say so, what to do.
pub(crate) fn split_next(message: &str) -> (&str, Option<&str>) {
    let starts = [": write ", ": use ", ": name "];
    let at = starts.iter().filter_map(|start| message.rfind(start)).max();
    match at.and_then(|at| Some((message.get(..at)?, message.get(at..)?.strip_prefix(": ")?))) {
        Some((wrong, next)) => (wrong, Some(next)),
        None => (message, None),
    }
}

/// The keys of a map that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) rest: Vec<At<'a>>,
}

impl<'a> Fields<'a> {
    /// Takes a key; one without a value counts as absent, as compose has it.
    pub(crate) fn take(&mut self, key: &str) -> Option<At<'a>> {
        let index = self.rest.iter().position(|at| at.name == key)?;
        let at = self.rest.remove(index);
        (!matches!(at.node.value, Value::Null)).then_some(at)
    }

    /// Warns about each key that nobody took: it has no effect.
    pub(crate) fn warn_rest(self, report: &mut Report) {
        for at in self.rest {
            if at.name == "x-allod" {
                let message = "`x-allod` is read only at the top, in a service and in a volume";
                report.push(
                    at.key_error(message)
                        .help("move its keys to one of these places"),
                );
            } else if !at.name.starts_with("x-") {
                let message = format!("`{}` has no effect on Allod and is left out", at.name);
                report.push(at.key_warning(message));
            }
        }
    }
}
