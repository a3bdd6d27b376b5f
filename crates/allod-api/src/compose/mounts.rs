//! What a service sees in its file system beside its image: named volumes and memory.
//!
//! A host's folders are refused: the service may run on a machine where they do not exist, and on
//! the machine of someone who did not offer them.

use allod_node::manifest::{File, Mount, Tmpfs};

use super::binds::{self, Bind};
use super::diagnostic::Report;
use super::limits::PATH_BYTES_MAX;
use super::name;
use super::node::{At, Value};
use super::quantity;

/// The named volumes and memory folders of a service, and the volumes that only it names.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    pub(crate) mounts: Vec<Mount>,
    pub(crate) tmpfs: Vec<Tmpfs>,
    /// Files of the project that travel along.
    pub(crate) files: Vec<File>,
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
            _ => short(&item, &mut mounts, report),
        };
        let Some((source, target, read_only)) = read else {
            continue;
        };
        let Some(target) = target_at(&target, &item, report) else {
            continue;
        };
        let volume = match source {
            Some(source) if declared(&source) => source,
            Some(source) => {
                let message = format!("the volume `{source}` is not declared");
                let help = format!("add `{source}:` under `volumes:` at the top level");
                report.push(item.error(message).help(help));
                continue;
            }
            None => {
                let volume = name::dns_label(&format!("{service}{target}"));
                let mut volume = volume.unwrap_or_default();
                if declared(&volume) {
                    volume.push_str("-unnamed");
                }
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
        let Some(target) = target_at(target, &item, report) else {
            continue;
        };
        let mut folder = Tmpfs {
            target,
            bytes_max: None,
            mode: None,
        };
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => match quantity::bytes(size) {
                    Ok(bytes) => folder.bytes_max = Some(bytes).filter(|bytes| *bytes > 0),
                    Err(message) => report.push(item.refused(&message)),
                },
                Some(("mode", mode)) => match octal(mode) {
                    Ok(mode) => folder.mode = Some(mode),
                    Err(message) => report.push(item.refused(&message)),
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
    let mode = u32::from_str_radix(digits, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o1777);
    mode.ok_or_else(|| format!("`{text}` is not a mode: write it in octal, as 0440"))
}

/// An absolute path inside the container in its plainest form, so that equal paths are equal texts.
pub(crate) fn target(text: &str) -> Result<String, String> {
    let mut parts = text.split('/').filter(|part| !matches!(*part, "" | "."));
    let plain: String = parts.clone().flat_map(|part| ["/", part]).collect();
    let is_sound = text.starts_with('/')
        && plain.len() <= PATH_BYTES_MAX
        && !plain.is_empty()
        && !text.contains('\0')
        && parts.all(|part| part != "..");
    if !is_sound {
        return Err(format!(
            "`{text}` is not a path inside the container: write it as the service sees it, with a \
             leading / and without .."
        ));
    }
    let is_in = |root: &str| {
        plain
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match ["/proc", "/sys", "/dev"]
        .into_iter()
        .find(|root| is_in(root))
    {
        Some(root) => Err(format!(
            "nothing can be mounted under {root}, which is the kernel's: use another path"
        )),
        None => Ok(plain),
    }
}

/// The target, if it is sound; the report says why not.
pub(crate) fn target_at(text: &str, at: &At<'_>, report: &mut Report) -> Option<String> {
    match target(text) {
        Ok(target) => Some(target),
        Err(message) => {
            let problem = at.refused(&message);
            report.push(match text {
                "/dev/shm" => problem.help("the size of /dev/shm is `shm_size`"),
                _ => problem,
            });
            None
        }
    }
}

type Read = (Option<String>, String, bool);

fn short(at: &At<'_>, mounts: &mut Mounts, report: &mut Report) -> Option<Read> {
    let text = at.text(report)?;
    let is_windows_path = text
        .get(1..3)
        .is_some_and(|part| part == ":\\" || part == ":/")
        && text.starts_with(|drive: char| drive.is_ascii_uppercase());
    let parts: Vec<&str> = match is_windows_path {
        true => vec![text, text],
        false => text.split(':').collect(),
    };
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            report.push(at.refused(&format!("`{text}` is not a volume: write it as name:/path")));
            return None;
        }
    };
    let is_bind = |source: &&str| source.starts_with(['/', '.', '~', '\\']) || is_windows_path;
    // A folder of the host alone, as `./data`, is one as well; a path of the container alone is not.
    let alone = Some(target).filter(|target| source.is_none() && !target.starts_with('/'));
    if let Some(source) = source.or(alone).filter(is_bind) {
        let read_only = options.split(',').any(|option| option == "ro");
        let bind = Bind {
            source,
            target,
            read_only,
        };
        mounts.files.extend(binds::files(bind, at, report));
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
    if let Some(volume) = fields.take("volume") {
        let mut fields = volume.fields(report);
        fields.take("nocopy");
        if let Some(part) = fields.take("subpath") {
            let message = "mounting a part of a volume is not supported by this version of Allod";
            report.push(
                part.key_error(message)
                    .help("give that part a volume of its own"),
            );
        }
        fields.warn_rest(report);
    }
    for ignored in ["bind", "consistency"] {
        fields.take(ignored);
    }
    fields.warn_rest(report);
    let Some(target) = target else {
        let message = "a mount needs a `target`, the path inside the container";
        report.push(
            at.error(message)
                .help("{ type: volume, source: data, target: /data }"),
        );
        return None;
    };
    match kind {
        "volume" => {
            let source = source.map(str::to_string);
            Some((source, target.to_string(), read_only.unwrap_or(false)))
        }
        "tmpfs" => {
            let folder = memory_folder(target, memory, at, report)?;
            mounts.tmpfs.push(folder);
            None
        }
        "bind" => {
            let bind = Bind {
                source: source.unwrap_or_default(),
                target,
                read_only: read_only.unwrap_or(false),
            };
            mounts.files.extend(binds::files(bind, at, report));
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

fn memory_folder(
    target: &str,
    options: Option<At<'_>>,
    at: &At<'_>,
    report: &mut Report,
) -> Option<Tmpfs> {
    let mut folder = Tmpfs {
        target: target_at(target, at, report)?,
        bytes_max: None,
        mode: None,
    };
    if let Some(options) = options {
        let mut fields = options.fields(report);
        let size = fields.take("size");
        let size = size.and_then(|at| at.read(report, quantity::bytes));
        folder.bytes_max = size.filter(|bytes| *bytes > 0);
        folder.mode = fields.take("mode").and_then(|at| at.read(report, octal));
        fields.warn_rest(report);
    }
    Some(folder)
}
