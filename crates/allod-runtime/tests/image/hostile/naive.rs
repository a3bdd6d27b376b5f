//! A program that unpacks archives and believes what they say, as a control: what the corpus
//! attacks has to be lost with it, or the corpus would prove nothing.

use std::fs;
use std::path::Path;

/// Where a reader takes the size of an entry from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sizes {
    Header,
    Pax,
}

struct Entry<'a> {
    name: String,
    flag: u8,
    link: String,
    contents: &'a [u8],
}

fn text(field: &[u8]) -> String {
    let end = field
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn value(records: &str, key: &str) -> Option<String> {
    let line = records
        .lines()
        .find_map(|line| line.split_once(' ')?.1.strip_prefix(key));
    line.and_then(|line| line.strip_prefix('='))
        .map(str::to_owned)
}

fn entries(archive: &[u8], sizes: Sizes) -> Vec<Entry<'_>> {
    let mut found = Vec::new();
    let (mut at, mut long_name, mut records) = (0, None, String::new());
    while let Some(header) = archive.get(at..at + 512) {
        if header.iter().all(|byte| *byte == 0) {
            break;
        }
        let octal = text(&header[124..136]);
        let mut size = usize::from_str_radix(octal.trim(), 8).unwrap_or(0);
        let flag = header[156];
        if let (b'0', Sizes::Pax, Some(said)) = (flag, sizes, value(&records, "size")) {
            size = said.parse().unwrap_or(0);
        }
        at += 512;
        let contents = &archive[at..archive.len().min(at + size)];
        at += size.next_multiple_of(512);
        match flag {
            b'x' => records = text(contents),
            b'L' => long_name = Some(text(contents)),
            _ => {
                let (prefix, name) = (text(&header[345..500]), text(&header[..100]));
                let plain = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}/{name}")
                };
                let name = long_name.take().or_else(|| value(&records, "path"));
                records.clear();
                found.push(Entry {
                    name: name.unwrap_or(plain),
                    flag,
                    link: text(&header[157..257]),
                    contents,
                });
            }
        }
    }
    found
}

/// The names that a reader sees.
pub(super) fn names(archive: &[u8], sizes: Sizes) -> Vec<String> {
    let entries = entries(archive, sizes);
    entries.into_iter().map(|entry| entry.name).collect()
}

/// Unpacks into `root`, by paths, and goes on after whatever fails.
pub(super) fn unpack(archive: &[u8], root: &Path) {
    for entry in entries(archive, Sizes::Pax) {
        let path = root.join(&entry.name);
        let Some(parent) = path.parent() else {
            continue;
        };
        let _ = fs::create_dir_all(parent);
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let hidden = name.as_deref().and_then(|name| name.strip_prefix(".wh."));
        let _ = match (entry.flag, hidden) {
            (_, Some(".wh..opq")) => {
                for inner in fs::read_dir(parent).into_iter().flatten().flatten() {
                    let _ = fs::remove_file(inner.path());
                }
                Ok(())
            }
            (_, Some(hidden)) => fs::remove_file(parent.join(hidden)),
            (b'1', None) => fs::hard_link(root.join(&entry.link), &path),
            (b'2', None) => std::os::unix::fs::symlink(&entry.link, &path),
            (b'5', None) => fs::create_dir_all(&path),
            _ => fs::write(&path, entry.contents),
        };
    }
}
