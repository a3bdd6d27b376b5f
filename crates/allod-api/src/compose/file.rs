//! Reading the files that a deploy file names, relative to the file that names them.

use std::fs::{File, metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::{Report, Source};
use super::interpolate::{Variables, interpolate};
use super::limits::FILE_BYTES_MAX;
use super::node::{At, Node};
use super::yaml;

/// Is there a file of that name? A name that may not be looked up counts as there, so that reading
/// it says why not.
pub(crate) fn exists(at: &At<'_>, name: &str, report: &Report) -> bool {
    match folder(at, report) {
        Some(folder) => folder.join(name).exists(),
        None => true,
    }
}

/// Reads a file that must be text.
pub(crate) fn text(
    at: &At<'_>,
    name: &str,
    bytes_max: u64,
    report: &mut Report,
) -> Option<(PathBuf, String)> {
    let (path, bytes) = bytes(at, name, bytes_max, report)?;
    match String::from_utf8(bytes) {
        Ok(text) => Some((path, text)),
        Err(_) => {
            let message = format!("`{name}` is not UTF-8 text");
            report.push(at.error(message).help("save it as UTF-8"));
            None
        }
    }
}

/// Reads another deploy file, with its variables filled in; the report knows it as a source from here on.
pub(crate) fn document(
    at: &At<'_>,
    name: &str,
    variables: &Variables,
    report: &mut Report,
) -> Option<(PathBuf, Node)> {
    let (path, text) = text(at, name, FILE_BYTES_MAX, report)?;
    report.sources.push(Source {
        name: name.to_string(),
        folder: path.parent().map(Path::to_path_buf),
        text,
    });
    let index = report.sources.len().saturating_sub(1);
    let mut document = yaml::parse(index, report)?;
    interpolate(&mut document, variables, report);
    Some((path, document))
}

/// Reads a file. Devices and pipes are refused, since they might never end.
pub(crate) fn bytes(
    at: &At<'_>,
    name: &str,
    bytes_max: u64,
    report: &mut Report,
) -> Option<(PathBuf, Vec<u8>)> {
    let Some(folder) = folder(at, report) else {
        let message = format!("`{name}` cannot be read here: only the text itself was given");
        let help = "deploy from the folder with `allod deploy`, or give the content in place";
        report.push(at.error(message).help(help));
        return None;
    };
    let path = folder.join(name);
    match read(&path, bytes_max) {
        Ok(bytes) => Some((path, bytes)),
        Err(reason) => {
            let message = format!("`{}` cannot be read: {reason}", path.display());
            report.push(
                at.error(message)
                    .help("paths start at the folder of the file"),
            );
            None
        }
    }
}

/// Reads a regular file of at most that many bytes. The error is the reason alone.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let about = metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is not a regular file".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut limited = file.take(bytes_max.saturating_add(1));
    limited
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > bytes_max) {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn folder(at: &At<'_>, report: &Report) -> Option<PathBuf> {
    report.sources.get(at.node.span.file)?.folder.clone()
}
