//! Refuses specifications that no container could be made of, before anything is touched.

use super::WorkloadSpec;
use crate::container::capability;
use crate::container::rootfs::KERNEL_PLACES;
use crate::limits;

/// What is wrong with a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct InvalidSpec {
    /// The field.
    pub field: &'static str,
    /// What is wrong, as the end of a sentence that starts with the field.
    pub problem: String,
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, InvalidSpec> {
    Err(InvalidSpec {
        field,
        problem: problem.into(),
    })
}

impl WorkloadSpec {
    /// Whether a container can be made of it, as far as the specification alone tells.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        self.check_names()?;
        self.check_command()?;
        self.check_resources()?;
        self.check_mounts()
    }

    fn check_names(&self) -> Result<(), InvalidSpec> {
        let is_host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
        if !(1..=63).contains(&self.hostname.len()) || !self.hostname.bytes().all(is_host_byte) {
            return refuse("hostname", "must be 1 to 63 letters, digits, `-` and `.`");
        }
        if self.service.len() > 128 || self.service.chars().any(char::is_control) {
            return refuse("service", "must be at most 128 printable bytes");
        }
        for name in &self.cap_add {
            if !capability::is_addable(name) {
                return refuse("cap_add", format!("may not name `{}`", name.escape_debug()));
            }
        }
        Ok(())
    }

    fn check_command(&self) -> Result<(), InvalidSpec> {
        check_strings("command", &self.args(), limits::ARGS_MAX)?;
        check_strings("image.env", &self.image.env, limits::ENV_MAX)?;
        if self.image.layers.is_empty() || self.image.layers.len() > limits::LAYERS_MAX {
            return refuse(
                "image.layers",
                format!("must be 1 to {}", limits::LAYERS_MAX),
            );
        }
        let env_bytes: usize = self
            .env
            .iter()
            .map(|var| var.name.len() + var.value.expose().len() + 2)
            .sum();
        if self.env.len() > limits::ENV_MAX || env_bytes > limits::ARGS_BYTES_MAX {
            return refuse("env", "is too long");
        }
        for var in &self.env {
            let is_name = !var.name.is_empty() && !var.name.contains(['=', '\0']);
            if !is_name || std::str::from_utf8(var.value.expose()).is_err() {
                return refuse(
                    "env",
                    "must hold names without `=` and values that are UTF-8",
                );
            }
            if var.value.expose().contains(&0) {
                return refuse("env", "may not hold NUL bytes");
            }
        }
        let user = self.user.as_deref().unwrap_or(&self.image.user);
        if user.len() > 256 || user.contains(['\0', '\n']) {
            return refuse("user", "must be at most 256 bytes on one line");
        }
        for dir in [Some(&self.image.working_dir), self.working_dir.as_ref()]
            .into_iter()
            .flatten()
        {
            if !dir.is_empty() {
                check_path("working_dir", dir)?;
            }
            // What is there belongs to the kernel, open descriptors among it.
            if is_of_the_kernel(dir) {
                let problem = format!("may not be `{}`", dir.escape_debug());
                return refuse("working_dir", problem);
            }
        }
        if self
            .stop_signal
            .as_deref()
            .is_some_and(|name| crate::signal::parse(name).is_none())
        {
            return refuse(
                "stop_signal",
                "is not a signal: use for example SIGTERM or 15",
            );
        }
        if self.stop_grace_ms > limits::STOP_GRACE_MS_MAX {
            return refuse(
                "stop_grace_ms",
                format!("must be at most {}", limits::STOP_GRACE_MS_MAX),
            );
        }
        Ok(())
    }

    fn check_resources(&self) -> Result<(), InvalidSpec> {
        let wanted = &self.resources;
        if wanted.memory_bytes < limits::MEMORY_BYTES_MIN || wanted.memory_bytes > i64::MAX as u64 {
            return refuse(
                "resources.memory_bytes",
                format!("must be at least {}", limits::MEMORY_BYTES_MIN),
            );
        }
        if wanted.cpu_milli < limits::CPU_MILLI_MIN || wanted.cpu_milli > 1_024_000 {
            return refuse(
                "resources.cpu_milli",
                format!("must be {} to 1024000", limits::CPU_MILLI_MIN),
            );
        }
        if wanted.pids == 0 || wanted.pids > 4_194_304 {
            return refuse("resources.pids", "must be 1 to 4194304");
        }
        let logs = &self.logs;
        if !(limits::LOG_BYTES_MIN..=limits::LOG_BYTES_MAX).contains(&logs.file_bytes_max) {
            return refuse(
                "logs.file_bytes_max",
                format!(
                    "must be {} to {}",
                    limits::LOG_BYTES_MIN,
                    limits::LOG_BYTES_MAX
                ),
            );
        }
        if !(1..=limits::LOG_FILES_MAX).contains(&logs.files) {
            return refuse(
                "logs.files",
                format!("must be 1 to {}", limits::LOG_FILES_MAX),
            );
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<(), InvalidSpec> {
        let too_many = self.volumes.len() > limits::VOLUMES_MAX
            || self.files.len() > limits::FILES_MAX
            || self.tmpfs.len() > limits::TMPFS_MAX;
        if too_many {
            return refuse(
                "volumes",
                format!(
                    "may be at most {}, `files` {}, `tmpfs` {}",
                    limits::VOLUMES_MAX,
                    limits::FILES_MAX,
                    limits::TMPFS_MAX
                ),
            );
        }
        let file_bytes: usize = self
            .files
            .iter()
            .map(|file| file.contents.expose().len())
            .sum();
        if file_bytes > limits::FILES_BYTES_MAX {
            return refuse(
                "files",
                format!("may hold {} bytes together", limits::FILES_BYTES_MAX),
            );
        }
        if self.files.iter().any(|file| file.mode & !0o777 != 0) {
            return refuse("files", "may have permission bits up to 0o777");
        }
        if self
            .tmpfs
            .iter()
            .any(|tmpfs| tmpfs.mode & !0o1777 != 0 || tmpfs.bytes_max == 0)
        {
            return refuse(
                "tmpfs",
                "must have a size, and permission bits up to 0o1777",
            );
        }
        let mut targets: Vec<&str> = Vec::new();
        targets.extend(self.volumes.iter().map(|volume| volume.target.as_str()));
        targets.extend(self.files.iter().map(|file| file.target.as_str()));
        targets.extend(self.tmpfs.iter().map(|tmpfs| tmpfs.target.as_str()));
        for target in &targets {
            check_target(target)?;
        }
        targets.sort_unstable();
        if targets.windows(2).any(|pair| pair[0] == pair[1]) {
            return refuse("volumes", "and `files`, `tmpfs` may name each path once");
        }
        Ok(())
    }
}

fn check_strings(field: &'static str, texts: &[String], count: usize) -> Result<(), InvalidSpec> {
    let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
    if texts.len() > count || bytes > limits::ARGS_BYTES_MAX {
        return refuse(field, "is too long");
    }
    if texts.iter().any(|text| text.contains('\0')) {
        return refuse(field, "may not hold NUL bytes");
    }
    Ok(())
}

/// A path is absolute and written in its plainest form, so that equal paths are equal texts.
fn check_path(field: &'static str, path: &str) -> Result<(), InvalidSpec> {
    let Some(inner) = path.strip_prefix('/') else {
        return refuse(
            field,
            format!("must be absolute, not `{}`", path.escape_debug()),
        );
    };
    if path.len() > limits::PATH_BYTES_MAX || path.contains('\0') {
        return refuse(field, "is too long, or holds a NUL byte");
    }
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let is_odd = |part: &str| part.is_empty() || part == "." || part == "..";
    if !inner.is_empty() && inner.split('/').any(is_odd) {
        return refuse(
            field,
            format!("may not hold `.`, `..` or `//`: `{}`", path.escape_debug()),
        );
    }
    Ok(())
}

fn check_target(target: &str) -> Result<(), InvalidSpec> {
    check_path("target", target)?;
    if target == "/" || target.ends_with('/') || is_of_the_kernel(target) {
        return refuse("target", format!("may not be `{}`", target.escape_debug()));
    }
    Ok(())
}

/// Whether a path is where the kernel's own file systems are mounted, or below.
fn is_of_the_kernel(path: &str) -> bool {
    KERNEL_PLACES.iter().any(|name| {
        let rest = path
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(name));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
