//! An image does not fill the disk: on a small one of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use allod_runtime::image::{
    Digest, ImportError, Limits, NoRoom, PullError, Puller, UnpackError, import, unpack,
};

use crate::fixture::{GZIP, Layer, PLAIN, Stores, block_on, documents, gzip, host_architecture};
use crate::server::{Answer, Server};
use crate::tar::Tar;

const MIB: u64 = 1 << 20;
/// What images leave free here.
const KEPT: u64 = 8 * MIB;

/// A file system in memory, gone when dropped.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "none"]);
        assert!(mount.arg(directory.path()).status().unwrap().success());
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).unwrap();
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

fn limits() -> Limits {
    Limits {
        free_bytes_min: KEPT,
        free_files_min: 500,
        parallel_layers: 1,
        ..crate::fixture::limits()
    }
}

/// Many bytes that no two layers have in common.
fn noise(seed: u32, bytes: u64) -> Vec<u8> {
    let numbers = (0..u32::try_from(bytes / 4).unwrap()).map(|number| number ^ seed);
    numbers.flat_map(u32::to_le_bytes).collect()
}

fn layer(seed: u32, bytes: u64) -> Layer {
    Layer::plain(Tar::default().file("big", &noise(seed, bytes)).end())
}

#[track_caller]
fn was_near_the_brim(full: &NoRoom) {
    assert_eq!(full.kept_bytes, KEPT);
    // It was asked again before much was written.
    assert!(full.free_bytes > KEPT - 3 * MIB, "{full:?}");
    assert!(full.needed_bytes > 0, "{full:?}");
    assert!(full.to_string().contains("allod delete"), "{full}");
}

#[test]
fn a_layer_that_would_fill_the_disk_is_not_unpacked() {
    let disk = Disk::new("size=48m");
    let stores = Stores::on(disk.path());
    let archive = Tar::default().file("big", &vec![0; 60 << 20]).end();
    let blob = gzip(&archive);
    stores.blobs.put(&blob).unwrap();
    let free = disk.free();
    let failed = stores.unpack_blob(&blob, &archive, GZIP, &limits());
    let Err(UnpackError::NoRoom { source, .. }) = failed else {
        panic!("{failed:?}");
    };
    was_near_the_brim(&source);
    assert_eq!(stores.layer_names(), [""; 0]);
    assert!(disk.free() + MIB > free, "what was begun is left");
}

#[test]
fn a_layer_of_many_files_is_not_unpacked_where_few_can_be_made() {
    let disk = Disk::new("size=48m,nr_inodes=2000");
    let stores = Stores::on(disk.path());
    let many = (0..3_000).fold(Tar::default(), |tar, number| tar.dir(&number.to_string()));
    let archive = many.end();
    let failed = stores.unpack_blob(&archive, &archive, PLAIN, &limits());
    let Err(UnpackError::NoRoom { source, .. }) = failed else {
        panic!("{failed:?}");
    };
    assert_eq!(source.free_files, 499, "{source:?}");
    assert_eq!(stores.layer_names(), [""; 0]);
}

/// A registry with an image of two layers; `when_asked` is told of each request for one of them.
fn registry(layers: &[Layer], when_asked: impl Fn(usize) + Send + 'static) -> Server {
    let (config, manifest) = documents(layers, host_architecture());
    let blobs: Vec<Vec<u8>> = layers.iter().map(|layer| layer.blob.clone()).collect();
    let asked = std::cell::Cell::new(0);
    Server::start(move |request| {
        let wanted = request.path.rsplit('/').next().unwrap();
        let is = |bytes: &&Vec<u8>| Digest::of(bytes).to_string() == wanted;
        if wanted == "v1" || is(&&manifest) {
            return Answer::ok(&manifest);
        }
        if is(&&config) {
            return Answer::ok(&config);
        }
        asked.set(asked.get() + 1);
        when_asked(asked.get());
        Answer::ok(blobs.iter().find(is).unwrap())
    })
}

/// The files of an image store, notes and locks left out.
fn fetched(stores: &Stores) -> Vec<String> {
    let mut names = Vec::new();
    for place in ["blobs/sha256", "partial", "images"] {
        for file in fs::read_dir(stores.directory.path().join("image").join(place)).unwrap() {
            names.push(format!("{place}/{:?}", file.unwrap().file_name()));
        }
    }
    names
}

fn no_room(puller: &Puller, server: &Server) -> NoRoom {
    let failed = block_on(puller.pull(&server.reference(), None, None));
    let Err(PullError::NoRoom { source, .. }) = failed else {
        panic!("{failed:?}");
    };
    source
}

#[test]
fn an_image_that_does_not_fit_is_not_fetched() {
    let disk = Disk::new("size=32m");
    let stores = Stores::on(disk.path());
    let puller = Puller::new(stores.blobs.clone(), limits());
    let server = registry(&[layer(1, 15 * MIB), layer(1 << 30, 15 * MIB)], |count| {
        panic!("asked for {count}")
    });
    let full = no_room(&puller, &server);
    assert!(full.needed_bytes > 30 * MIB, "{full:?}");
    assert_eq!(fetched(&stores), [""; 0]);
}

#[test]
fn a_disk_that_fills_while_an_image_comes_ends_it_and_nothing_is_left() {
    let disk = Disk::new("size=64m");
    let stores = Stores::on(disk.path());
    let puller = Puller::new(stores.blobs.clone(), limits());
    let filler = disk.path().join("filler");
    let fills = filler.clone();
    // When the second layer is asked for, somebody takes all but a little.
    let size = 64 * MIB;
    let server = registry(
        &[layer(1, 10 * MIB), layer(1 << 30, 10 * MIB)],
        move |count| {
            if count == 2 {
                fs::write(
                    &fills,
                    vec![1; usize::try_from(size - 10 * MIB - KEPT - 4 * MIB).unwrap()],
                )
                .unwrap();
            }
        },
    );
    let full = no_room(&puller, &server);
    was_near_the_brim(&full);
    assert_eq!(fetched(&stores), [""; 0]);
    // With room, it is fetched.
    fs::remove_file(filler).unwrap();
    block_on(puller.pull(&server.reference(), None, None)).unwrap();
}

#[test]
fn a_file_with_images_is_not_taken_in_where_it_does_not_fit() {
    let disk = Disk::new("size=32m");
    let stores = Stores::on(disk.path());
    let archive = Tar::default().file("layer", &vec![0; 40 << 20]).end();
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &gzip(&archive)).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let failed = import::archive(file, &stores.blobs, &limits());
    let Err(ImportError::NoRoom(full)) = failed else {
        panic!("{failed:?}");
    };
    was_near_the_brim(&full);
    assert_eq!(fetched(&stores), [""; 0]);
}

#[test]
fn the_layers_of_an_image_are_bounded_together() {
    let stores = Stores::new();
    let layers = [layer(1, MIB), layer(1 << 30, MIB), layer(3 << 29, MIB)];
    let (config, manifest) = documents(&layers, host_architecture());
    let blobs = layers.iter().map(|layer| &layer.blob);
    for bytes in [&config, &manifest].into_iter().chain(blobs) {
        stores.blobs.put(bytes).unwrap();
    }
    let bounded = |bytes: u64| Limits {
        image_unpacked_bytes_max: bytes,
        ..limits()
    };
    let manifest = Digest::of(&manifest);
    let unpacked = |limits| unpack::image(manifest, &stores.blobs, &stores.layers, &limits);
    for bytes in [9 * MIB / 4, 5 * MIB / 2] {
        let failed = unpacked(bounded(bytes));
        let is_right =
            matches!(failed, Err(UnpackError::ImageTooLarge { limit }) if limit == bytes);
        assert!(is_right, "{failed:?}");
        assert_eq!(stores.layer_names().len(), 2);
    }
    unpacked(bounded(4 * MIB)).unwrap();
    // Also where all of them are here already.
    let failed = unpacked(bounded(5 * MIB / 2));
    assert!(
        matches!(failed, Err(UnpackError::ImageTooLarge { .. })),
        "{failed:?}"
    );
}
