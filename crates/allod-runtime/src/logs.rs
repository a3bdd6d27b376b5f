//! The output of a workload, as files of lines that say when and from which stream.
//!
//! Files are numbered, `00000001.log` and on; the highest is written to, the lowest are removed.
//! A line is `<milliseconds since 1970> <tag> <text>`; the tag is `o` or `e` for standard output
//! and error, in upper case if the text goes on in the next line of that tag.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use crate::layout::log_directory as directory;
use crate::limits;
use crate::workload::LogLimits;

/// Which of its two outputs a workload wrote to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line, or a part of a long or unfinished one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// To which stream.
    pub stream: Stream,
    /// Whether the line goes on in the next entry of the same stream.
    pub is_partial: bool,
    /// What was written, without the line's end. Any bytes.
    pub text: Vec<u8>,
}

/// A place in the logs of one workload; the default one is their beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// The number of the file.
    pub file: u64,
    /// The byte in it.
    pub offset: u64,
}

/// Reads at most `bytes_max` of logs from `cursor` on; answers with the lines and the place after
/// them. No lines: there is nothing more for now.
pub fn read(directory: &Path, cursor: Cursor, bytes_max: usize) -> io::Result<(Vec<Line>, Cursor)> {
    let mut cursor = cursor;
    let mut lines = Vec::new();
    let mut left = bytes_max.max(limits::LOG_LINE_BYTES_MAX * 2);
    let first = cursor.file;
    for number in file_numbers(directory)?
        .into_iter()
        .filter(|number| *number >= first)
    {
        if number > cursor.file {
            cursor = Cursor {
                file: number,
                offset: 0,
            };
        }
        let bytes = match read_file(&path(directory, number), cursor.offset, left) {
            Ok(bytes) => bytes,
            // It was rotated away since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // The last line may be in the middle of being written.
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        lines.extend(
            bytes[..whole]
                .split_inclusive(|byte| *byte == b'\n')
                .filter_map(parse),
        );
        cursor.offset += whole as u64;
        left -= whole;
        if whole < bytes.len() || left == 0 {
            break;
        }
    }
    Ok((lines, cursor))
}

/// The place from which about `lines` last lines are to be read.
pub fn tail(directory: &Path, lines: usize) -> io::Result<Cursor> {
    let mut left = lines;
    let mut start = Cursor::default();
    for number in file_numbers(directory)?.into_iter().rev() {
        let bytes = match read_file(&path(directory, number), 0, limits::LOG_BYTES_MAX as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let ends: Vec<usize> = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at)
            .collect();
        if ends.len() > left {
            let offset = ends[ends.len() - left - 1] as u64 + 1;
            return Ok(Cursor {
                file: number,
                offset,
            });
        }
        left -= ends.len();
        start = Cursor {
            file: number,
            offset: 0,
        };
    }
    Ok(start)
}

fn read_file(path: &Path, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut file = open_log(path, OpenOptions::new().read(true))?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a log file, and nothing that stands in its place: a link there would show its reader
/// what only the reader may see (CVE-2026-53489).
fn open_log(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    let text = format!("{} is not a log file", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn parse(line: &[u8]) -> Option<Line> {
    let line = line.strip_suffix(b"\n")?;
    let space = line.iter().position(|byte| *byte == b' ')?;
    let at_ms = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let [tag, b' ', text @ ..] = &line[space + 1..] else {
        return None;
    };
    let stream = match tag.to_ascii_lowercase() {
        b'o' => Stream::Stdout,
        b'e' => Stream::Stderr,
        _ => return None,
    };
    Some(Line {
        at_ms,
        stream,
        is_partial: tag.is_ascii_uppercase(),
        text: text.to_vec(),
    })
}

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.log"))
}

fn file_numbers(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".log"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Writes the logs of one workload, within their limits.
pub(crate) struct Writer {
    directory: PathBuf,
    limits: LogLimits,
    reader_gid: u32,
    file: File,
    number: u64,
    bytes: u64,
    /// What each stream has begun and not finished: standard output first.
    unfinished: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the logs in `directory`, which only root can write to; members of `reader_gid` may
    /// read the files. Where there are some already, it goes on with the last one.
    pub(crate) fn open(directory: &Path, limits: LogLimits, reader_gid: u32) -> io::Result<Self> {
        let last = file_numbers(directory)?.last().copied();
        let number = last.unwrap_or(1);
        let file = match last {
            Some(number) => go_on(&path(directory, number))?,
            None => create(&path(directory, number), reader_gid)?,
        };
        Ok(Self {
            directory: directory.to_owned(),
            limits,
            reader_gid,
            bytes: file.metadata()?.len(),
            file,
            number,
            unfinished: [Vec::new(), Vec::new()],
        })
    }

    /// Takes what a stream has written.
    pub(crate) fn put(&mut self, stream: Stream, mut bytes: &[u8], at_ms: u64) -> io::Result<()> {
        let slot = slot(stream);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let mut line = std::mem::take(&mut self.unfinished[slot]);
            line.extend_from_slice(&bytes[..end]);
            self.write_long(stream, line, at_ms)?;
            bytes = &bytes[end + 1..];
        }
        self.unfinished[slot].extend_from_slice(bytes);
        while self.unfinished[slot].len() > limits::LOG_LINE_BYTES_MAX {
            let rest = self.unfinished[slot].split_off(limits::LOG_LINE_BYTES_MAX);
            let part = std::mem::replace(&mut self.unfinished[slot], rest);
            self.write_line(stream, true, &part, at_ms)?;
        }
        Ok(())
    }

    /// Whether [`Writer::flush`] has something to write.
    pub(crate) fn has_unfinished(&self) -> bool {
        self.unfinished.iter().any(|bytes| !bytes.is_empty())
    }

    /// Writes out what was begun, as partial lines.
    pub(crate) fn flush(&mut self, at_ms: u64) -> io::Result<()> {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let bytes = std::mem::take(&mut self.unfinished[slot(stream)]);
            if !bytes.is_empty() {
                self.write_line(stream, true, &bytes, at_ms)?;
            }
        }
        Ok(())
    }

    fn write_long(&mut self, stream: Stream, mut line: Vec<u8>, at_ms: u64) -> io::Result<()> {
        while line.len() > limits::LOG_LINE_BYTES_MAX {
            let rest = line.split_off(limits::LOG_LINE_BYTES_MAX);
            self.write_line(stream, true, &line, at_ms)?;
            line = rest;
        }
        self.write_line(stream, false, &line, at_ms)
    }

    fn write_line(
        &mut self,
        stream: Stream,
        is_partial: bool,
        text: &[u8],
        at_ms: u64,
    ) -> io::Result<()> {
        let tag = match (stream, is_partial) {
            (Stream::Stdout, false) => 'o',
            (Stream::Stdout, true) => 'O',
            (Stream::Stderr, false) => 'e',
            (Stream::Stderr, true) => 'E',
        };
        let mut entry = format!("{at_ms} {tag} ").into_bytes();
        entry.extend_from_slice(text);
        entry.push(b'\n');
        if self.bytes > 0 && self.bytes + entry.len() as u64 > self.limits.file_bytes_max {
            self.rotate()?;
        }
        self.file.write_all(&entry)?;
        self.bytes += entry.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.number += 1;
        self.file = create(&path(&self.directory, self.number), self.reader_gid)?;
        self.bytes = 0;
        let numbers = file_numbers(&self.directory)?;
        let excess = numbers.len().saturating_sub(self.limits.files as usize);
        for number in &numbers[..excess] {
            std::fs::remove_file(path(&self.directory, *number))?;
        }
        Ok(())
    }
}

fn slot(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

/// Opens a log that another writer has left, perhaps in the middle of a line.
fn go_on(path: &Path) -> io::Result<File> {
    let mut file = open_log(path, OpenOptions::new().read(true).append(true))?;
    if file.metadata()?.len() == 0 {
        return Ok(file);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0u8; 1];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

fn create(path: &Path, reader_gid: u32) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    // Without root, as in tests of the format, there is no one else to read it.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::fchown(&file, None, Some(reader_gid))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
