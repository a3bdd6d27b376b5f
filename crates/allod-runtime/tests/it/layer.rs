//! Layers travel as descriptors, and only what their digest says becomes a layer.

use std::io::Write;

use allod_runtime::image::Digest;
use allod_runtime::{ClientError, EndCause, LayerId, Refusal};

use crate::house::House;

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
            .unpack_layer(layer, MEDIA_TYPE, file(&bytes))
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
        .unpack_layer(layer, MEDIA_TYPE, file(&bytes))
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
