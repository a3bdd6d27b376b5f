//! Secrets and configs: small files that an app brings along.

use std::collections::BTreeMap;

use allod_node::manifest::{File, Hidden};

use super::defaults::FILE_MODE;
use super::diagnostic::Report;
use super::file;
use super::interpolate::Variables;
use super::limits::{CONTENT_BYTES_MAX, CONTENTS_MAX};
use super::mounts::{octal, target_at};
use super::node::{At, Value};

/// Which of the two kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Kept in memory on the node, under `/run/secrets`.
    Secret,
    /// An ordinary file, under `/`.
    Config,
}

impl Kind {
    fn noun(self) -> &'static str {
        match self {
            Kind::Secret => "secret",
            Kind::Config => "config",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Kind::Secret => "/run/secrets/",
            Kind::Config => "/",
        }
    }
}

/// What the app declares under `secrets` or `configs`; each is read once, when it is first used.
#[derive(Debug)]
pub(crate) struct Declared<'a> {
    kind: Kind,
    entries: BTreeMap<String, At<'a>>,
    read: BTreeMap<String, Option<Vec<u8>>>,
}

impl<'a> Declared<'a> {
    /// The declarations of the app.
    pub(crate) fn new(kind: Kind, at: Option<At<'a>>, report: &mut Report) -> Self {
        let entries = at.map(|at| at.entries(report)).unwrap_or_default();
        let entries = entries
            .into_iter()
            .map(|at| (at.name.clone(), at))
            .collect();
        Declared {
            kind,
            entries,
            read: BTreeMap::new(),
        }
    }

    /// The files that a service takes of them.
    pub(crate) fn taken(
        &mut self,
        at: &At<'_>,
        variables: &Variables,
        report: &mut Report,
    ) -> Vec<File> {
        let items = at.items(report);
        if items.len() > CONTENTS_MAX {
            let message = format!("a service has at most {CONTENTS_MAX} {}s", self.kind.noun());
            let help = "put what belongs together into one of them, or into the image";
            report.push(at.key_error(message).help(help));
            return Vec::new();
        }
        let taken = |item: At<'_>| self.take(&item, variables, report);
        items.into_iter().filter_map(taken).collect()
    }

    fn take(&mut self, at: &At<'_>, variables: &Variables, report: &mut Report) -> Option<File> {
        let kind = self.kind;
        let (mut target, mut mode, mut uid, mut gid) = (None, None, None, None);
        let source = match at.node.value {
            Value::Map(_) => {
                let mut fields = at.fields(report);
                let source = fields.take("source");
                target = fields.take("target").and_then(|at| at.text(report));
                mode = fields
                    .take("mode")
                    .and_then(|at| at.read(report, permissions));
                uid = fields
                    .take("uid")
                    .and_then(|at| at.number(report, 0, u32::MAX));
                gid = fields
                    .take("gid")
                    .and_then(|at| at.number(report, 0, u32::MAX));
                fields.warn_rest(report);
                let Some(source) = source else {
                    let noun = kind.noun();
                    let message = format!("a {noun} needs a `source`");
                    let help = format!("name one of those under `{noun}s:` at the top level");
                    report.push(at.error(message).help(help));
                    return None;
                };
                source.text(report)?
            }
            _ => at.text(report)?,
        };
        let target = match target {
            Some(target) if target.starts_with('/') => target.to_string(),
            Some(target) => format!("{}{target}", kind.folder()),
            None => format!("{}{source}", kind.folder()),
        };
        let target = target_at(&target, at, report)?;
        let bytes = self.bytes(source, at, variables, report)?;
        Some(File {
            target,
            mode: mode.unwrap_or(FILE_MODE),
            uid: uid.unwrap_or(0),
            gid: gid.unwrap_or(0),
            is_secret: kind == Kind::Secret,
            bytes: Hidden(bytes),
        })
    }

    fn bytes(
        &mut self,
        source: &str,
        at: &At<'_>,
        variables: &Variables,
        report: &mut Report,
    ) -> Option<Vec<u8>> {
        let noun = self.kind.noun();
        let Some(entry) = self.entries.get(source) else {
            let message = format!("the {noun} `{source}` is not declared");
            let help = format!("add it under `{noun}s:` at the top level, with its `file:`");
            report.push(at.error(message).help(help));
            return None;
        };
        if let Some(read) = self.read.get(source) {
            return read.clone();
        }
        let read = read(entry, noun, variables, report);
        self.read.insert(source.to_string(), read.clone());
        read
    }
}

/// Permission bits of a file, without those that change who a program runs as.
fn permissions(text: &str) -> Result<u32, String> {
    let mode = octal(text)?;
    let is_plain = mode <= 0o777;
    let wrong = || format!("`{text}` has bits beyond 0777: write the plain ones, as 0440");
    if is_plain { Ok(mode) } else { Err(wrong()) }
}

fn read(at: &At<'_>, noun: &str, variables: &Variables, report: &mut Report) -> Option<Vec<u8>> {
    if let Value::Null = at.node.value {
        report.push(
            at.key_error(format!("the {noun} `{}` has no content", at.name))
                .help("give it a `file:`, an `environment:` variable or a `content:`"),
        );
        return None;
    }
    let mut fields = at.fields(report);
    if let Some(external) = fields.take("external")
        && external.truth(report)?
    {
        let message = format!("external {noun}s are not supported: nothing keeps them");
        let help = "give it a `file:` or an `environment:` variable; it travels sealed";
        report.push(external.key_error(message).help(help));
        return None;
    }
    let given = (
        fields.take("file"),
        fields.take("environment"),
        fields.take("content"),
    );
    for ignored in ["name", "labels"] {
        fields.take(ignored);
    }
    fields.warn_rest(report);
    match given {
        (Some(file), None, None) => {
            let name = file.text(report)?;
            file::bytes(&file, name, CONTENT_BYTES_MAX, report).map(|(_, bytes)| bytes)
        }
        (None, Some(variable), None) => {
            let name = variable.text(report)?;
            let value = variables.get(name);
            if value.is_none() {
                let message = format!("the variable `{name}` of this {noun} is not set");
                report.push(
                    variable
                        .error(message)
                        .help("set it in the environment or in .env"),
                );
            }
            value.map(|value| value.clone().into_bytes())
        }
        (None, None, Some(content)) => content.text(report).map(|text| text.as_bytes().to_vec()),
        _ => {
            let message = format!("a {noun} has one of `file`, `environment` and `content`");
            report.push(at.key_error(message).help("keep the one that is meant"));
            None
        }
    }
}
