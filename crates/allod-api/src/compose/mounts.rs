//! What a service sees in its file system beside its image: named volumes and memory.
//!
//! A host's folders are refused: the service may run on a machine where they do not exist, and on
//! the machine of someone who did not offer them.

use allod_node::manifest::{Mount, Tmpfs};

use super::diagnostic::Report;
use super::name;
use super::node::{At, Value};
use super::quantity;

/// The named volumes and memory folders of a service, and the volumes that only it names.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    /// Volumes without a name in the file; one is made up from the service and the path.
    pub(crate) unnamed: Vec<String>,
}

/// Reads `volumes` of a service. `declared` tells whether the app declares a volume.
pub(crate) fn volumes(
    at: &At<'_>,
    service: &str,
    declared: &dyn Fn(&str) -> bool,
    report: &mut Report,
) -> Mounts {
    let mut mounts = Mounts::default();
    for item in at.items(report) {
        let read = match item.node.value {
            Value::Map(_) => long(&item, &mut mounts, report),
            _ => short(&item, report),
        };
        let Some((source, target, read_only)) = read else {
            continue;
        };
        if !is_target(&target, &item, report) {
            continue;
        }
        let is_taken = mounts.mounts.iter().any(|mount| mount.target == target);
        if is_taken {
            report.push(item.error(format!("two volumes are mounted at `{target}`")));
            continue;
        }
        let volume = match source {
            Some(source) if declared(&source) => source,
            Some(source) => {
                let message = format!("the volume `{source}` is not declared");
                let help = format!("add `{source}:` under `volumes:` at the top level");
                report.push(item.error(message).help(help));
                continue;
            }
            None => {
                let Some(volume) = name::dns_label(&format!("{service}{target}")) else {
                    continue;
                };
                let message = format!("a volume without a name is kept under the name `{volume}`");
                report.push(item.warning(message).help("name it: `- data:/path`"));
                mounts.unnamed.push(volume.clone());
                volume
            }
        };
        mounts.mounts.push(Mount {
            volume,
            target,
            read_only,
        });
    }
    mounts
}

/// Reads `tmpfs` of a service.
pub(crate) fn tmpfs(at: &At<'_>, report: &mut Report) -> Vec<Tmpfs> {
    let mut folders = Vec::new();
    for item in at.one_or_more(report) {
        let Some(text) = item.text(report) else {
            continue;
        };
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        if !is_target(target, &item, report) {
            continue;
        }
        let mut folder = Tmpfs {
            target: target.to_string(),
            bytes_max: None,
            mode: None,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => match quantity::bytes(size) {
                    Ok(bytes) => folder.bytes_max = Some(bytes),
                    Err(message) => report.push(item.error(message)),
                },
                Some(("mode", mode)) => match octal(mode) {
                    Ok(mode) => folder.mode = Some(mode),
                    Err(message) => report.push(item.error(message)),
                },
                _ => {
                    let message = format!("the tmpfs option `{option}` has no effect on Allod");
                    report.push(item.warning(message));
                }
            }
        }
        folders.push(folder);
    }
    folders
}

/// Permission bits, which are octal with or without a leading zero.
pub(crate) fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("`{text}` is not a mode: write it in octal, as 0440"))
}

/// Is this an absolute path without `..`? If not, the report says so.
pub(crate) fn is_target(target: &str, at: &At<'_>, report: &mut Report) -> bool {
    let is_sound = target.starts_with('/')
        && target.len() <= 1024
        && target != "/"
        && !target.contains('\0')
        && !target.split('/').any(|part| part == "..");
    if !is_sound {
        let message = format!("`{target}` is not an absolute path inside the container");
        report.push(
            at.error(message)
                .help("write it with a leading / and without .."),
        );
    }
    is_sound
}

type Read = (Option<String>, String, bool);

fn short(at: &At<'_>, report: &mut Report) -> Option<Read> {
    let text = at.text(report)?;
    let is_windows_path = text
        .get(1..3)
        .is_some_and(|part| part == ":\\" || part == ":/");
    if text.starts_with(['.', '~', '\\']) || is_windows_path {
        refuse_bind(at, text, report);
        return None;
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            report.push(at.error(format!("`{text}` is not a volume: write it as name:/path")));
            return None;
        }
    };
    if source.is_some_and(|source| source.starts_with('/')) {
        refuse_bind(at, text, report);
        return None;
    }
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "z" | "Z" | "nocopy" => {}
            other => {
                let message = format!("the volume option `{other}` has no effect on Allod");
                report.push(at.warning(message));
            }
        }
    }
    Some((source.map(str::to_string), target.to_string(), read_only))
}

fn long(at: &At<'_>, mounts: &mut Mounts, report: &mut Report) -> Option<Read> {
    let mut fields = at.fields(report);
    let kind = fields
        .take("type")
        .and_then(|at| at.text(report))
        .unwrap_or("volume");
    let source = fields.take("source").and_then(|at| at.text(report));
    let target = fields.take("target").and_then(|at| at.text(report));
    let read_only = fields.take("read_only").and_then(|at| at.truth(report));
    let memory = fields.take("tmpfs");
    for ignored in ["volume", "bind", "consistency"] {
        fields.take(ignored);
    }
    fields.warn_rest(report);
    let Some(target) = target else {
        report.push(at.error("a mount needs a `target`, the path inside the container"));
        return None;
    };
    match kind {
        "volume" => {
            let source = source.map(str::to_string);
            Some((source, target.to_string(), read_only.unwrap_or(false)))
        }
        "tmpfs" => {
            let mut folder = Tmpfs {
                target: target.to_string(),
                bytes_max: None,
                mode: None,
            };
            if let Some(memory) = memory {
                let mut fields = memory.fields(report);
                let size = fields.take("size");
                folder.bytes_max = size.and_then(|at| at.read(report, quantity::bytes));
                folder.mode = fields.take("mode").and_then(|at| at.read(report, octal));
                fields.warn_rest(report);
            }
            if is_target(target, at, report) {
                mounts.tmpfs.push(folder);
            }
            None
        }
        "bind" => {
            refuse_bind(at, source.unwrap_or_default(), report);
            None
        }
        other => {
            let message = format!("a mount of type `{other}` is not supported");
            report.push(
                at.error(message)
                    .help("use `type: volume` or `type: tmpfs`"),
            );
            None
        }
    }
}

fn refuse_bind(at: &At<'_>, text: &str, report: &mut Report) {
    if text.contains("docker.sock") {
        let message = "the socket of the container engine is refused: it commands the machine";
        report.push(
            at.error(message)
                .help("leave it out; Allod has an API of its own"),
        );
        return;
    }
    let message = "a folder or file of the host is refused: the service may run on any machine";
    let help = "keep data in a named volume (`- data:/path`), and bring files along with \
                `configs:` or `secrets:` and their `file:`";
    report.push(at.error(message).help(help));
}
