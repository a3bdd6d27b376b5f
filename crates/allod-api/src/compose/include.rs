//! `include`: other deploy files whose services, volumes and the rest become part of this one.

use std::path::PathBuf;

use super::diagnostic::Report;
use super::file;
use super::interpolate::Variables;
use super::limits::{EXTENDS_DEPTH_MAX, FILES_MAX};
use super::node::{At, Entry, Node, Value};

/// What an included file brings along.
const SECTIONS: [&str; 5] = ["services", "volumes", "secrets", "configs", "networks"];

/// Takes `include` out of a document, and brings what it names into it.
pub(crate) fn bring_in(root: &mut Node, variables: &Variables, report: &mut Report) {
    let mut chain = Chain {
        variables,
        open: Vec::new(),
        read: 0,
    };
    chain.bring_into(root, report);
}

struct Chain<'a> {
    variables: &'a Variables,
    /// The files that are being brought in, each by the one before it.
    open: Vec<PathBuf>,
    read: usize,
}

impl Chain<'_> {
    fn bring_into(&mut self, root: &mut Node, report: &mut Report) {
        let Some(include) = take(root, "include") else {
            return;
        };
        let at = At::named(&include, "include");
        for item in at.one_or_more(report) {
            let path = match item.node.value {
                Value::Map(_) => {
                    let mut fields = item.fields(report);
                    let path = fields.take("path");
                    fields.warn_rest(report);
                    path
                }
                _ => Some(item.clone()),
            };
            let Some(path) = path else {
                let message = "an `include` entry needs a `path`";
                report.push(
                    item.error(message)
                        .help("include: [{ path: database.yaml }]"),
                );
                continue;
            };
            for path in path.one_or_more(report) {
                if let Some(document) = self.document(&path, report) {
                    merge(root, document, report);
                }
            }
        }
    }

    /// The document of a path, everything that it includes in it.
    fn document(&mut self, at: &At<'_>, report: &mut Report) -> Option<Node> {
        let name = at.text(report)?;
        self.read = self.read.saturating_add(1);
        if self.read > FILES_MAX {
            let message = format!("more than {FILES_MAX} files are included");
            report.push(
                at.error(message)
                    .help("bring some of them together in one file"),
            );
            return None;
        }
        let (path, mut document) = file::document(at, name, self.variables, report)?;
        let path = path.canonicalize().unwrap_or(path);
        if self.open.contains(&path) || self.open.len() >= EXTENDS_DEPTH_MAX {
            let message = format!("`{name}` includes itself, by way of others or directly");
            report.push(at.error(message).help("take one of these `include` out"));
            return None;
        }
        self.open.push(path);
        self.bring_into(&mut document, report);
        self.open.pop();
        Some(document)
    }
}

/// Adds the sections of an included document. What both have is refused: neither is the right one.
fn merge(root: &mut Node, document: Node, report: &mut Report) {
    let span = document.span;
    let Value::Map(entries) = document.value else {
        At::named(&document, "").fields(report);
        return;
    };
    let Value::Map(own) = &mut root.value else {
        return;
    };
    for entry in entries {
        if entry.key == "x-allod" {
            let at = At::named(&entry.value, "x-allod");
            let message = "`x-allod` of an included file is not read";
            let help = "move it to the file that includes it, or into the services";
            report.push(at.error(message).help(help));
        }
        if !SECTIONS.contains(&entry.key.as_str()) {
            continue;
        }
        let Some(section) = own.iter_mut().find(|section| section.key == entry.key) else {
            own.push(entry);
            continue;
        };
        if let Value::Null = section.value.value {
            section.value = Node {
                span,
                value: Value::Map(Vec::new()),
            };
        }
        add(&entry.key, &mut section.value, entry.value, report);
    }
}

fn add(section: &str, own: &mut Node, more: Node, report: &mut Report) {
    let (Value::Map(own), Value::Map(more)) = (&mut own.value, more.value) else {
        return;
    };
    for entry in more {
        let Entry { key, value, .. } = &entry;
        if !own.iter().any(|own| own.key == *key) {
            own.push(entry);
        } else if section != "networks" {
            let mut at = At::named(value, &format!("{section}.{key}"));
            at.key_span = entry.key_span;
            let message = format!("`{key}` is declared in two of the files that belong together");
            report.push(
                at.key_error(message)
                    .help("rename one of them, or take it out"),
            );
        }
    }
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let index = entries.iter().position(|entry| entry.key == key)?;
    let taken = entries.remove(index).value;
    (!matches!(taken.value, Value::Null)).then_some(taken)
}
