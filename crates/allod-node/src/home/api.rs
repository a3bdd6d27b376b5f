//! `api.json`: how commands find the API that runs in this home.

use std::fs;
use std::io;

use allod_state::NetworkId;
use serde::{Deserialize, Serialize};

use super::{Home, HomeError, read_bounded, replace};

const API_FILE_BYTES_MAX: u64 = 16 * 1024;

/// The API of a running `allod up`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningApi {
    /// Where it answers, such as `http://127.0.0.1:7400`.
    pub url: String,
    /// The process that answers.
    pub pid: u32,
    /// When that process started, in the kernel's ticks since boot: another process may get its number later.
    pub pid_started: u64,
    /// The network it serves.
    pub network: NetworkId,
}

impl RunningApi {
    /// The record of the calling process.
    #[must_use]
    pub fn of_this_process(url: String, network: NetworkId) -> Self {
        let pid = std::process::id();
        Self {
            url,
            pid,
            pid_started: started_ticks(pid).unwrap_or(0),
            network,
        }
    }
}

impl Home {
    /// Says where the API answers. Commands may read it from then on.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn announce_api(&self, api: &RunningApi) -> Result<(), HomeError> {
        let bad = |source| HomeError::BadApiRecord {
            path: self.api.clone(),
            source,
        };
        let mut text = serde_json::to_vec_pretty(api).map_err(bad)?;
        text.push(b'\n');
        replace(&self.api, &text, 0o644).map_err(|source| HomeError::Write {
            path: self.api.clone(),
            source,
        })
    }

    /// The API that runs in this home: nothing where none was announced or its process is gone.
    ///
    /// # Errors
    /// Where the record cannot be read.
    pub fn running_api(&self) -> Result<Option<RunningApi>, HomeError> {
        let text = match read_bounded(&self.api, API_FILE_BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(HomeError::Read {
                    path: self.api.clone(),
                    source,
                });
            }
            Ok(text) => text,
        };
        let api: RunningApi =
            serde_json::from_slice(&text).map_err(|source| HomeError::BadApiRecord {
                path: self.api.clone(),
                source,
            })?;
        let is_alive = started_ticks(api.pid) == Some(api.pid_started);
        Ok(is_alive.then_some(api))
    }

    /// Takes the announcement back.
    ///
    /// # Errors
    /// Where the file is there and cannot be removed.
    pub fn withdraw_api(&self) -> Result<(), HomeError> {
        match fs::remove_file(&self.api) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(HomeError::Write {
                path: self.api.clone(),
                source,
            }),
            _ => Ok(()),
        }
    }
}

/// Field 22 of `/proc/<pid>/stat`; nothing where no such process runs.
fn started_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a name in parentheses that may itself hold spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}
