//! Small files that are whole or absent: written beside their place, synced, then moved into it.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

/// Writes `bytes` to `path`, in place of whatever was there.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let (dir, file) = written(path, bytes, mode)?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(dir)
}

/// Moves a whole file into the place of another.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let dir = to.parent().ok_or(io::ErrorKind::InvalidInput)?;
    sync_dir(dir)
}

/// Writes `bytes` to `path` where nothing is there yet; otherwise leaves it alone and returns false.
///
/// # Errors
/// Where the system refuses.
pub fn create_once(path: &Path, bytes: &[u8], mode: u32) -> io::Result<bool> {
    let (dir, file) = written(path, bytes, mode)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_dir(dir).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error.error),
    }
}

/// Reads a regular file of at most `max` bytes.
pub(crate) fn read_bounded(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its writer, so look before.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|len| len <= max) {
        Ok(bytes)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {max} bytes"),
        ))
    }
}

fn written<'a>(path: &'a Path, bytes: &[u8], mode: u32) -> io::Result<(&'a Path, NamedTempFile)> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut file = Builder::new()
        .prefix(".writing-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dir)?;
    file.write_all(bytes)?;
    // The umask may have taken bits away from a file that others should read.
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok((dir, file))
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
