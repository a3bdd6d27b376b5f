//! The store between its owners: what collecting removes, and what a crash leaves.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, SystemTime};

use allod_runtime::image::{Budget, Digest, Freed, ImageRecord, Limits, StoreError, unpack};

use crate::fixture::{Layer, Stores, documents, host_architecture};
use crate::tar::Tar;

/// An image in the store, as a pull leaves it, last used so long ago.
fn add(stores: &Stores, layers: &[Layer], hours_ago: u64) -> ImageRecord {
    let (config, manifest) = documents(layers, host_architecture());
    for bytes in [&config, &manifest]
        .into_iter()
        .chain(layers.iter().map(|layer| &layer.blob))
    {
        stores.blobs.put(bytes).unwrap();
    }
    let record = stores.blobs.verified_record(Digest::of(&manifest)).unwrap();
    stores.blobs.save_record(&record).unwrap();
    for layer in &record.layers {
        let blob = stores.blobs.open_blob(layer.digest).unwrap();
        unpack::layer(blob, layer, &stores.layers, &Limits::default()).unwrap();
    }
    let used = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
    let images = stores.directory.path().join("image/images");
    let note = images.join(format!("{}.json", record.manifest_digest.hex()));
    fs::File::options()
        .write(true)
        .open(note)
        .unwrap()
        .set_modified(used)
        .unwrap();
    record
}

fn collect_layers(stores: &Stores, keep: &[Digest], bytes_max: u64) -> Result<Freed, StoreError> {
    let keep = || Ok(keep.iter().copied().collect());
    stores.layers.collect(keep, &Budget::bytes(bytes_max))
}

fn layer(name: &str) -> Layer {
    Layer::plain(Tar::default().file(name, &[1; 10_000]).end())
}

#[test]
fn the_longest_unused_goes_first_and_shared_blobs_stay() {
    let stores = Stores::new();
    let old = add(&stores, &[layer("base"), layer("old")], 3);
    let older = add(&stores, &[layer("base"), layer("older")], 5);
    let new = add(&stores, &[layer("base"), layer("new")], 1);
    let has = |record: &ImageRecord| stores.blobs.verified_record(record.manifest_digest).is_ok();

    // Everything fits: nothing goes.
    let freed = stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(u64::MAX))
        .unwrap();
    assert_eq!(freed, Freed::default());
    // Room for two layers less: the oldest image goes, the base it shares does not.
    let freed = stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(40_000))
        .unwrap();
    assert_eq!((freed.images, freed.blobs), (1, 3), "{freed:?}");
    assert!(!has(&older) && has(&old) && has(&new));
    assert!(stores.blobs.has_blob(older.layers[0].digest));
    // No room at all: what is in use stays.
    let keep = BTreeSet::from([old.manifest_digest]);
    let freed = stores.blobs.collect(&keep, &Budget::bytes(0)).unwrap();
    assert_eq!(freed.images, 1, "{freed:?}");
    assert!(has(&old) && !has(&new));
    assert!(
        old.layers
            .iter()
            .all(|layer| stores.blobs.has_blob(layer.digest))
    );
    let freed = stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(0))
        .unwrap();
    assert_eq!((freed.images, freed.blobs), (1, 4), "{freed:?}");
    let blobs = stores.directory.path().join("image/blobs/sha256");
    assert_eq!(fs::read_dir(blobs).unwrap().count(), 0);
}

#[test]
fn use_makes_an_image_young() {
    let stores = Stores::new();
    let first = add(&stores, &[layer("first")], 5);
    let second = add(&stores, &[layer("second")], 1);
    assert_eq!(
        stores.blobs.record(first.manifest_digest).unwrap().as_ref(),
        Some(&first)
    );
    stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(15_000))
        .unwrap();
    assert!(
        stores
            .blobs
            .record(first.manifest_digest)
            .unwrap()
            .is_some()
    );
    assert!(
        stores
            .blobs
            .record(second.manifest_digest)
            .unwrap()
            .is_none()
    );
}

#[test]
fn layers_in_use_stay_and_dead_unpackings_go() {
    let stores = Stores::new();
    let record = add(&stores, &[layer("a"), layer("b")], 1);
    let (a, b) = (record.layers[0].diff_id, record.layers[1].diff_id);
    let directory = stores.directory.path().join("root/layers");
    fs::create_dir_all(directory.join("staging-1-0-0/fs/deep/er")).unwrap();
    // A layer whose marker is gone is half removed: nobody may mount it.
    let broken = Digest::of(b"broken");
    fs::create_dir_all(directory.join(broken.hex()).join("fs")).unwrap();
    assert!(!stores.layers.has(broken));

    let freed = collect_layers(&stores, &[a], 0).unwrap();
    assert_eq!(
        (freed.layers, freed.leftovers, freed.bytes),
        (1, 2, 10_000),
        "{freed:?}"
    );
    assert!(stores.layers.has(a) && !stores.layers.has(b));
    assert_eq!(stores.layer_names(), [a.hex()]);
    assert_eq!(stores.layers.stats(a).unwrap().bytes, 10_000);
}

#[test]
fn age_decides_where_room_does_not() {
    let stores = Stores::new();
    let old = add(&stores, &[layer("old")], 30);
    let middle = add(&stores, &[layer("middle")], 5);
    let new = add(&stores, &[layer("new")], 0);
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let has = |record: &ImageRecord| stores.blobs.verified_record(record.manifest_digest).is_ok();
    // All of them fit, and the oldest is too old.
    let aged = Budget {
        idle_max: hours(24),
        ..Budget::bytes(u64::MAX)
    };
    stores.blobs.collect(&BTreeSet::new(), &aged).unwrap();
    assert!(!has(&old) && has(&middle) && has(&new));
    // None fits, and the youngest is too young.
    let young = Budget {
        idle_min: hours(1),
        ..Budget::bytes(0)
    };
    stores.blobs.collect(&BTreeSet::new(), &young).unwrap();
    assert!(!has(&middle) && has(&new));
    // The same for layers, which were all unpacked just now.
    let nothing = || Ok::<_, StoreError>(BTreeSet::new());
    assert_eq!(stores.layers.collect(nothing, &young).unwrap().layers, 0);
    assert_eq!(stores.layers.collect(nothing, &aged).unwrap().layers, 0);
    let forgotten = &old.layers[0].diff_id;
    let marker = stores.layers.tree(*forgotten).with_file_name("layer.json");
    let marker = fs::File::options().write(true).open(marker).unwrap();
    marker.set_modified(SystemTime::now() - hours(30)).unwrap();
    assert_eq!(stores.layers.collect(nothing, &aged).unwrap().layers, 1);
    assert!(!stores.layers.has(*forgotten));
    stores.layers.mark_used(middle.layers[0].diff_id).unwrap();
    let uses = stores.layers.uses().unwrap();
    let by_age: Vec<bool> = uses.iter().map(|layer| layer.bytes == 10_000).collect();
    assert_eq!(by_age, [true, true]);
}

#[test]
fn a_half_removed_layer_is_unpacked_again() {
    let stores = Stores::new();
    let record = add(&stores, &[layer("a")], 1);
    let wanted = &record.layers[0];
    let tree = stores.layers.tree(wanted.diff_id);
    fs::remove_file(tree.parent().unwrap().join("layer.json")).unwrap();
    fs::remove_file(tree.join("a")).unwrap();
    assert!(!stores.layers.has(wanted.diff_id));
    let blob = stores.blobs.open_blob(wanted.digest).unwrap();
    unpack::layer(blob, wanted, &stores.layers, &Limits::default()).unwrap();
    assert_eq!(fs::read(tree.join("a")).unwrap(), [1; 10_000]);
    assert_eq!(stores.layer_names(), [wanted.diff_id.hex()]);
}

#[test]
fn nothing_is_collected_under_a_pull_or_an_unpacking() {
    let stores = Stores::new();
    let blobs = stores.blobs.in_use().unwrap();
    let layers = stores.layers.in_use().unwrap();
    let refused = stores.blobs.collect(&BTreeSet::new(), &Budget::bytes(0));
    assert!(
        matches!(refused, Err(StoreError::Busy { .. })),
        "{refused:?}"
    );
    let refused = collect_layers(&stores, &[], 0);
    assert!(
        matches!(refused, Err(StoreError::Busy { .. })),
        "{refused:?}"
    );
    drop((blobs, layers));
    stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(0))
        .unwrap();
    collect_layers(&stores, &[], 0).unwrap();
}

#[test]
fn a_note_without_its_blobs_is_no_image() {
    let stores = Stores::new();
    let record = add(&stores, &[layer("a")], 1);
    stores.blobs.discard(record.layers[0].digest).unwrap();
    assert_eq!(stores.blobs.record(record.manifest_digest).unwrap(), None);
    let missing = stores.blobs.open_blob(record.layers[0].digest);
    assert!(
        matches!(missing, Err(StoreError::Missing { .. })),
        "{missing:?}"
    );
    let images = stores.directory.path().join("image/images");
    fs::write(images.join("nonsense.json"), b"{").unwrap();
    let freed = stores
        .blobs
        .collect(&BTreeSet::new(), &Budget::bytes(u64::MAX))
        .unwrap();
    assert_eq!(freed.leftovers, 1);
}

#[test]
fn unpackings_of_one_layer_at_the_same_time_agree() {
    let stores = Stores::new();
    let wanted = layer("a");
    stores.blobs.put(&wanted.blob).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let unpacked = stores.unpack_blob(
                    &wanted.blob,
                    &wanted.archive,
                    wanted.media_type,
                    &Limits::default(),
                );
                unpacked.unwrap();
            });
        }
    });
    assert_eq!(stores.layer_names(), [wanted.diff_id().hex()]);
}
