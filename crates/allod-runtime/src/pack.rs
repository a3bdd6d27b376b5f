//! A volume's data as one archive: a tar of the PAX dialect, compressed by gzip, as any tar reads it.
//!
//! Owners, modes, times, links of both kinds, pipes, attributes that belong to users and programs' capabilities go along.
//! Sockets and devices do not: they are made by whoever uses them. The tree may change meanwhile: what is gone is left out,
//! and a file that shrinks is filled with zeros up to the length that it had when it was begun with.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::limits::USER_RANGE;
use crate::walk::{Directory, Opened};

const BLOCK: usize = 512;
/// What eleven octal digits say at most.
const SIZE_MAX: u64 = 0o77_777_777_777;
/// What a header's name field holds.
const NAME_MAX: usize = 100;

/// Writes the archive of a directory to `out`.
pub(crate) fn pack(directory: &Path, out: impl Write) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(directory, flags, Mode::empty())?;
    let mut packer = Packer {
        out: GzEncoder::new(out, Compression::fast()),
        linked: BTreeMap::new(),
    };
    packer.tree(Directory::top(top))?;
    // Two empty blocks are the end.
    packer.out.write_all(&[0; 2 * BLOCK])?;
    packer.out.finish()?.flush()
}

struct Packer<W: Write> {
    out: GzEncoder<W>,
    /// Where a file of several names was written first, by device and number.
    linked: BTreeMap<(u64, u64), Vec<u8>>,
}

/// What a header says beside what the file system does.
struct Entry<'a> {
    path: &'a [u8],
    flag: u8,
    size: u64,
    link: &'a [u8],
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<W: Write> Packer<W> {
    fn tree(&mut self, top: Directory) -> io::Result<()> {
        let mut todo = vec![(top, b".".to_vec())];
        while let Some((directory, path)) = todo.pop() {
            let opened = match directory.open() {
                Err(error) if path != b"." && is_gone(&error) => continue,
                opened => opened?,
            };
            self.directory(&opened, &path)?;
            for name in opened.names()? {
                let inner = [path.as_slice(), b"/", &name].concat();
                match self.entry(&opened, &name, &inner) {
                    Ok(true) => todo.push((opened.directory(&name), inner)),
                    Ok(false) => {}
                    Err(error) if is_gone(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn directory(&mut self, opened: &Opened, path: &[u8]) -> io::Result<()> {
        let entry = Entry {
            path: &[path, b"/"].concat(),
            flag: b'5',
            size: 0,
            link: b"",
            xattrs: xattrs(opened.descriptor())?,
        };
        self.header(&entry, &opened.stat()?)
    }

    /// Writes one entry; whether it is a directory, which is still to come.
    fn entry(&mut self, parent: &Opened, name: &[u8], path: &[u8]) -> io::Result<bool> {
        let stat = parent.stat_entry(name)?;
        let plain = Entry {
            path,
            flag: b'0',
            size: 0,
            link: b"",
            xattrs: Vec::new(),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(true),
            FileType::RegularFile => self.file(parent.open_file(name)?, plain)?,
            FileType::Symlink => {
                let link = parent.read_link(name)?;
                let entry = Entry {
                    flag: b'2',
                    link: &link,
                    ..plain
                };
                self.header(&entry, &stat)?;
            }
            FileType::Fifo => self.header(
                &Entry {
                    flag: b'6',
                    ..plain
                },
                &stat,
            )?,
            _ => {}
        }
        Ok(false)
    }

    /// Writes what was opened, whatever its name stands for by now.
    fn file(&mut self, file: File, plain: Entry<'_>) -> io::Result<()> {
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&number).cloned() {
                let entry = Entry {
                    flag: b'1',
                    link: &first,
                    ..plain
                };
                return self.header(&entry, &stat);
            }
            self.linked.insert(number, plain.path.to_vec());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let entry = Entry {
            size,
            xattrs: xattrs(&file)?,
            ..plain
        };
        self.header(&entry, &stat)?;
        let copied = io::copy(&mut file.take(size), &mut self.out)?;
        let padding = size.next_multiple_of(BLOCK as u64).saturating_sub(copied);
        io::copy(&mut io::repeat(0).take(padding), &mut self.out)?;
        Ok(())
    }

    fn header(&mut self, entry: &Entry<'_>, stat: &Stat) -> io::Result<()> {
        let records = records(entry, stat);
        if !records.is_empty() {
            let mut block = block(b"pax", b'x', records.len() as u64);
            seal(&mut block);
            self.out.write_all(&block)?;
            self.out.write_all(&records)?;
            let padding = records.len().next_multiple_of(BLOCK) - records.len();
            self.out.write_all(&[0; BLOCK][..padding])?;
        }
        let name = entry.path.get(..NAME_MAX).unwrap_or(entry.path);
        let size = if entry.size > SIZE_MAX { 0 } else { entry.size };
        let mut block = block(name, entry.flag, size);
        octal(&mut block[100..107], u64::from(stat.st_mode & 0o7777));
        octal(&mut block[108..115], u64::from(inside(stat.st_uid)));
        octal(&mut block[116..123], u64::from(inside(stat.st_gid)));
        let mtime = u64::try_from(stat.st_mtime).unwrap_or(0).min(SIZE_MAX);
        octal(&mut block[136..147], mtime);
        if entry.link.len() <= NAME_MAX {
            block[157..157 + entry.link.len()].copy_from_slice(entry.link);
        }
        seal(&mut block);
        self.out.write_all(&block)
    }
}

/// What belongs to nobody inside belongs to the container's root.
fn inside(id: u32) -> u32 {
    if id < USER_RANGE { id } else { 0 }
}

fn is_gone(error: &io::Error) -> bool {
    // A link where a file was, or another mount: neither is what was seen.
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ELOOP | libc::ENOTDIR | libc::EXDEV | libc::ENXIO)
    )
}

/// What a header has no room for.
fn records(entry: &Entry<'_>, stat: &Stat) -> Vec<u8> {
    let mut records = Vec::new();
    if entry.path.len() > NAME_MAX {
        record(&mut records, b"path", entry.path);
    }
    if entry.link.len() > NAME_MAX {
        record(&mut records, b"linkpath", entry.link);
    }
    if entry.size > SIZE_MAX {
        record(&mut records, b"size", entry.size.to_string().as_bytes());
    }
    record(&mut records, b"mtime", mtime(stat).as_bytes());
    for (name, value) in &entry.xattrs {
        let key = [b"SCHILY.xattr.".as_slice(), name].concat();
        record(&mut records, &key, value);
    }
    records
}

/// Seconds with their fraction; a time before 1970 counts backwards from there.
fn mtime(stat: &Stat) -> String {
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{sign}{whole}.{fraction:09}")
}

/// `<length> <key>=<value>\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(&[key, b"=", value, b"\n"].concat());
}

fn block(name: &[u8], flag: u8, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..107], 0o644);
    octal(&mut block[108..115], 0);
    octal(&mut block[116..123], 0);
    octal(&mut block[124..135], size);
    octal(&mut block[136..147], 0);
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block
}

/// The checksum counts its own field as spaces.
fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
}

fn octal(field: &mut [u8], number: u64) {
    let width = field.len();
    field.copy_from_slice(format!("{number:0width$o}").as_bytes());
}

/// Attributes that mean the same elsewhere; see the module that reads them again.
fn xattrs(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024];
    match rustix::fs::flistxattr(&file, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
        Ok(length) => names.truncate(length),
    }
    let names = names.split(|byte| *byte == 0);
    let kept = names.filter(|name| {
        let is_users = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
        is_users || *name == b"security.capability"
    });
    let mut found = Vec::new();
    for name in kept {
        let mut value = vec![0; 64 * 1024];
        match rustix::fs::fgetxattr(&file, OsStr::from_bytes(name), &mut value[..]) {
            Ok(length) => found.push((name.to_vec(), value[..length].to_vec())),
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
