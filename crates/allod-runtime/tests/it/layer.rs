//! Layers travel as descriptors, and only what their digest says becomes a layer.

use std::io::Write;

use allod_runtime::image::{Budget, Digest};
use allod_runtime::{ClientError, EndCause, HostObjectKind, LayerId, Refusal};
use rustix::process::{Pid, Signal, kill_process};

use crate::house::{House, until};

/// A tar archive with one file.
fn archive(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", contents.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(contents);
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    bytes
}

fn file(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

const MEDIA_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

#[test]
fn a_layer_is_unpacked_used_and_removed_when_nobody_needs_it() {
    let house = House::new();
    let bytes = archive("greeting", b"from the second layer\n");
    let layer: LayerId = Digest::of(&bytes).to_string().parse().unwrap();
    for _again in 0..2 {
        house
            .client
            .unpack_layer(layer, MEDIA_TYPE, file(&bytes), u64::MAX)
            .unwrap();
    }
    assert!(house.client.layers().unwrap().contains(&layer));

    let mut spec = house.spec(1, "cat /greeting; rm /greeting; ls /greeting");
    spec.image.layers.push(layer);
    let id = spec.id;
    let (_, output) = house.run(spec);
    assert!(output.starts_with("from the second layer"), "{output}");
    assert!(output.contains("No such file"), "{output}");
    let busy = house.client.remove_layer(layer).unwrap_err();
    assert!(
        matches!(busy, ClientError::Refused(Refusal::Busy { .. })),
        "{busy:?}"
    );
    house.client.delete(id).unwrap();
    // What a workload did to its files never reached the layer.
    let kept = house
        .path()
        .join("layers")
        .join(layer.hex())
        .join("fs/greeting");
    assert!(kept.exists());
    house.client.remove_layer(layer).unwrap();
    assert!(!house.client.layers().unwrap().contains(&layer));
}

#[test]
fn a_layer_that_is_not_what_it_is_called_is_refused_and_leaves_nothing() {
    let house = House::new();
    let before = house.client.layers().unwrap();
    let bytes = archive("file", b"contents");
    let layer = LayerId([7; 32]);
    let refused = house
        .client
        .unpack_layer(layer, MEDIA_TYPE, file(&bytes), u64::MAX)
        .unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused(Refusal::BadLayer { .. })),
        "{refused:?}"
    );
    assert_eq!(house.client.layers().unwrap(), before);
    let mut spec = house.spec(1, "true");
    spec.image.layers.push(layer);
    let missing = house.client.create(spec).unwrap_err();
    let ClientError::Refused(Refusal::NotStarted { cause }) = missing else {
        panic!("{missing:?}");
    };
    assert_eq!(cause, EndCause::ImageMissing { layer });
}

/// Every process that has something of a layer mounted.
fn views(layer: LayerId) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mounted = processes.filter(|process| {
        let mounts = std::fs::read_to_string(process.path().join("mountinfo"));
        mounts.is_ok_and(|mounts| mounts.contains(&layer.hex()))
    });
    mounted
        .map(|process| process.path().display().to_string())
        .collect()
}

#[test]
fn a_layer_unpacks_to_no_more_than_was_allowed() {
    let house = House::new();
    let bytes = archive("file", &[7; 10_000]);
    let layer: LayerId = Digest::of(&bytes).to_string().parse().unwrap();
    let unpack = |bytes_max| {
        let client = &house.client;
        client.unpack_layer(layer, MEDIA_TYPE, file(&bytes), bytes_max)
    };
    let refused = unpack(9_000).unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused(Refusal::TooLarge { .. })),
        "{refused:?}"
    );
    assert!(!house.client.layers().unwrap().contains(&layer));
    assert_eq!(unpack(20_000).unwrap(), 10_000);
}

#[test]
fn a_layer_that_was_taken_up_is_young() {
    let house = House::new();
    house.lay(3, |root| std::fs::write(root.join("file"), "x").unwrap());
    let layer = House::layer(3);
    let marker = house.layer_path(3).with_file_name("layer.json");
    let marker = std::fs::File::options().write(true).open(marker).unwrap();
    marker.set_modified(std::time::UNIX_EPOCH).unwrap();
    let absent = House::layer(4);
    let here = house.client.use_layers(vec![absent, layer]).unwrap();
    assert_eq!(here, [(layer, 4096)]);
    let young = Budget {
        idle_min: std::time::Duration::from_secs(3600),
        ..Budget::bytes(0)
    };
    house.client.collect_layers(&[], young).unwrap();
    assert!(house.client.layers().unwrap().contains(&layer));
}

#[test]
fn collection_takes_what_nobody_mounts_and_nothing_else() {
    let mut house = House::new();
    let (mine, yours, nobodys) = (House::layer(1), House::layer(2), House::layer(3));
    for number in 1..=3 {
        house.lay(number, |root| {
            std::fs::write(root.join("file"), "x\n").unwrap()
        });
    }
    let mut runs = house.spec(1, "while cat /file && sleep 0.05; do :; done");
    runs.image.layers.push(mine);
    let runs_id = runs.id;
    let mut ended = house.spec(2, "cat /file");
    ended.image.layers.push(yours);
    let ended_id = ended.id;
    house.client.create(runs).unwrap();
    house.run(ended);
    // What somebody is about to start stays as well, and what was just used.
    let (all, none) = (Budget::bytes(0), Budget::bytes(u64::MAX));
    let young = Budget {
        idle_min: std::time::Duration::from_secs(3600),
        ..all
    };
    for (keep, budget) in [(&[nobodys][..], all), (&[], none), (&[], young)] {
        assert_eq!(house.client.collect_layers(keep, budget).unwrap().layers, 0);
    }
    assert_eq!(house.client.collect_layers(&[], all).unwrap().layers, 1);
    let left = house.client.layer_uses().unwrap();
    assert!(left.iter().all(|layer| layer.is_in_use), "{left:?}");
    assert!(!left.iter().any(|layer| layer.layer == nobodys));

    // Neither another shim nor another root process changes what it mounts.
    let shim = house.shim(runs_id).unwrap();
    kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
    until("a new shim takes over", || {
        house.shim(runs_id).is_some_and(|new| new != shim)
    });
    house.kill_root();
    house.start_root();
    assert_eq!(house.client.collect_layers(&[], all).unwrap().layers, 0);
    let lines = house.output(runs_id).len();
    until("it still reads its layer", || {
        house.output(runs_id).len() > lines + 8
    });
    assert!(!house.output(runs_id).contains("No such file"));

    for id in [runs_id, ended_id] {
        house.client.delete(id).unwrap();
    }
    assert_eq!(views(mine), Vec::<String>::new());
    // The layer that they had in common goes with them.
    assert_eq!(house.client.collect_layers(&[], all).unwrap().layers, 3);
    assert_eq!(house.client.layer_uses().unwrap(), []);
    assert_eq!(house.left_for_good(), []);
}

#[test]
fn interrupted_removals_and_unpackings_are_finished_by_the_next_start() {
    let mut house = House::new();
    let layers = house.path().join("layers");
    house.kill_root();
    house.lay(4, |root| std::fs::write(root.join("file"), "x\n").unwrap());
    let half = layers.join(House::layer(4).hex());
    std::fs::remove_file(half.join("layer.json")).unwrap();
    for name in ["removed-1-0-0", "staging-1-0-0"] {
        std::fs::create_dir_all(layers.join(name).join("fs/deep")).unwrap();
    }
    // Somebody who unpacks keeps the sweep away: it must not take what he is making.
    let lock = std::fs::File::create(layers.join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    house.start_root();
    let halves = house.leftovers();
    assert_eq!(halves.len(), 3, "{halves:?}");
    assert!(halves.iter().all(|it| it.kind == HostObjectKind::Layer));
    let busy = house.client.collect_layers(&[], Budget::bytes(0));
    assert!(
        matches!(busy, Err(ClientError::Refused(Refusal::Busy { .. }))),
        "{busy:?}"
    );
    drop(lock);
    house.kill_root();
    house.start_root();
    assert_eq!(house.leftovers(), []);
    assert!(!half.exists());
}
