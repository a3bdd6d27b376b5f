//! Files and folders beside the deploy file that a service mounts: they travel with the app.
//!
//! Nothing of a host is mounted, since the service may run on any machine. But a file of the project
//! that a service only reads, as `./nginx.conf:/etc/nginx/nginx.conf:ro`, is a config in another
//! spelling, and is brought along as one.

use std::fs::{read_dir, symlink_metadata};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use allod_node::manifest::{File, Hidden};

use super::diagnostic::Report;
use super::file;
use super::limits::{CONTENT_BYTES_MAX, CONTENTS_BYTES_MAX, CONTENTS_MAX, FOLDER_DEPTH_MAX};
use super::mounts::target_at;
use super::node::At;

/// What of the machine a container has of itself, so that mounting it is left out.
const OWN: [&str; 2] = ["/etc/localtime", "/etc/timezone"];

/// A mount of something of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bind<'a> {
    pub(crate) source: &'a str,
    pub(crate) target: &'a str,
    pub(crate) read_only: bool,
}

/// The files that stand in for a mount of something of the machine; the report says why there are none.
pub(crate) fn files(bind: Bind<'_>, at: &At<'_>, report: &mut Report) -> Vec<File> {
    let Bind { source, target, .. } = bind;
    if OWN.contains(&source) {
        let message =
            format!("`{source}` of the machine is left out: a service has a clock in UTC");
        let help = "set its time zone with the variable TZ, as TZ: Europe/Berlin";
        report.push(at.warning(message).help(help));
        return Vec::new();
    }
    let folder = report.sources.get(at.node.span.file);
    let folder = folder.and_then(|source| source.folder.clone());
    let is_beside = source.starts_with("./") && !source.split('/').any(|part| part == "..");
    let Some(path) = folder
        .filter(|_| is_beside)
        .map(|folder| folder.join(source))
    else {
        refuse(source, at, report);
        return Vec::new();
    };
    let Some(target) = target_at(target, at, report) else {
        return Vec::new();
    };
    let mut found = Found::default();
    match symlink_metadata(&path) {
        Ok(about) if about.is_file() => {
            if !bind.read_only {
                let message = format!("`{source}` travels with the app, and cannot be written to");
                let help = "add `:ro` to say so, or keep what changes in a named volume";
                report.push(at.warning(message).help(help));
            }
            found.take(&path, target);
        }
        Ok(about) if about.is_dir() && bind.read_only => found.walk(&path, &target, 0),
        _ => {
            refuse(source, at, report);
            return Vec::new();
        }
    }
    if let Some(message) = found.problem {
        let help = "bring along a few small files; put what is large into the image or a volume";
        report.push(
            at.error(format!("`{source}` cannot travel with the app: {message}"))
                .help(help),
        );
        return Vec::new();
    }
    if found.files.is_empty() {
        let message = format!("`{source}` is empty, so nothing is mounted");
        report.push(
            at.warning(message)
                .help("leave it out, or put the files there"),
        );
    }
    found.files
}

/// What is read so far, and what went wrong first.
#[derive(Default)]
struct Found {
    files: Vec<File>,
    bytes: usize,
    problem: Option<String>,
}

impl Found {
    /// Takes everything below a folder in the order of names. Links are refused: they may lead anywhere.
    fn walk(&mut self, folder: &Path, target: &str, depth: usize) {
        if depth > FOLDER_DEPTH_MAX {
            self.fail(format!("its folders are more than {FOLDER_DEPTH_MAX} deep"));
            return;
        }
        let Ok(entries) = read_dir(folder) else {
            self.fail(format!("`{}` cannot be read", folder.display()));
            return;
        };
        let mut names: Vec<_> = entries.flatten().take(CONTENTS_MAX + 1).collect();
        names.sort_by_key(std::fs::DirEntry::file_name);
        for entry in names {
            let path = entry.path();
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
                self.fail(format!("the name of `{}` is not text", path.display()));
                return;
            };
            let target = format!("{target}/{name}");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => self.walk(&path, &target, depth + 1),
                Ok(kind) if kind.is_file() => self.take(&path, target),
                _ => self.fail(format!(
                    "`{}` is neither a file nor a folder",
                    path.display()
                )),
            }
            if self.problem.is_some() {
                return;
            }
        }
    }

    fn take(&mut self, path: &Path, target: String) {
        let bytes = match file::read(path, CONTENT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(reason) => {
                self.fail(format!("`{}`: {reason}", path.display()));
                return;
            }
        };
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.files.len() >= CONTENTS_MAX || self.bytes > CONTENTS_BYTES_MAX {
            self.fail(format!(
                "it has more than {CONTENTS_MAX} files or {CONTENTS_BYTES_MAX} bytes"
            ));
            return;
        }
        let mode = std::fs::metadata(path).map_or(0, |about| about.permissions().mode());
        self.files.push(File {
            target,
            mode: if mode & 0o111 == 0 { 0o444 } else { 0o555 },
            uid: 0,
            gid: 0,
            is_secret: false,
            bytes: Hidden(bytes),
        });
    }

    fn fail(&mut self, message: String) {
        self.problem.get_or_insert(message);
    }
}

fn refuse(source: &str, at: &At<'_>, report: &mut Report) {
    if source.contains("docker.sock") {
        let message = "the socket of the container engine is refused: it commands the machine";
        let help = "leave it out; Allod has an API of its own";
        report.push(at.error(message).help(help));
        return;
    }
    let message = "a folder or file of the host is refused: the service may run on any machine";
    let help = "keep data in a named volume (`- data:/path`); a file or folder beside the deploy \
                file that is only read may be named as `- ./file:/path:ro`, and travels along";
    report.push(at.error(message).help(help));
}
