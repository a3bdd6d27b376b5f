//! The image that is started: an OCI layout on disk, its layers unpacked by the root process.

use std::fs::{File, read};
use std::path::Path;

use allod_runtime::{Client, Image, LayerId};
use serde_json::Value;

use crate::Failure;

/// Unpacks the layers of the layout's first image.
pub(crate) fn unpack(client: &Client, layout: &Path) -> Result<Image, Failure> {
    let document = |digest: &Value| -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&read(blob(layout, digest)?)?)?)
    };
    let index: Value = serde_json::from_slice(&read(layout.join("index.json"))?)?;
    let digest = &index["manifests"][0]["digest"];
    let manifest = document(digest)?;
    let config = document(&manifest["config"]["digest"])?;
    let diff_ids = config["rootfs"]["diff_ids"].as_array();
    let described = manifest["layers"].as_array();
    let mut layers = Vec::new();
    for (diff_id, layer) in diff_ids.into_iter().zip(described).flat_map(pair) {
        let id: LayerId = text(diff_id)?.parse()?;
        let file = File::open(blob(layout, &layer["digest"])?)?;
        client.unpack_layer(id, text(&layer["mediaType"])?, file, u64::MAX)?;
        layers.push(id);
    }
    let env = config["config"]["Env"].as_array().into_iter().flatten();
    Ok(Image {
        manifest: text(digest)?.to_owned(),
        layers,
        env: env
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect(),
        ..Image::default()
    })
}

fn pair<'a>(
    (ids, layers): (&'a Vec<Value>, &'a Vec<Value>),
) -> impl Iterator<Item = (&'a Value, &'a Value)> {
    ids.iter().zip(layers)
}

fn text(value: &Value) -> Result<&str, Failure> {
    value
        .as_str()
        .ok_or_else(|| "the layout lacks a word that every image has".into())
}

fn blob(layout: &Path, digest: &Value) -> Result<std::path::PathBuf, Failure> {
    let name = text(digest)?.strip_prefix("sha256:");
    let name = name.ok_or("the layout has a digest that is not of SHA-256")?;
    Ok(layout.join("blobs/sha256").join(name))
}
