//! `extends`: a service that takes another one, of this file or of one beside it, as its base.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::diagnostic::Report;
use super::file;
use super::interpolate::Variables;
use super::limits::{EXTENDS_DEPTH_MAX, FILES_MAX};
use super::node::{At, Entry, Node, Value};

/// The documents that take part, by their index in the report.
#[derive(Debug)]
pub(crate) struct Library<'a> {
    pub(crate) variables: &'a Variables,
    pub(crate) documents: BTreeMap<usize, Node>,
    loaded: BTreeMap<PathBuf, Option<usize>>,
}

impl<'a> Library<'a> {
    /// A library of the deploy file alone.
    pub(crate) fn new(variables: &'a Variables, main: Node) -> Self {
        Library {
            variables,
            documents: BTreeMap::from([(main.span.file, main)]),
            loaded: BTreeMap::new(),
        }
    }

    /// The service as it is once everything it extends is merged into it.
    pub(crate) fn resolve(&mut self, file: usize, name: &str, report: &mut Report) -> Option<Node> {
        let mut chain = Vec::new();
        self.resolve_in(file, name, &mut chain, report)
    }

    fn resolve_in(
        &mut self,
        file: usize,
        name: &str,
        chain: &mut Vec<(usize, String)>,
        report: &mut Report,
    ) -> Option<Node> {
        let services = self
            .documents
            .get(&file)
            .and_then(|document| document.get("services"));
        let mut own = services.and_then(|services| services.get(name))?.clone();
        let Some(extends) = take(&mut own, "extends") else {
            return Some(own);
        };
        let at = At::named(&extends, &format!("services.{name}.extends"));
        chain.push((file, name.to_string()));
        let (base_file, base_name) = self.base(file, &at, report)?;
        if chain.contains(&(base_file, base_name.clone())) {
            let mut names: Vec<&str> = chain.iter().map(|(_, name)| name.as_str()).collect();
            names.push(&base_name);
            let message = format!(
                "services extend one another in a circle: {}",
                names.join(" → ")
            );
            report.push(at.error(message).help("take one of these `extends` out"));
            return None;
        }
        if chain.len() > EXTENDS_DEPTH_MAX {
            let message = format!("`extends` goes on for more than {EXTENDS_DEPTH_MAX} services");
            report.push(
                at.error(message)
                    .help("extend a service that is nearer the base"),
            );
            return None;
        }
        let document = self.documents.get(&base_file)?;
        if document
            .get("services")
            .and_then(|services| services.get(&base_name))
            .is_none()
        {
            let source = report
                .sources
                .get(base_file)
                .map_or("", |source| source.name.as_str());
            let message = format!("there is no service `{base_name}` in {source}");
            let help = "check the name; a service of another file needs `file:` beside it";
            report.push(at.error(message).help(help));
            return None;
        }
        let base = self.resolve_in(base_file, &base_name, chain, report)?;
        Some(merge(base, own, ""))
    }

    /// Which service of which file is extended.
    fn base(&mut self, file: usize, at: &At<'_>, report: &mut Report) -> Option<(usize, String)> {
        if let Value::Text(name) = &at.node.value {
            return Some((file, name.clone()));
        }
        let mut fields = at.fields(report);
        let (service, path) = (fields.take("service"), fields.take("file"));
        fields.warn_rest(report);
        let Some(service) = service else {
            let message = "`extends` needs the name of a `service`";
            report.push(
                at.error(message)
                    .help("extends: { file: base.yaml, service: web }"),
            );
            return None;
        };
        let name = service.text(report)?.to_string();
        let Some(path) = path else {
            return Some((file, name));
        };
        let index = self.load(&path, report)?;
        Some((index, name))
    }

    fn load(&mut self, at: &At<'_>, report: &mut Report) -> Option<usize> {
        let name = at.text(report)?;
        let folder = report
            .sources
            .get(at.node.span.file)
            .and_then(|source| source.folder.clone());
        let key = folder.unwrap_or_default().join(name);
        if let Some(index) = self.loaded.get(&key) {
            return *index;
        }
        if self.loaded.len() >= FILES_MAX {
            let message = format!("more than {FILES_MAX} files are extended");
            report.push(
                at.error(message)
                    .help("bring some of them together in one file"),
            );
            return None;
        }
        self.loaded.insert(key.clone(), None);
        let (_, document) = file::document(at, name, self.variables, report)?;
        let index = document.span.file;
        self.documents.insert(index, document);
        self.loaded.insert(key, Some(index));
        Some(index)
    }
}

fn take(node: &mut Node, key: &str) -> Option<Node> {
    let Value::Map(entries) = &mut node.value else {
        return None;
    };
    let index = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(index).value)
}

/// The base with everything of `own` over it, by compose's rules for each key.
fn merge(base: Node, own: Node, key: &str) -> Node {
    if matches!(own.value, Value::Null) {
        return base;
    }
    let (base, own) = if is_mapped(key) {
        (mapped(base, key), mapped(own, key))
    } else {
        (base, own)
    };
    let span = own.span;
    match (base.value, own.value) {
        (Value::Map(below), Value::Map(above)) => Node {
            span,
            value: Value::Map(merge_maps(below, above)),
        },
        (Value::List(below), Value::List(above)) if !is_replaced(key) => {
            let targets: BTreeSet<_> = above.iter().filter_map(|item| target(item, key)).collect();
            let is_kept = |item: &Node| target(item, key).is_none_or(|own| !targets.contains(&own));
            let below = below.into_iter().filter(is_kept);
            Node {
                span,
                value: Value::List(below.chain(above).collect()),
            }
        }
        (_, value) => Node { span, value },
    }
}

fn merge_maps(below: Vec<Entry>, above: Vec<Entry>) -> Vec<Entry> {
    let places = below.iter().enumerate();
    let mut places: BTreeMap<String, usize> = places
        .map(|(place, entry)| (entry.key.clone(), place))
        .collect();
    let mut merged = below;
    for entry in above {
        match places
            .get(&entry.key)
            .and_then(|place| merged.get_mut(*place))
        {
            Some(own) => {
                let nothing = Node {
                    span: entry.value.span,
                    value: Value::Null,
                };
                let below = std::mem::replace(&mut own.value, nothing);
                let value = merge(below, entry.value, &entry.key);
                *own = Entry { value, ..entry };
            }
            None => {
                places.insert(entry.key.clone(), merged.len());
                merged.push(entry);
            }
        }
    }
    merged
}

/// Keys that may be written as a list or as a map, and merge as maps.
fn is_mapped(key: &str) -> bool {
    matches!(
        key,
        "environment" | "labels" | "extra_hosts" | "depends_on" | "networks" | "sysctls"
    )
}

/// Lists that replace one another instead of growing.
fn is_replaced(key: &str) -> bool {
    matches!(key, "command" | "entrypoint" | "test" | "exec" | "ingress")
}

/// A list of `name=value` (or of names alone) as a map.
fn mapped(node: Node, key: &str) -> Node {
    let Value::List(items) = node.value else {
        return node;
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut places = BTreeMap::new();
    for item in items {
        let Value::Text(text) = &item.value else {
            continue;
        };
        let is_colon = key == "extra_hosts" && !text.contains('=');
        let (key, value) = match text.split_once(if is_colon { ':' } else { '=' }) {
            Some((key, value)) => (key.to_string(), Value::Text(value.to_string())),
            None => (text.clone(), Value::Null),
        };
        let (key_span, value) = (
            item.span,
            Node {
                span: item.span,
                value,
            },
        );
        let entry = Entry {
            key: key.clone(),
            key_span,
            value,
        };
        // The last of several counts, in the place of the first.
        match places.get(&key).and_then(|place| entries.get_mut(*place)) {
            Some(earlier) => *earlier = entry,
            None => {
                places.insert(key, entries.len());
                entries.push(entry);
            }
        }
    }
    Node {
        span: node.span,
        value: Value::Map(entries),
    }
}

/// What makes two items of a list the same one: where they appear inside the container.
fn target(node: &Node, key: &str) -> Option<String> {
    match (key, &node.value) {
        ("volumes", Value::Text(text)) => {
            let mut parts = text.split(':');
            let first = parts.next();
            parts.next().or(first).map(str::to_string)
        }
        ("volumes" | "secrets" | "configs", Value::Map(_)) => {
            let at = node.get("target").or_else(|| node.get("source"))?;
            match &at.value {
                Value::Text(text) => Some(text.clone()),
                _ => None,
            }
        }
        ("secrets" | "configs", Value::Text(text)) => Some(text.clone()),
        _ => match &node.value {
            // The same port, capability or file twice is once.
            Value::Text(text) => Some(text.clone()),
            _ => None,
        },
    }
}
