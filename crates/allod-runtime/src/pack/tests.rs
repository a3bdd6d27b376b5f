//! What is packed and filled again is the same; what was damaged is refused.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};

use super::pack;
use crate::image::NoRoom;
use crate::image::unpack::{VolumeError, fill};

const LONG: &str = "a name that is so long that together with the folder that it is in, it does not fit into the field of a header, whatever is cut off";

/// A volume with one of everything.
fn volume(at: &Path) {
    fs::create_dir_all(at.join("deep").join(LONG)).unwrap();
    fs::write(at.join("deep").join(LONG).join("inside"), "far below").unwrap();
    fs::write(at.join(".wh.name"), "a name like any other").unwrap();
    fs::write(at.join("mine"), "words").unwrap();
    chown(at.join("mine"), Some(999), Some(1000)).unwrap();
    fs::set_permissions(at.join("mine"), fs::Permissions::from_mode(0o2640)).unwrap();
    let mine = File::open(at.join("mine")).unwrap();
    rustix::fs::fsetxattr(&mine, "user.colour", b"red\0blue", XattrFlags::empty()).unwrap();
    mine.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123))
        .unwrap();
    fs::hard_link(at.join("mine"), at.join("ours")).unwrap();
    symlink("/nowhere/at all", at.join("link")).unwrap();
    lchown(at.join("link"), Some(7), Some(8)).unwrap();
    let fifo = FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at.join("pipe"), fifo, Mode::from(0o600), 0).unwrap();
    let mut sparse = File::create(at.join("sparse")).unwrap();
    sparse.seek(SeekFrom::Start(40 * 1024 * 1024)).unwrap();
    sparse.write_all(b"end").unwrap();
    sparse.set_len(80 * 1024 * 1024).unwrap();
    fs::set_permissions(at, fs::Permissions::from_mode(0o1755)).unwrap();
    chown(at, Some(5), Some(6)).unwrap();
}

fn packed(volume: &Path, to: &Path) -> File {
    pack(volume, File::create(to).unwrap()).unwrap();
    File::open(to).unwrap()
}

fn filled(archive: File, at: &Path) -> Result<(), VolumeError> {
    fs::create_dir(at).unwrap();
    let root = rustix::fs::open(at, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    fill(archive, root, || Ok(()))
}

/// All that there is to know of everything in a tree, by its path.
fn described(at: &Path) -> Vec<(PathBuf, String)> {
    let (mut todo, mut found) = (vec![at.to_owned()], Vec::new());
    while let Some(path) = todo.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        let contents = if stat.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()));
            String::new()
        } else if stat.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if stat.is_file() {
            blake3::hash(&fs::read(&path).unwrap()).to_string()
        } else {
            String::new()
        };
        let links = if stat.is_dir() { 0 } else { stat.nlink() };
        let (times, owner) = ((stat.mtime(), stat.mtime_nsec()), (stat.uid(), stat.gid()));
        let text = format!("{:o} {owner:?} {times:?} {links} {contents}", stat.mode());
        found.push((path.strip_prefix(at).unwrap().to_owned(), text));
    }
    found.sort();
    found
}

#[test]
fn what_is_packed_and_filled_again_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    volume(&from);
    let archive = packed(&from, &dir.path().join("archive"));
    // Holes cost next to nothing on the way, and are holes again.
    assert!(archive.metadata().unwrap().len() < 1024 * 1024);
    filled(archive, &to).unwrap();
    assert_eq!(described(&to), described(&from));
    let sparse = fs::metadata(to.join("sparse")).unwrap();
    assert!(
        sparse.blocks() * 512 < 1024 * 1024,
        "{} blocks",
        sparse.blocks()
    );
    let inode = |name| fs::metadata(to.join(name)).unwrap().ino();
    assert_eq!(inode("mine"), inode("ours"));
    let mut value = [0; 16];
    let mine = File::open(to.join("mine")).unwrap();
    let length = rustix::fs::fgetxattr(&mine, "user.colour", &mut value[..]).unwrap();
    assert_eq!(&value[..length], b"red\0blue");
}

#[test]
fn an_archive_that_is_cut_off_or_bent_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    fs::create_dir(&from).unwrap();
    volume(&from);
    // Of so many zeros hardly a bit matters.
    fs::remove_file(from.join("sparse")).unwrap();
    packed(&from, &dir.path().join("archive"));
    let whole = fs::read(dir.path().join("archive")).unwrap();
    let archive = dir.path().join("bent");
    let (mut tries, mut refused) = (0, 0);
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        // The name, time and kind of machine that gzip writes of itself change nothing.
        let bent = (at >= 10).then_some(flipped);
        for bytes in [Some(whole[..at].to_vec()), bent].into_iter().flatten() {
            fs::write(&archive, &bytes).unwrap();
            tries += 1;
            let to = dir.path().join(format!("to-{tries}"));
            match filled(File::open(&archive).unwrap(), &to) {
                Err(_) => refused += 1,
                // Some bits only say how far back a zero is that is written again.
                Ok(()) => assert_eq!(described(&to), described(&from), "bent at {at}"),
            }
        }
    }
    assert!(
        refused > 60 && tries > 70,
        "{refused} of {tries} were refused"
    );
}

#[test]
fn a_disk_without_room_is_not_filled() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    volume(&from);
    let archive = packed(&from, &dir.path().join("archive"));
    fs::create_dir(&to).unwrap();
    let root = rustix::fs::open(&to, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let full = NoRoom {
        needed_bytes: 1 << 20,
        free_bytes: 0,
        kept_bytes: 1 << 20,
        free_files: 1,
        kept_files: 0,
    };
    let refused = fill(archive, root, || Err(full)).unwrap_err();
    assert!(matches!(refused, VolumeError::NoRoom(said) if said == full));
}
