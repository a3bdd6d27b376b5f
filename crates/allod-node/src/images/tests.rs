//! Before a root process that is told what to answer.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, sync_channel};

use allod_state::{NetworkId, NodeId};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::identity::Identity;

/// Images in a directory of their own.
struct Stage {
    dir: TempDir,
    images: Images,
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (network, node) = (NetworkId([1; 32]), NodeId([2; 32]));
        let identity = Identity::new_node().unwrap();
        let registries = Registries::open(dir.path().join("registries"), network, node, &identity);
        let images = Images::open(&dir.path().join("images"), Arc::new(registries)).unwrap();
        Self { dir, images }
    }

    /// A root process that answers every request, and tells of it.
    fn root(&self, answer: impl Fn(&Value) -> Value + Send + 'static) -> (Client, Receiver<Value>) {
        let listener = UnixListener::bind(self.dir.path().join("root.sock")).unwrap();
        let (tells, hears) = sync_channel(64);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = receive(&mut stream);
                let answer = answer(&request);
                // Whoever has its answer finds here what it asked.
                if tells.send(request).is_err() {
                    return;
                }
                send(&mut stream, &answer);
            }
        });
        (Client::new(self.dir.path()), hears)
    }

    /// An image of layers that hold a word each.
    fn image(&self, words: &[&str]) -> ImageRecord {
        let described = |kind: &str, bytes: &[u8]| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": Digest::of(bytes),
                "size": bytes.len(),
            })
        };
        let layers: Vec<Value> = words
            .iter()
            .map(|word| described("layer.v1.tar", word.as_bytes()))
            .collect();
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let diff_ids: Vec<Digest> = words
            .iter()
            .map(|word| Digest::of(word.as_bytes()))
            .collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &config),
            "layers": layers,
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let store = self.images.puller.store();
        for bytes in [&config, &manifest] {
            store.put(bytes).unwrap();
        }
        for word in words {
            store.put(word.as_bytes()).unwrap();
        }
        let record = store.verified_record(Digest::of(&manifest)).unwrap();
        store.save_record(&record).unwrap();
        record
    }
}

pub(crate) fn receive(stream: &mut UnixStream) -> Value {
    let mut head = [0u8; 8];
    stream.read_exact(&mut head).unwrap();
    let length = u32::from_le_bytes(head[4..].try_into().unwrap());
    let mut text = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut text).unwrap();
    serde_json::from_slice(&text).unwrap()
}

pub(crate) fn send(stream: &mut UnixStream, answer: &Value) {
    let text = serde_json::to_vec(answer).unwrap();
    let length = u32::try_from(text.len()).unwrap();
    let bytes = [&b"ALR1"[..], &length.to_le_bytes(), &text].concat();
    stream.write_all(&bytes).unwrap();
}

fn layer(word: &str) -> Value {
    json!(Digest::of(word.as_bytes()).to_string())
}

/// What was asked for of a kind, by layer.
fn asked(hears: &Receiver<Value>, kind: &str) -> Vec<Value> {
    let asked = hears.try_iter().filter(|it| it["request"] == kind);
    asked.map(|it| it["layer"].clone()).collect()
}

#[test]
fn layers_that_were_unpacked_in_vain_are_removed_but_for_those_of_another_image() {
    let stage = Stage::new();
    stage.image(&["base", "other"]);
    let record = stage.image(&["base", "mine", "too large"]);
    let (client, hears) = stage.root(|request| match request["request"].as_str().unwrap() {
        "unpack_layer" if request["layer"] == layer("too large") => json!({
            "answer": "refused",
            "refusal": {
                "refusal": "no_room",
                "step": "unpack",
                "room": {
                    "needed_bytes": 2, "free_bytes": 1, "kept_bytes": 1, "free_files": 1, "kept_files": 0,
                },
            },
        }),
        "unpack_layer" => json!({"answer": "layers_here", "layers": [[request["layer"], 5]]}),
        "use_layers" => json!({"answer": "layers_here", "layers": []}),
        "list_layer_uses" => json!({"answer": "layer_uses", "layers": []}),
        _ => json!({"answer": "done"}),
    });
    let failed = stage.images.unpack(&record, &client).unwrap_err();
    assert_eq!(failed.code(), "no-space");
    assert!(crate::agent::chain(&failed).contains("nearly full"));
    assert_eq!(asked(&hears, "remove_layer"), [layer("mine")]);
}

#[test]
fn an_image_whose_layers_are_too_large_together_is_not_ready() {
    let stage = Stage::new();
    let record = stage.image(&["here", "more"]);
    let half = Limits::default().image_unpacked_bytes_max / 2 + 1;
    let (client, hears) = stage.root(move |request| match request["request"].as_str().unwrap() {
        "use_layers" => json!({"answer": "layers_here", "layers": [[request["layers"][0], half]]}),
        "unpack_layer" => {
            // The root process is told how much is left, and this one does not care.
            assert_eq!(request["bytes_max"], half - 2);
            json!({"answer": "layers_here", "layers": [[request["layer"], half]]})
        }
        "list_layer_uses" => json!({"answer": "layer_uses", "layers": []}),
        _ => json!({"answer": "done"}),
    });
    let failed = stage.images.unpack(&record, &client).unwrap_err();
    assert_eq!(failed.code(), "image-too-large");
    assert_eq!(asked(&hears, "remove_layer"), [layer("more")]);
}

#[test]
fn layers_are_collected_while_something_is_fetched() {
    let stage = Stage::new();
    let (client, hears) = stage.root(|_| {
        let freed = Freed {
            layers: 3,
            ..Freed::default()
        };
        json!({"answer": "collected", "freed": freed})
    });
    let collect = || {
        let nothing = BTreeSet::new();
        stage.images.collect(&nothing, &Budget::bytes(0), &client)
    };
    let fetching = stage.images.puller.store().in_use().unwrap();
    let busy = collect();
    assert!(
        matches!(busy, Err(ImageError::Store(StoreError::Busy { .. }))),
        "{busy:?}"
    );
    assert_eq!(asked(&hears, "collect_layers").len(), 1);
    drop(fetching);
    assert_eq!(collect().unwrap().layers, 3);
}
