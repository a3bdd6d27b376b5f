//! Does a service fit what a node's runtime takes? Told here, with its place, it costs nothing;
//! found out after signing, it is a failed deployment.

use std::collections::BTreeSet;

use allod_node::manifest::Service;

use super::diagnostic::Report;
use super::limits::{CONTENTS_BYTES_MAX, CONTENTS_MAX, ENV_MAX, TMPFS_MAX, WORDS_BYTES_MAX};
use super::node::At;

/// Reports what of the service goes beyond the runtime.
pub(crate) fn check(at: &At<'_>, service: &Service, report: &mut Report) {
    words(at, service, report);
    files(at, service, report);
    for key in allod_node::unsupported(service) {
        let message = format!("`{key}` has no effect in this version of Allod");
        report.push(key_of(at, key).key_warning(message));
    }
}

fn words(at: &At<'_>, service: &Service, report: &mut Report) {
    let pairs = service
        .env
        .iter()
        .map(|(name, value)| name.len() + value.len() + 2);
    let bytes: usize = pairs.sum();
    if service.env.len() > ENV_MAX || bytes > WORDS_BYTES_MAX {
        let count = service.env.len();
        let message = format!(
            "{count} variables with {bytes} bytes are more than {ENV_MAX} with {WORDS_BYTES_MAX}"
        );
        let help = "bring large values along as `secrets` or `configs`";
        report.push(key_of(at, "environment").key_error(message).help(help));
    }
    for (key, words) in [
        ("command", &service.command),
        ("entrypoint", &service.entrypoint),
    ] {
        let words = words.iter().flatten();
        let bytes: usize = words.clone().map(|word| word.len() + 1).sum();
        if bytes > WORDS_BYTES_MAX / 2 {
            let message =
                format!("`{key}` has {bytes} bytes, which no program can be started with");
            let help = "bring what is long along as a `configs` file";
            report.push(key_of(at, key).key_error(message).help(help));
        }
        if words.into_iter().any(|word| word.contains('\0')) {
            let message = format!("`{key}` contains a zero byte");
            let help = "take it out; no program can be given one";
            report.push(key_of(at, key).key_error(message).help(help));
        }
    }
}

fn files(at: &At<'_>, service: &Service, report: &mut Report) {
    let bytes: usize = service.files.iter().map(|file| file.bytes.len()).sum();
    if service.files.len() > CONTENTS_MAX || bytes > CONTENTS_BYTES_MAX {
        let message = format!(
            "{} secrets and configs with {bytes} bytes are more than {CONTENTS_MAX} with \
             {CONTENTS_BYTES_MAX}",
            service.files.len()
        );
        report.push(
            at.key_error(message)
                .help("put large files into the image or a volume"),
        );
    }
    if service.tmpfs.len() > TMPFS_MAX {
        let message = format!("a service has at most {TMPFS_MAX} folders in memory");
        let help = "keep what is large or lasting in volumes";
        report.push(key_of(at, "tmpfs").key_error(message).help(help));
    }
    let mut seen = BTreeSet::new();
    let mounts = service
        .mounts
        .iter()
        .map(|mount| (&mount.target, "volumes"));
    let folders = service.tmpfs.iter().map(|folder| (&folder.target, "tmpfs"));
    let files = service.files.iter().map(|file| (&file.target, "secrets"));
    for (target, key) in mounts.chain(folders).chain(files) {
        if !seen.insert(target) {
            let message = format!("two things are mounted at `{target}`");
            report.push(
                key_of(at, key)
                    .key_error(message)
                    .help("give each a path of its own"),
            );
        }
    }
}

/// The key of the service, or the service itself where the key is not in the file.
fn key_of<'a>(at: &At<'a>, key: &str) -> At<'a> {
    let entries = at.entries(&mut Report::default());
    entries
        .into_iter()
        .find(|entry| entry.name == key)
        .unwrap_or_else(|| at.clone())
}
