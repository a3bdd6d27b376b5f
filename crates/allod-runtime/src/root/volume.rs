//! Volumes: made, listed, removed, packed into an archive and filled from one.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::host::{Host, not_found, refuse};
use super::work::find_user;
use crate::container::seed;
use crate::image::{LayerStore, Limits, Room, unpack};
use crate::pack;
use crate::request::Refusal;
use crate::workload::VolumeName;

const HAS_DATA: &str = "it has data already";

/// Makes it unless it is there.
pub(super) fn ensure(host: &Host, name: &VolumeName) -> Result<(), Refusal> {
    match std::fs::DirBuilder::new()
        .mode(0o755)
        .create(host.layout.volume(name))
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(refuse("make the volume")(error))
        }
        _ => Ok(()),
    }
}

/// Those that are here.
pub(super) fn list(host: &Host) -> Result<Vec<VolumeName>, Refusal> {
    let entries = std::fs::read_dir(host.layout.volumes()).map_err(refuse("list the volumes"))?;
    let mut found: Vec<VolumeName> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes it and its data, unless a workload has it.
pub(super) fn remove(host: &Host, name: &VolumeName) -> Result<(), Refusal> {
    let path = host.layout.volume(name);
    if !path.exists() {
        return Err(not_found(format!("volume {name}")));
    }
    must_be_free(host, name)?;
    std::fs::remove_dir_all(path).map_err(refuse("remove the volume"))
}

/// Writes its archive to `out`. Whoever uses it goes on meanwhile.
pub(super) fn pack(host: &Host, name: &VolumeName, out: File) -> Result<(), Refusal> {
    let path = host.layout.volume(name);
    if !path.exists() {
        return Err(not_found(format!("volume {name}")));
    }
    pack::pack(&path, out).map_err(refuse("pack the volume"))
}

/// Fills it from an archive. It grows beside its place, as what an image brings does, and takes it as a whole.
pub(super) fn fill(host: &Host, name: &VolumeName, archive: File) -> Result<(), Refusal> {
    let (path, volumes) = (host.layout.volume(name), host.layout.volumes());
    must_be_free(host, name)?;
    must_be_empty(name, &path)?;
    let unfinished = seed::unfinished(&volumes);
    let room = Room::on_disk_of(&volumes, &Limits::default());
    let has_room = || room.fits(0);
    let grow = || {
        let root = open_new(&unfinished).map_err(refuse("make the volume"))?;
        let marked = root.try_clone().map_err(refuse("make the volume"))?;
        unpack::fill(archive, root, has_room).map_err(|error| Refusal::Invalid {
            what: format!("the archive of the volume: {error}"),
        })?;
        seed::mark_unused(&marked).map_err(refuse("mark the volume"))?;
        // Whoever makes a workload has its record written before it mounts, and holds the layers until it has.
        let layers =
            LayerStore::open(host.layout.directory()).map_err(refuse("open the layers"))?;
        let _alone = layers.alone().map_err(refuse("hold the layers"))?;
        must_be_free(host, name)?;
        // Of an earlier import that came no further.
        if seed::is_unused(&path) {
            std::fs::remove_dir_all(&path).map_err(refuse("remove what was filled before"))?;
        }
        match std::fs::rename(&unfinished, &path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(busy(name, HAS_DATA.to_owned()))
            }
            renamed => renamed.map_err(refuse("put the volume in its place")),
        }
    };
    let grown = grow();
    if grown.is_err() {
        let _ = std::fs::remove_dir_all(&unfinished);
    }
    grown?;
    let synced = File::open(&volumes).and_then(|volumes| volumes.sync_all());
    synced.map_err(refuse("write the volume to disk"))
}

fn open_new(path: &Path) -> io::Result<std::os::fd::OwnedFd> {
    std::fs::DirBuilder::new().mode(0o755).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

fn must_be_free(host: &Host, name: &VolumeName) -> Result<(), Refusal> {
    match find_user(host, |record| record.volumes.contains(name))? {
        Some(id) => Err(busy(name, format!("workload {id} has it"))),
        None => Ok(()),
    }
}

fn must_be_empty(name: &VolumeName, path: &Path) -> Result<(), Refusal> {
    let mut found = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(refuse("look into the volume"))?,
    };
    match found.next() {
        Some(_) if !seed::is_unused(path) => Err(busy(name, HAS_DATA.to_owned())),
        _ => Ok(()),
    }
}

fn busy(name: &VolumeName, why: String) -> Refusal {
    Refusal::Busy {
        what: format!("volume {name}"),
        why,
    }
}
