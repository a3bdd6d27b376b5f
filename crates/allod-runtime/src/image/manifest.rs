//! The documents of a registry: manifests, indexes, and the media types Allod can use.
//!
//! Both dialects are read, OCI and Docker schema 2; they differ in names only. A document that
//! could be read as a manifest *and* as an index is refused: two readers could disagree on it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::limits::{DOCUMENT_BYTES_MAX, INDEX_ENTRIES_MAX, LAYERS_MAX};
use super::record::RecordError;

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What `Accept` says when a manifest is asked for.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The layer media types that unpack; anything else (foreign, encrypted, artifacts) is refused.
pub(super) fn is_layer(media_type: &str) -> bool {
    const LAYERS: [&str; 6] = [
        OCI_LAYER,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
    ];
    LAYERS.contains(&media_type)
}

/// A pointer to a blob: what it is, how long, and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

/// The machine an image was built for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    pub(super) architecture: String,
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

impl Platform {
    /// This machine, in the words images use.
    pub(super) fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            architecture: architecture.to_owned(),
            os: "linux".to_owned(),
            variant: None,
        }
    }

    /// Whether what was built for this platform runs on `host`.
    pub(super) fn fits(&self, host: &Self) -> bool {
        // arm64 images are built as v8 or without a variant; later variants need newer cores.
        let variant_fits = match (host.architecture.as_str(), self.variant.as_deref()) {
            (_, None | Some("")) => true,
            ("arm64", Some(variant)) => variant == "v8",
            ("amd64", Some(variant)) => variant == "v1",
            _ => false,
        };
        self.os == host.os && self.architecture == host.architecture && variant_fits
    }

    fn shown(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}/{}/{variant}", self.os, self.architecture),
            None => format!("{}/{}", self.os, self.architecture),
        }
    }
}

/// The manifest of one image for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// What one document turned out to be.
#[derive(Debug)]
pub(super) enum Document {
    Image(Manifest),
    Index(Vec<Descriptor>),
}

/// Every field that tells a manifest from an index from the old signed schema 1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    config: Option<serde_json::Value>,
    #[serde(default)]
    layers: Option<serde_json::Value>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

impl Document {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, RecordError> {
        let malformed = |why: serde_json::Error| RecordError::Malformed {
            what: "manifest",
            why: why.to_string(),
        };
        let shape: Shape = serde_json::from_slice(bytes).map_err(malformed)?;
        let media_type = shape.media_type.as_deref();
        if shape.schema_version != 2 {
            return Err(RecordError::Unsupported {
                what: "manifest",
                media_type: format!("schema version {}", shape.schema_version),
            });
        }
        match (
            shape.manifests,
            shape.config.is_some() || shape.layers.is_some(),
        ) {
            (Some(_), true) => Err(RecordError::Ambiguous),
            (Some(entries), false) => {
                expect_media_type(media_type, &[OCI_INDEX, DOCKER_LIST])?;
                if entries.len() > INDEX_ENTRIES_MAX {
                    return Err(RecordError::TooMany {
                        what: "index entries",
                        count: entries.len(),
                        limit: INDEX_ENTRIES_MAX,
                    });
                }
                Ok(Self::Index(entries))
            }
            (None, _) => {
                expect_media_type(media_type, &[OCI_MANIFEST, DOCKER_MANIFEST])?;
                let manifest: Manifest = serde_json::from_slice(bytes).map_err(malformed)?;
                manifest.check()?;
                Ok(Self::Image(manifest))
            }
        }
    }
}

fn expect_media_type(found: Option<&str>, allowed: &[&str]) -> Result<(), RecordError> {
    match found {
        Some(found) if !allowed.contains(&found) => Err(RecordError::Unsupported {
            what: "manifest",
            media_type: found
                .chars()
                .take(super::limits::QUOTED_CHARS_MAX)
                .collect(),
        }),
        _ => Ok(()),
    }
}

impl Manifest {
    fn check(&self) -> Result<(), RecordError> {
        let unsupported = |what, media_type: &str| RecordError::Unsupported {
            what,
            media_type: media_type
                .chars()
                .take(super::limits::QUOTED_CHARS_MAX)
                .collect(),
        };
        if ![OCI_CONFIG, DOCKER_CONFIG].contains(&self.config.media_type.as_str()) {
            return Err(unsupported("image configuration", &self.config.media_type));
        }
        if self.layers.len() > LAYERS_MAX {
            return Err(RecordError::TooMany {
                what: "layers",
                count: self.layers.len(),
                limit: LAYERS_MAX,
            });
        }
        if let Some(layer) = self
            .layers
            .iter()
            .find(|layer| !is_layer(&layer.media_type))
        {
            return Err(unsupported("layer", &layer.media_type));
        }
        if self.config.size > DOCUMENT_BYTES_MAX {
            return Err(RecordError::TooLarge {
                what: "image configuration",
                bytes: self.config.size,
                limit: DOCUMENT_BYTES_MAX,
            });
        }
        Ok(())
    }
}

/// The entry of an index that runs on `host`: the first one that fits, as the format orders them.
pub(super) fn choose<'a>(
    entries: &'a [Descriptor],
    host: &Platform,
) -> Result<&'a Descriptor, RecordError> {
    let fits = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|p| p.fits(host));
    if let Some(entry) = entries.iter().find(fits) {
        return Ok(entry);
    }
    // An index of one entry without a platform is how single images are exported.
    if let [only] = entries
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let mut offered: Vec<String> = entries
        .iter()
        .filter_map(|entry| entry.platform.as_ref())
        .map(Platform::shown)
        .collect();
    offered.retain(|platform| platform != "unknown/unknown");
    offered.dedup();
    offered.truncate(16);
    Err(RecordError::NoPlatform {
        wanted: host.shown(),
        offered: offered.join(", "),
    })
}

#[cfg(test)]
mod tests;
