//! The tree a layer becomes, written so that no name in it can lead out of it.
//!
//! Every parent directory is opened by `openat2` below the tree's own root with symbolic links
//! forbidden, and every last name is created or changed relative to that descriptor without
//! following it. Nobody else can write here meanwhile (the staging directory is root's, 0700).
//!
//! Repeated entries. A directory named again takes the later metadata, as real images have it.
//! A file, link or pipe named again replaces the earlier one, which is legal in the format. A
//! directory over anything else, or the reverse, is refused: no builder writes it.
//!
//! Whiteouts. `.wh.NAME` becomes overlayfs' character device 0/0, `.wh..wh..opq` its opaque
//! mark. A whiteout hides lower layers only: where the same layer also has NAME, in whatever
//! order, NAME stays, and a directory becomes opaque. Other `.wh..wh.` names are notes of the
//! long dead AUFS and are left out, as Docker leaves them out.
//!
//! A parent that has no entry of its own is made with mode 0755, owner 0:0 and time 0.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::error::Refusal;
use super::path::InnerPath;
use super::tar::{Entry, Kind};
use super::xattr::{Verdict, judge};

const OPAQUE: &str = "trusted.overlay.opaque";
const MODE_OF_IMPLIED: u32 = 0o755;

/// What the tree could not take.
#[derive(Debug)]
pub(super) enum TreeError {
    Refused(Refusal),
    Io(&'static str, io::Error),
}

impl From<Refusal> for TreeError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn failed(action: &'static str) -> impl FnOnce(Errno) -> TreeError {
    move |errno| TreeError::Io(action, errno.into())
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    New,
    Replaced,
    Whiteout,
    Opaque,
    LeftOut,
}

/// A name in a directory that is held open.
struct Place<'a> {
    parent: Rc<OwnedFd>,
    name: &'a OsStr,
}

/// A tree in the making.
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// The parent used last: archives are sorted, so it is mostly the next one too.
    last_parent: Option<(InnerPath, Rc<OwnedFd>)>,
    /// Applied at the end, because creating an entry changes its directory's time.
    directory_times: BTreeMap<InnerPath, Timestamps>,
    whiteouts: BTreeSet<InnerPath>,
    /// Whether some names stand for what is hidden in a lower layer.
    has_whiteouts: bool,
    pub(super) dropped_xattrs: u64,
}

impl Tree {
    /// Begins in an empty directory.
    pub(super) fn new(root: OwnedFd) -> Self {
        let mut directory_times = BTreeMap::new();
        directory_times.insert(InnerPath::default(), timestamps((0, 0)));
        Self {
            root: Rc::new(root),
            last_parent: None,
            directory_times,
            whiteouts: BTreeSet::new(),
            has_whiteouts: true,
            dropped_xattrs: 0,
        }
    }

    /// The same where every name is a name: below which there is nothing to hide.
    pub(super) fn without_whiteouts(root: OwnedFd) -> Self {
        Self {
            has_whiteouts: false,
            ..Self::new(root)
        }
    }

    /// Places one entry; `contents` writes what a file holds.
    pub(super) fn place<E: From<TreeError>>(
        &mut self,
        entry: &Entry,
        contents: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Placed, E> {
        let Some((parent, name)) = entry.path.split() else {
            return Ok(self.place_root(entry)?);
        };
        if !self.has_whiteouts {
            return self.place_name(entry, &parent, name, contents);
        }
        if parent
            .parts()
            .chain([name])
            .any(|part| part.starts_with(b".wh..wh."))
        {
            return if name == b".wh..wh..opq" {
                Ok(self.opaque(entry, &parent)?)
            } else {
                Ok(Placed::LeftOut)
            };
        }
        if parent.parts().any(|part| part.starts_with(b".wh.")) {
            return Err(TreeError::from(Refusal::ReservedName).into());
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            return Ok(self.whiteout(entry, &parent, hidden)?);
        }
        self.place_name(entry, &parent, name, contents)
    }

    fn place_name<E: From<TreeError>>(
        &mut self,
        entry: &Entry,
        parent: &InnerPath,
        name: &[u8],
        contents: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<Placed, E> {
        let parent = self.directory(parent)?;
        let place = Place {
            parent,
            name: OsStr::from_bytes(name),
        };
        match &entry.kind {
            Kind::Directory => Ok(self.place_directory(entry, &place)?),
            Kind::File => {
                let placed = self.clear(&entry.path, &place)?;
                let mut file = create_file(&place)?;
                contents(&mut file)?;
                self.finish_file(entry, &file)?;
                Ok(placed)
            }
            Kind::Symlink(target) => Ok(self.place_symlink(entry, &place, target)?),
            Kind::HardLink(target) => Ok(self.place_hard_link(entry, &place, target)?),
            Kind::Fifo => Ok(self.place_fifo(entry, &place)?),
        }
    }

    /// Sets the directories' times; the tree is done.
    pub(super) fn finish(self) -> Result<OwnedFd, TreeError> {
        let Self {
            root,
            last_parent,
            directory_times,
            ..
        } = self;
        drop(last_parent);
        for (path, times) in &directory_times {
            let directory = open_directory(&root, path, OFlags::RDONLY)?;
            rustix::fs::futimens(&directory, times).map_err(failed("set the times of"))?;
        }
        rustix::fs::syncfs(&*root).map_err(failed("write to disk"))?;
        Ok(Rc::into_inner(root).expect("no parent is held any more"))
    }

    fn place_root(&mut self, entry: &Entry) -> Result<Placed, TreeError> {
        if entry.kind != Kind::Directory {
            return Err(Refusal::KindChanged.into());
        }
        let root = Rc::clone(&self.root);
        self.finish_directory(entry, &root)?;
        Ok(Placed::Replaced)
    }

    fn place_directory(&mut self, entry: &Entry, place: &Place<'_>) -> Result<Placed, TreeError> {
        let placed = match place.stat()? {
            None => {
                place.make_directory()?;
                Placed::New
            }
            Some(stat) if is(&stat, FileType::Directory) => Placed::Replaced,
            Some(_) if self.whiteouts.remove(&entry.path) => {
                place.unlink()?;
                place.make_directory()?;
                mark_opaque(&place.open_directory()?)?;
                Placed::New
            }
            Some(_) => return Err(Refusal::KindChanged.into()),
        };
        let directory = place.open_directory()?;
        self.finish_directory(entry, &directory)?;
        Ok(placed)
    }

    fn place_symlink(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        target: &[u8],
    ) -> Result<Placed, TreeError> {
        let placed = self.clear(&entry.path, place)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), &*place.parent, place.name)
            .map_err(failed("create the link"))?;
        self.dropped_xattrs += judged(entry)?.len() as u64 + forgotten(entry)?;
        place.own_unfollowed(entry)?;
        Ok(placed)
    }

    fn place_fifo(&mut self, entry: &Entry, place: &Place<'_>) -> Result<Placed, TreeError> {
        let placed = self.clear(&entry.path, place)?;
        rustix::fs::mknodat(
            &*place.parent,
            place.name,
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .map_err(failed("create the pipe"))?;
        self.dropped_xattrs += judged(entry)?.len() as u64 + forgotten(entry)?;
        place.own_unfollowed(entry)?;
        // A pipe that was just made here is no link; the plain call cannot follow one.
        rustix::fs::chmodat(
            &*place.parent,
            place.name,
            Mode::from_raw_mode(entry.mode),
            AtFlags::empty(),
        )
        .map_err(failed("set the mode of"))?;
        Ok(placed)
    }

    fn place_hard_link(
        &mut self,
        entry: &Entry,
        place: &Place<'_>,
        target: &InnerPath,
    ) -> Result<Placed, TreeError> {
        let Some((parent, name)) = target.split() else {
            return Err(Refusal::LinkKind.into());
        };
        if *target == entry.path {
            return Err(Refusal::LinkKind.into());
        }
        let parent = match open_directory(&self.root, &parent, OFlags::PATH) {
            Err(TreeError::Refused(Refusal::ThroughFile)) => {
                return Err(Refusal::LinkMissing.into());
            }
            other => Rc::new(other?),
        };
        let source = Place {
            parent,
            name: OsStr::from_bytes(name),
        };
        match source.stat()? {
            None => return Err(Refusal::LinkMissing.into()),
            Some(stat) if is(&stat, FileType::RegularFile) || is(&stat, FileType::Symlink) => {}
            Some(_) => return Err(Refusal::LinkKind.into()),
        }
        let placed = self.clear(&entry.path, place)?;
        rustix::fs::linkat(
            &*source.parent,
            source.name,
            &*place.parent,
            place.name,
            AtFlags::empty(),
        )
        .map_err(failed("create the hard link"))?;
        Ok(placed)
    }

    fn whiteout(
        &mut self,
        entry: &Entry,
        parent: &InnerPath,
        hidden: &[u8],
    ) -> Result<Placed, TreeError> {
        if entry.kind != Kind::File || entry.size != 0 || matches!(hidden, b"" | b"." | b"..") {
            return Err(Refusal::BadWhiteout.into());
        }
        let path = parent.join(hidden);
        let place = Place {
            parent: self.directory(parent)?,
            name: OsStr::from_bytes(hidden),
        };
        match place.stat()? {
            Some(stat) if is(&stat, FileType::Directory) => {
                mark_opaque(&place.open_directory()?)?;
            }
            Some(_) => {}
            None => {
                rustix::fs::mknodat(
                    &*place.parent,
                    place.name,
                    FileType::CharacterDevice,
                    Mode::empty(),
                    rustix::fs::makedev(0, 0),
                )
                .map_err(failed("create the whiteout"))?;
                self.whiteouts.insert(path);
            }
        }
        Ok(Placed::Whiteout)
    }

    fn opaque(&mut self, entry: &Entry, directory: &InnerPath) -> Result<Placed, TreeError> {
        if entry.kind != Kind::File || entry.size != 0 {
            return Err(Refusal::BadWhiteout.into());
        }
        if directory.parts().any(|part| part.starts_with(b".wh.")) {
            return Err(Refusal::ReservedName.into());
        }
        self.directory(directory)?;
        mark_opaque(&open_directory(&self.root, directory, OFlags::RDONLY)?)?;
        Ok(Placed::Opaque)
    }

    /// Makes room for something that is not a directory.
    fn clear(&mut self, path: &InnerPath, place: &Place<'_>) -> Result<Placed, TreeError> {
        match place.stat()? {
            None => Ok(Placed::New),
            Some(stat) if is(&stat, FileType::Directory) => Err(Refusal::KindChanged.into()),
            Some(_) => {
                place.unlink()?;
                let was_whiteout = self.whiteouts.remove(path);
                Ok(if was_whiteout {
                    Placed::New
                } else {
                    Placed::Replaced
                })
            }
        }
    }

    /// Opens a directory of the tree, making what is missing of it.
    fn directory(&mut self, path: &InnerPath) -> Result<Rc<OwnedFd>, TreeError> {
        if path.is_root() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((last, directory)) = &self.last_parent
            && last == path
        {
            return Ok(Rc::clone(directory));
        }
        let opened = match open_directory(&self.root, path, OFlags::PATH) {
            Ok(directory) => Rc::new(directory),
            Err(TreeError::Refused(Refusal::ThroughFile)) => self.make_directories(path)?,
            Err(error) => return Err(error),
        };
        self.last_parent = Some((path.clone(), Rc::clone(&opened)));
        Ok(opened)
    }

    fn make_directories(&mut self, path: &InnerPath) -> Result<Rc<OwnedFd>, TreeError> {
        let mut parent = Rc::clone(&self.root);
        let mut walked = InnerPath::default();
        for part in path.parts() {
            walked = walked.join(part);
            let place = Place {
                parent,
                name: OsStr::from_bytes(part),
            };
            let was_whiteout = match place.stat()? {
                Some(stat) if is(&stat, FileType::Directory) => {
                    parent = Rc::new(place.open_directory()?);
                    continue;
                }
                Some(stat) if is(&stat, FileType::Symlink) => {
                    return Err(Refusal::ThroughSymlink.into());
                }
                Some(_) if self.whiteouts.remove(&walked) => {
                    place.unlink()?;
                    true
                }
                Some(_) => return Err(Refusal::ThroughFile.into()),
                None => false,
            };
            place.make_directory()?;
            let directory = place.open_directory()?;
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(MODE_OF_IMPLIED))
                .map_err(failed("set the mode of"))?;
            if was_whiteout {
                mark_opaque(&directory)?;
            }
            self.directory_times
                .insert(walked.clone(), timestamps((0, 0)));
            parent = Rc::new(directory);
        }
        Ok(parent)
    }

    fn finish_file(&mut self, entry: &Entry, file: &std::fs::File) -> Result<(), TreeError> {
        own(entry, file)?;
        self.set_xattrs(entry, file)?;
        rustix::fs::futimens(file, &timestamps(entry.mtime)).map_err(failed("set the times of"))
    }

    fn finish_directory(&mut self, entry: &Entry, directory: &OwnedFd) -> Result<(), TreeError> {
        own(entry, directory)?;
        self.set_xattrs(entry, directory)?;
        self.directory_times
            .insert(entry.path.clone(), timestamps(entry.mtime));
        Ok(())
    }

    fn set_xattrs(&mut self, entry: &Entry, file: impl AsFd) -> Result<(), TreeError> {
        self.dropped_xattrs += forgotten(entry)?;
        for (name, value) in judged(entry)? {
            // Only a program can have capabilities.
            if entry.kind == Kind::Directory && name == b"security.capability" {
                self.dropped_xattrs += 1;
                continue;
            }
            let set = rustix::fs::fsetxattr(
                file.as_fd(),
                OsStr::from_bytes(name),
                &value,
                XattrFlags::empty(),
            );
            match set {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) => self.dropped_xattrs += 1,
                Err(errno) => return Err(failed("set an extended attribute of")(errno)),
            }
        }
        Ok(())
    }
}

impl Place<'_> {
    fn stat(&self) -> Result<Option<Stat>, TreeError> {
        match rustix::fs::statat(&*self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("inspect")(errno)),
        }
    }

    fn unlink(&self) -> Result<(), TreeError> {
        rustix::fs::unlinkat(&*self.parent, self.name, AtFlags::empty()).map_err(failed("replace"))
    }

    fn make_directory(&self) -> Result<(), TreeError> {
        rustix::fs::mkdirat(&*self.parent, self.name, Mode::from_raw_mode(0o700))
            .map_err(failed("create the directory"))
    }

    fn open_directory(&self) -> Result<OwnedFd, TreeError> {
        rustix::fs::openat(
            &*self.parent,
            self.name,
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed("open the directory"))
    }

    /// Owner and times of something that cannot be opened.
    fn own_unfollowed(&self, entry: &Entry) -> Result<(), TreeError> {
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::chownat(&*self.parent, self.name, Some(uid), Some(gid), nofollow)
            .map_err(failed("set the owner of"))?;
        rustix::fs::utimensat(&*self.parent, self.name, &timestamps(entry.mtime), nofollow)
            .map_err(failed("set the times of"))
    }
}

fn create_file(place: &Place<'_>) -> Result<std::fs::File, TreeError> {
    rustix::fs::openat(
        &*place.parent,
        place.name,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::from_raw_mode(0o600),
    )
    .map(std::fs::File::from)
    .map_err(failed("create the file"))
}

/// Owner first: changing it clears the set-uid bit that the mode may bring.
fn own(entry: &Entry, file: impl AsFd) -> Result<(), TreeError> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::fchown(file.as_fd(), Some(uid), Some(gid)).map_err(failed("set the owner of"))?;
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(entry.mode))
        .map_err(failed("set the mode of"))
}

/// A name and the value to set.
type Xattr<'a> = (&'a [u8], Vec<u8>);

/// The attributes to set.
fn judged(entry: &Entry) -> Result<Vec<Xattr<'_>>, TreeError> {
    let mut kept = Vec::new();
    for (name, value) in &entry.xattrs {
        if let Verdict::Keep(value) = judge(name, value)? {
            kept.push((name.as_slice(), value));
        }
    }
    Ok(kept)
}

/// How many attributes are not to be set.
fn forgotten(entry: &Entry) -> Result<u64, TreeError> {
    Ok((entry.xattrs.len() - judged(entry)?.len()) as u64)
}

fn mark_opaque(directory: &OwnedFd) -> Result<(), TreeError> {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty())
        .map_err(failed("mark as opaque"))
}

/// Opens a directory below the root, never through a link.
fn open_directory(root: &OwnedFd, path: &InnerPath, access: OFlags) -> Result<OwnedFd, TreeError> {
    let name: &[u8] = if path.is_root() {
        b"."
    } else {
        path.as_bytes()
    };
    let opened = rustix::fs::openat2(
        root,
        OsStr::from_bytes(name),
        access | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV,
    );
    match opened {
        Ok(directory) => Ok(directory),
        Err(Errno::LOOP) => Err(Refusal::ThroughSymlink.into()),
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Refusal::ThroughFile.into()),
        Err(errno) => Err(failed("open the directory")(errno)),
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

fn timestamps((seconds, nanos): (i64, u32)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: i64::from(nanos),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
