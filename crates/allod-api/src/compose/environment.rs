//! The environment of a service: `env_file`, then `environment`, which wins.

use std::collections::BTreeMap;

use allod_node::manifest::Hidden;

use super::diagnostic::{Report, Source};
use super::dotenv;
use super::file;
use super::interpolate::Variables;
use super::limits::{ENV_FILES_MAX, FILE_BYTES_MAX};
use super::node::{At, Value};

/// Reads `env_file` into the environment.
pub(crate) fn env_file(
    at: &At<'_>,
    variables: &Variables,
    env: &mut BTreeMap<String, Hidden<String>>,
    report: &mut Report,
) {
    let items = at.one_or_more(report);
    if items.len() > ENV_FILES_MAX {
        let message = format!("a service reads at most {ENV_FILES_MAX} env files");
        report.push(at.key_error(message).help("bring them together in one"));
        return;
    }
    for item in items {
        let (path, is_required) = match item.node.value {
            Value::Map(_) => {
                let mut fields = item.fields(report);
                let path = fields.take("path");
                let required = fields.take("required").and_then(|at| at.truth(report));
                fields.take("format");
                fields.warn_rest(report);
                let Some(path) = path else {
                    report.push(
                        item.error("an `env_file` entry needs a `path`")
                            .help("env_file: [{ path: app.env, required: false }]"),
                    );
                    continue;
                };
                (path, required.unwrap_or(true))
            }
            _ => (item, true),
        };
        let Some(name) = path.text(report) else {
            continue;
        };
        if !is_required && !file::exists(&path, name, report) {
            continue;
        }
        let Some((place, text)) = file::text(&path, name, FILE_BYTES_MAX, report) else {
            continue;
        };
        let folder = place.parent().map(std::path::Path::to_path_buf);
        report.sources.push(Source {
            name: name.to_string(),
            folder,
            text,
        });
        let index = report.sources.len().saturating_sub(1);
        for (name, value) in dotenv::parse(index, variables, report) {
            if let Some(value) = value {
                env.insert(name, Hidden(value));
            }
        }
    }
}

/// Reads `environment` into the environment. A name without a value takes that of the caller's
/// environment, or none.
pub(crate) fn environment(
    at: &At<'_>,
    variables: &Variables,
    env: &mut BTreeMap<String, Hidden<String>>,
    report: &mut Report,
) {
    for (name, value, at) in at.pairs(report) {
        if name.is_empty() || name.contains('\0') {
            let message = format!("`{name}` is not a variable's name");
            report.push(
                at.error(message)
                    .help("write it as NAME=value or NAME: value"),
            );
            continue;
        }
        let inherited = value.is_none();
        match value.or_else(|| variables.get(&name).cloned()) {
            Some(value) if value.contains('\0') => {
                let message = format!("the value of `{name}` contains a zero byte");
                report.push(
                    at.error(message)
                        .help("take it out; no program can be given one"),
                );
            }
            Some(value) => {
                env.insert(name, Hidden(value));
            }
            None if inherited => {
                let message = format!("`{name}` has no value here nor in your environment");
                report.push(
                    at.warning(message)
                        .help("it stays unset; give it a value to set it"),
                );
                env.remove(&name);
            }
            None => {}
        }
    }
}
