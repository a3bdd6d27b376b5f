//! A volume's data as one archive: a tar of the PAX dialect, compressed by gzip, as any tar reads it.
//!
//! Owners, modes, times, links of both kinds, pipes, attributes that belong to users (by names in UTF-8) and programs'
//! capabilities go along.
//! Sockets and devices do not: they are made by whoever uses them. The tree may change meanwhile: what is gone is left out,
//! and a file that shrinks is filled with zeros up to the length that it had when it was begun with.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use crate::limits::USER_RANGE;
use crate::walk::{Directory, Opened};

/// What eleven octal digits say at most.
const SIZE_MAX: u64 = 0o77_777_777_777;
/// What a header's name field holds.
const NAME_MAX: usize = 100;

/// Writes the archive of a directory to `out`.
pub(crate) fn pack(directory: &Path, out: impl Write) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::open(directory, flags, Mode::empty())?;
    let mut packer = Packer {
        out: Builder::new(GzEncoder::new(out, Compression::fast())),
        linked: BTreeMap::new(),
    };
    packer.tree(Directory::top(top))?;
    packer.out.into_inner()?.finish()?.flush()
}

struct Packer<W: Write> {
    out: Builder<GzEncoder<W>>,
    /// Where a file of several names was written first, by device and number.
    linked: BTreeMap<(u64, u64), Vec<u8>>,
}

/// What a header says beside what the file system does.
struct Entry<'a> {
    path: &'a [u8],
    kind: EntryType,
    size: u64,
    link: &'a [u8],
    xattrs: Vec<(String, Vec<u8>)>,
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
            kind: EntryType::Directory,
            size: 0,
            link: b"",
            xattrs: xattrs(opened.descriptor())?,
        };
        self.add(&entry, &opened.stat()?, io::empty())
    }

    /// Writes one entry; whether it is a directory, which is still to come.
    fn entry(&mut self, parent: &Opened, name: &[u8], path: &[u8]) -> io::Result<bool> {
        let stat = parent.stat_entry(name)?;
        let plain = Entry {
            path,
            kind: EntryType::Regular,
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
                    kind: EntryType::Symlink,
                    link: &link,
                    ..plain
                };
                self.add(&entry, &stat, io::empty())?;
            }
            FileType::Fifo => {
                let kind = EntryType::Fifo;
                self.add(&Entry { kind, ..plain }, &stat, io::empty())?;
            }
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
                    kind: EntryType::Link,
                    link: &first,
                    ..plain
                };
                return self.add(&entry, &stat, io::empty());
            }
            self.linked.insert(number, plain.path.to_vec());
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let entry = Entry {
            size,
            xattrs: xattrs(&file)?,
            ..plain
        };
        self.add(&entry, &stat, file.chain(io::repeat(0)).take(size))
    }

    fn add(&mut self, entry: &Entry<'_>, stat: &Stat, contents: impl Read) -> io::Result<()> {
        let records = records(entry, stat);
        let records = records.iter().map(|(key, value)| (&**key, &**value));
        self.out.append_pax_extensions(records)?;
        let mut header = Header::new_ustar();
        let name = entry.path.get(..NAME_MAX).unwrap_or(entry.path);
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        if entry.link.len() <= NAME_MAX {
            header.set_link_name_literal(entry.link)?;
        }
        header.set_entry_type(entry.kind);
        header.set_size(if entry.size > SIZE_MAX { 0 } else { entry.size });
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(inside(stat.st_uid).into());
        header.set_gid(inside(stat.st_gid).into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0).min(SIZE_MAX));
        header.set_cksum();
        self.out.append(&header, contents)
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
fn records(entry: &Entry<'_>, stat: &Stat) -> Vec<(String, Vec<u8>)> {
    let mut records = vec![("mtime".to_owned(), mtime(stat).into_bytes())];
    if entry.path.len() > NAME_MAX {
        records.push(("path".into(), entry.path.to_vec()));
    }
    if entry.link.len() > NAME_MAX {
        records.push(("linkpath".into(), entry.link.to_vec()));
    }
    if entry.size > SIZE_MAX {
        records.push(("size".into(), entry.size.to_string().into_bytes()));
    }
    let xattrs = entry.xattrs.iter();
    records.extend(xattrs.map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())));
    records
}

/// Seconds with their fraction; a time before 1970 counts backwards from there.
fn mtime(stat: &Stat) -> String {
    let nanos = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (whole, fraction) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{sign}{whole}.{fraction:09}")
}

/// Attributes that mean the same elsewhere; see the module that reads them again.
fn xattrs(file: impl AsFd) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut names = vec![0; 64 * 1024];
    match rustix::fs::flistxattr(&file, &mut names[..]) {
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
        Ok(length) => names.truncate(length),
    }
    let names = names.split(|byte| *byte == 0);
    let names = names.filter_map(|name| std::str::from_utf8(name).ok());
    let kept = names.filter(|name| {
        let is_users = name.starts_with("user.") && !name.starts_with("user.overlay.");
        is_users || *name == "security.capability"
    });
    let mut found = Vec::new();
    for name in kept {
        let mut value = vec![0; 64 * 1024];
        match rustix::fs::fgetxattr(&file, name, &mut value[..]) {
            Ok(length) => found.push((name.to_owned(), value[..length].to_vec())),
            Err(rustix::io::Errno::NODATA) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
