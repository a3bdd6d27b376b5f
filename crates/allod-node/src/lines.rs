//! What replicas wrote: read from the runtime's logs while they are there, and from the last lines kept of them after.

use std::io;
use std::path::PathBuf;

use allod_runtime::WorkloadId;
use allod_runtime::logs::{self, Cursor, Line};

use crate::limits::{LAST_LINES, LAST_LINES_FILES_MAX, LOG_READ_BYTES};

/// Lines shown to a visitor whose service is silent.
const LAST_WORDS: usize = 10;

/// Where the logs of this node are.
#[derive(Debug)]
pub(crate) struct Lines {
    /// The runtime's directory.
    runtime: PathBuf,
    /// The last lines of replicas that are gone.
    kept: PathBuf,
}

impl Lines {
    pub(crate) fn open(runtime: PathBuf, kept: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&kept)?;
        Ok(Self { runtime, kept })
    }

    /// The place from which the last `count` lines of a replica are to be read.
    pub(crate) fn tail(&self, id: &WorkloadId, count: usize) -> Cursor {
        logs::tail(&logs::directory(&self.runtime, id), count).unwrap_or_default()
    }

    /// Some lines from a place on, and the place after them.
    pub(crate) fn read(&self, id: &WorkloadId, from: Cursor) -> io::Result<(Vec<Line>, Cursor)> {
        logs::read(&logs::directory(&self.runtime, id), from, LOG_READ_BYTES)
    }

    /// The last few lines of a replica, here or gone.
    pub(crate) fn last_words(&self, id: &WorkloadId) -> Vec<String> {
        let here = self.read(id, self.tail(id, LAST_WORDS));
        let mut words: Vec<String> = match here {
            Ok((lines, _)) if !lines.is_empty() => lines
                .iter()
                .map(|line| String::from_utf8_lossy(&line.text).into_owned())
                .collect(),
            _ => {
                let kept = self.last_lines(id);
                kept.iter().map(|(_, _, text)| text.clone()).collect()
            }
        };
        let surplus = words.len().saturating_sub(LAST_WORDS);
        words.drain(..surplus);
        words
    }

    /// Keeps the last lines of a replica that is about to be removed.
    pub(crate) fn keep_last(&self, id: &WorkloadId) {
        let Ok((lines, _)) = self.read(id, self.tail(id, LAST_LINES)) else {
            return;
        };
        let mut text = String::new();
        for line in &lines {
            let tag = if line.stream == logs::Stream::Stderr {
                'e'
            } else {
                'o'
            };
            let words = String::from_utf8_lossy(&line.text).replace('\n', " ");
            text.push_str(&format!("{} {tag} {words}\n", line.at_ms));
        }
        if let Err(error) = std::fs::write(self.kept.join(id.to_string()), text) {
            tracing::warn!(workload = %id, %error, "the last lines of a replica could not be kept");
        }
        self.forget_oldest();
    }

    /// The last lines of a replica that is gone: when, whether on standard error, and the text.
    pub(crate) fn last_lines(&self, id: &WorkloadId) -> Vec<(u64, bool, String)> {
        let text = std::fs::read_to_string(self.kept.join(id.to_string())).unwrap_or_default();
        let parse = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let at_ms = parts.next()?.parse().ok()?;
            let is_error = parts.next()? == "e";
            Some((at_ms, is_error, parts.next()?.to_owned()))
        };
        text.lines().filter_map(parse).collect()
    }

    fn forget_oldest(&self) {
        let Ok(files) = std::fs::read_dir(&self.kept) else {
            return;
        };
        let mut files: Vec<_> = files
            .filter_map(Result::ok)
            .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
            .collect();
        files.sort();
        let surplus = files.len().saturating_sub(LAST_LINES_FILES_MAX);
        for (_, path) in files.into_iter().take(surplus) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn of_so_many_replicas_that_are_gone_the_oldest_words_go() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("lines");
        let lines = Lines::open(dir.path().to_owned(), kept.clone()).unwrap();
        let long_ago = SystemTime::now() - Duration::from_secs(1_000_000);
        for number in 0..LAST_LINES_FILES_MAX + 7 {
            let path = kept.join(number.to_string());
            std::fs::write(&path, "1 o words\n").unwrap();
            let at = long_ago + Duration::from_secs(u64::try_from(number).unwrap());
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(at).unwrap();
        }
        lines.forget_oldest();
        let mut left: Vec<usize> = std::fs::read_dir(&kept)
            .unwrap()
            .map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        left.sort_unstable();
        assert_eq!(left, (7..LAST_LINES_FILES_MAX + 7).collect::<Vec<_>>());
    }
}
