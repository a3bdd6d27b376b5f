//! Kernel settings of the current network namespace, below `/proc/sys/net`.

use std::fs;
use std::io;
use std::path::Path;

use super::error::NetworkError;

/// Reads a setting; `None` where this kernel does not have it.
pub(super) fn read(name: &str) -> Result<Option<String>, NetworkError> {
    match fs::read_to_string(Path::new("/proc/sys/net").join(name)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetworkError::kernel(format!("read /proc/sys/net/{name}"))(
            error,
        )),
    }
}

/// Gives a setting a value, unless it has it or this kernel lacks the setting; whether that was
/// a change.
pub(super) fn write(name: &str, value: &str) -> Result<bool, NetworkError> {
    match read(name)? {
        Some(old) if old != value => fs::write(Path::new("/proc/sys/net").join(name), value)
            .map(|()| true)
            .map_err(NetworkError::kernel(format!(
                "set /proc/sys/net/{name} to {value}"
            ))),
        _ => Ok(false),
    }
}
