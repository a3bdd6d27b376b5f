//! From text to [`Node`]: anchors, aliases and merge keys expanded, within limits.
//!
//! The parser's events are folded on an explicit stack. Every alias copies its node, and each copy
//! counts against the limits, so that a file of a kilobyte cannot grow into a gigabyte.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};

use super::diagnostic::{Problem, Report, Severity, Span};
use super::limits::{DEPTH_MAX, FILE_BYTES_MAX, NODES_MAX, TEXT_BYTES_MAX};
use super::node::{Entry, Node, Value};

#[cfg(test)]
mod tests;

/// Parses the report's file of that index. `None` means that there is no usable document, and the
/// report says why; problems that leave one usable are reported too.
pub(crate) fn parse(file: usize, report: &mut Report) -> Option<Node> {
    let text = report.sources.get(file)?.text.clone();
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        refuse_length(file, text.len(), report);
        return None;
    }
    let start = start_of(file);
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder::new(report);
    for event in Parser::new_from_str_with_options(&text, options) {
        let step = match event {
            Ok((event, span)) => builder.step(event, place(file, span)),
            Err(error) => Err(scan_problem(file, &error)),
        };
        if let Err(problem) = step {
            builder.report.push(problem);
            return None;
        }
    }
    let root = builder.root;
    if root.is_none() {
        let help = "services: { web: { image: nginx:alpine } }";
        report.push(problem(start, "the file is empty".into()).help(help));
    }
    root
}

/// The part of a text that is kept when it is too long to be read.
pub(crate) fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(1_024))
        .unwrap_or_default()
}

/// Says that a file of so many bytes is not read.
pub(crate) fn refuse_length(file: usize, bytes: usize, report: &mut Report) {
    let message = format!("the file has {bytes} bytes, more than {FILE_BYTES_MAX}");
    let help =
        "check that this is the file you mean; large texts go beside it, as `file:` of a config";
    report.push(problem(start_of(file), message).help(help));
}

fn start_of(file: usize) -> Span {
    Span {
        file,
        line: 1,
        column: 1,
        length: 1,
    }
}

fn problem(span: Span, message: String) -> Problem {
    Problem {
        severity: Severity::Error,
        span,
        key: String::new(),
        message,
        help: None,
    }
}

fn scan_problem(file: usize, error: &granit_parser::ScanError) -> Problem {
    let marker = error.marker();
    let span = Span {
        file,
        line: narrow(marker.line()),
        column: narrow(marker.col().saturating_add(1)),
        length: 1,
    };
    let problem = problem(span, format!("this is not YAML: {}", error.info()));
    let info = error.info();
    problem.help(if info.contains("unknown anchor") {
        "mark what it repeats with `&` and the same name, above this line"
    } else if info.contains("mapping values") {
        "quote a value that has a colon and a space inside; else check the indentation"
    } else {
        "check the indentation (spaces, no tabs) and the quotes around here"
    })
}

fn place(file: usize, span: granit_parser::Span) -> Span {
    let is_one_line = span.start.line() == span.end.line();
    let length = if is_one_line {
        span.end.col().saturating_sub(span.start.col()).max(1)
    } else {
        1
    };
    Span {
        file,
        line: narrow(span.start.line()),
        column: narrow(span.start.col().saturating_add(1)),
        length: narrow(length),
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A collection that is still open.
struct Open {
    span: Span,
    anchor: usize,
    depth: usize,
    held: Held,
}

enum Held {
    List(Vec<Node>),
    Map(Mapping),
}

/// A mapping that is still open.
#[derive(Default)]
struct Mapping {
    entries: Vec<Entry>,
    /// The line of each key so far.
    lines: BTreeMap<String, u32>,
    /// The maps that `<<` named.
    merges: Vec<Node>,
    /// A key whose value comes next.
    key: Option<Key>,
}

struct Key {
    name: String,
    span: Span,
    /// Is it an unquoted scalar? Only such a `<<` merges.
    is_plain: bool,
}

/// A finished node and what copying it costs.
struct Kept {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Builder<'r> {
    report: &'r mut Report,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Kept>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    bytes: usize,
}

impl<'r> Builder<'r> {
    fn new(report: &'r mut Report) -> Self {
        Builder {
            report,
            stack: Vec::new(),
            anchors: BTreeMap::new(),
            root: None,
            documents: 0,
            nodes: 0,
            bytes: 0,
        }
    }

    fn step(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 {
                    let problem = problem(span, "a second document starts here".into());
                    return Err(problem.help("keep one app in one file, without `---` inside"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                self.spend(1, text.len(), span)?;
                let is_plain = style == ScalarStyle::Plain && tag.is_none();
                let is_null = is_plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let bytes = text.len();
                let value = if is_null {
                    Value::Null
                } else {
                    Value::Text(text.into_owned())
                };
                let kept = Kept {
                    node: Node { span, value },
                    nodes: 1,
                    bytes,
                    depth: 0,
                };
                self.finish(kept, anchor, is_plain)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                self.open(span, anchor, Held::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), span)?;
                self.open(span, anchor, Held::Map(Mapping::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => self.alias(anchor, span),
            _ => Ok(()),
        }
    }

    fn check_tag(&self, tag: Option<&granit_parser::Tag>, span: Span) -> Result<(), Problem> {
        match tag {
            Some(tag) if !tag.is_yaml_core_schema() => {
                let message = format!("the tag `{}` is not supported", tag.original());
                Err(problem(span, message).help("write the value without a tag"))
            }
            _ => Ok(()),
        }
    }

    fn spend(&mut self, nodes: usize, bytes: usize, span: Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > NODES_MAX || self.bytes > TEXT_BYTES_MAX {
            let message = "the file grows too large here, its aliases expanded";
            return Err(problem(span, message.into()).help(format!(
                "repeat less; a file has at most {NODES_MAX} values and {TEXT_BYTES_MAX} bytes of text"
            )));
        }
        Ok(())
    }

    fn open(&mut self, span: Span, anchor: usize, held: Held) -> Result<(), Problem> {
        self.spend(1, 0, span)?;
        self.check_depth(1, span)?;
        self.stack.push(Open {
            span,
            anchor,
            depth: 0,
            held,
        });
        Ok(())
    }

    fn check_depth(&self, more: usize, span: Span) -> Result<(), Problem> {
        if self.stack.len().saturating_add(more) > DEPTH_MAX {
            let message = format!("lists and maps are nested more than {DEPTH_MAX} deep");
            return Err(
                problem(span, message).help("a deploy file needs few levels; write it flatter")
            );
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Problem> {
        let Some(kept) = self.anchors.get(&anchor) else {
            let message = "this alias stands inside what it refers to";
            let help = "write out here what is meant; an alias repeats something that has ended";
            return Err(problem(span, message.into()).help(help));
        };
        let (nodes, bytes, depth) = (kept.nodes, kept.bytes, kept.depth);
        self.check_depth(depth, span)?;
        self.spend(nodes, bytes, span)?;
        let kept = self
            .anchors
            .get(&anchor)
            .expect("it was there a line above");
        // A place inside the anchor is where the text stands that must be mended.
        let node = kept.node.clone();
        self.finish(
            Kept {
                node,
                nodes,
                bytes,
                depth,
            },
            0,
            false,
        )
    }

    fn close(&mut self) -> Result<(), Problem> {
        let open = self.stack.pop().expect("the parser balances its events");
        let value = match open.held {
            Held::List(items) => Value::List(items),
            Held::Map(mapping) => Value::Map(mapping.merged()),
        };
        let node = Node {
            span: open.span,
            value,
        };
        let (nodes, bytes) = if open.anchor == 0 {
            (0, 0)
        } else {
            size(&node)
        };
        let depth = open.depth.saturating_add(1);
        self.finish(
            Kept {
                node,
                nodes,
                bytes,
                depth,
            },
            open.anchor,
            false,
        )
    }

    /// Puts a finished node where it belongs: behind its anchor, and into the open collection.
    fn finish(&mut self, kept: Kept, anchor: usize, is_plain: bool) -> Result<(), Problem> {
        let Kept {
            node,
            nodes,
            bytes,
            depth,
        } = kept;
        if anchor != 0 {
            self.spend(nodes, bytes, node.span)?;
            let node = node.clone();
            self.anchors.insert(
                anchor,
                Kept {
                    node,
                    nodes,
                    bytes,
                    depth,
                },
            );
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.depth = open.depth.max(depth);
        match &mut open.held {
            Held::List(items) => items.push(node),
            Held::Map(mapping) => match mapping.key.take() {
                None => mapping.key = Some(key_of(node, is_plain)?),
                Some(key) if key.is_plain && key.name == "<<" => {
                    mapping.merges.extend(merged_maps(node)?);
                }
                Some(key) => {
                    if let Err(problem) = mapping.insert(key, node) {
                        self.report.push(problem);
                    }
                }
            },
        }
        Ok(())
    }
}

impl Mapping {
    fn insert(&mut self, key: Key, value: Node) -> Result<(), Problem> {
        let Key { name, span, .. } = key;
        if let Some(line) = self.lines.get(&name) {
            let message = format!("`{name}` is given twice, first in line {line}");
            return Err(problem(span, message).help("keep one of them"));
        }
        self.lines.insert(name.clone(), span.line);
        self.entries.push(Entry {
            key: name,
            key_span: span,
            value,
        });
        Ok(())
    }

    /// All entries: its own, then those of the merged maps, of which the first one wins.
    fn merged(mut self) -> Vec<Entry> {
        for map in std::mem::take(&mut self.merges) {
            let Value::Map(more) = map.value else {
                continue;
            };
            for entry in more {
                if !self.lines.contains_key(&entry.key) {
                    self.lines.insert(entry.key.clone(), entry.key_span.line);
                    self.entries.push(entry);
                }
            }
        }
        self.entries
    }
}

fn key_of(node: Node, is_plain: bool) -> Result<Key, Problem> {
    let span = node.span;
    match node.value {
        Value::Text(name) => Ok(Key {
            name,
            span,
            is_plain,
        }),
        Value::Null => Ok(Key {
            name: String::new(),
            span,
            is_plain: false,
        }),
        _ => Err(problem(span, "a key must be a single value".into())
            .help("quote it if it begins with a bracket or brace, as `${VARIABLE}` does not")),
    }
}

/// The maps that a `<<` names.
fn merged_maps(node: Node) -> Result<Vec<Node>, Problem> {
    let span = node.span;
    let maps = match node.value {
        Value::List(items) => items,
        _ => vec![node],
    };
    if maps.iter().all(|map| matches!(map.value, Value::Map(_))) {
        Ok(maps)
    } else {
        let problem = problem(span, "`<<` merges only maps".into());
        Err(problem.help("write `<<: *name` where `&name` marks a map"))
    }
}

/// How many nodes there are, and how much text. The depth limit bounds the recursion.
pub(crate) fn size(node: &Node) -> (usize, usize) {
    let add = |sum: (usize, usize), more: (usize, usize)| (sum.0 + more.0, sum.1 + more.1);
    match &node.value {
        Value::Null => (1, 0),
        Value::Text(text) => (1, text.len()),
        Value::List(items) => items.iter().map(size).fold((1, 0), add),
        Value::Map(entries) => {
            let keyed = |entry: &Entry| add(size(&entry.value), (1, entry.key.len()));
            entries.iter().map(keyed).fold((1, 0), add)
        }
    }
}
