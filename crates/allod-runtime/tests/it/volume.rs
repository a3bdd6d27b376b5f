//! The data of a volume: packed while a workload has it, and put in the place of a volume that nobody has used.

use std::fs::{self, File};
use std::path::Path;

use allod_runtime::{ClientError, Refusal, VolumeMount, VolumeName, WorkloadSpec};

use crate::house::House;

fn spec(house: &House, number: u8, volume: &VolumeName, script: &str) -> WorkloadSpec {
    let mut spec = house.spec(number, script);
    spec.volumes = vec![VolumeMount {
        name: volume.clone(),
        target: "/data".into(),
        read_only: false,
        bytes_max: None,
    }];
    spec
}

fn is_busy(refused: Result<(), ClientError>, why: &str) {
    match refused {
        Err(ClientError::Refused(Refusal::Busy { why: found, .. })) if found.contains(why) => {}
        other => panic!("not busy because of {why:?}: {other:?}"),
    }
}

/// What lies in the folder of volumes, those in the making included.
fn there(house: &House) -> Vec<String> {
    let entries = fs::read_dir(house.path().join("volumes")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn packed(house: &House, volume: &VolumeName, to: &Path) -> File {
    let archive = File::create(to).unwrap();
    house.client.pack_volume(volume.clone(), &archive).unwrap();
    File::open(to).unwrap()
}

#[test]
fn data_are_packed_while_they_are_used_and_put_where_nobody_has_any() {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let (one, two): (VolumeName, VolumeName) = ("one".parse().unwrap(), "two".parse().unwrap());
    let missing = house
        .client
        .pack_volume(one.clone(), File::create(dir.path().join("none")).unwrap());
    assert!(matches!(
        missing,
        Err(ClientError::Refused(Refusal::NotFound { .. }))
    ));
    house.client.ensure_volume(one.clone()).unwrap();
    let writes = spec(
        &house,
        1,
        &one,
        "echo words >/data/page; chown 7 /data/page",
    );
    let id = writes.id;
    house.run(writes);
    let archive = dir.path().join("archive");
    let used = packed(&house, &one, &archive);
    is_busy(house.client.fill_volume(one.clone(), &used), "has it");
    house.client.delete(id).unwrap();

    // Its user is gone, and its data are its owner's all the same.
    is_busy(house.client.fill_volume(one, &used), "has data already");

    // An import that came no further may be done again; what a workload has had is never replaced.
    house.client.fill_volume(two.clone(), &used).unwrap();
    let again = File::open(&archive).unwrap();
    house.client.fill_volume(two.clone(), &again).unwrap();
    let reads = spec(
        &house,
        2,
        &two,
        "cat /data/page; stat -c %u /data/page; echo more >>/data/page",
    );
    let id = reads.id;
    let (_, output) = house.run(reads);
    assert_eq!(output, "words\n7");
    house.client.delete(id).unwrap();
    let again = File::open(&archive).unwrap();
    is_busy(house.client.fill_volume(two, &again), "has data already");
    let page = house.path().join("volumes/two/page");
    assert_eq!(fs::read_to_string(page).unwrap(), "words\nmore\n");
    assert_eq!(there(&house), ["one", "two"]);
}

#[test]
fn a_damaged_archive_leaves_nothing() {
    let house = House::new();
    let dir = tempfile::tempdir().unwrap();
    let (one, two): (VolumeName, VolumeName) = ("one".parse().unwrap(), "two".parse().unwrap());
    house.client.ensure_volume(one.clone()).unwrap();
    fs::write(house.path().join("volumes/one/page"), "words".repeat(1000)).unwrap();
    let archive = dir.path().join("archive");
    packed(&house, &one, &archive);
    let whole = fs::read(&archive).unwrap();
    for bytes in [
        &whole[..whole.len() - 1],
        &whole[..whole.len() / 2],
        b"none",
    ] {
        fs::write(&archive, bytes).unwrap();
        let refused = house
            .client
            .fill_volume(two.clone(), File::open(&archive).unwrap());
        assert!(matches!(
            refused,
            Err(ClientError::Refused(Refusal::Invalid { .. }))
        ));
        assert_eq!(there(&house), ["one"]);
    }
}
