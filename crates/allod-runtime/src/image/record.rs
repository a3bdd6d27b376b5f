//! What Allod knows about one image: its configuration and its layers, each by digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};

use super::digest::Digest;
use super::manifest::{Document, Manifest, Platform};

/// One image for this machine's platform; everything that is needed to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of the platform's manifest: the image's name in the store.
    ///
    /// Of a `docker save` archive, which has no manifest, it is the digest of the OCI manifest
    /// that `import` writes for it; see [`crate::image::import`].
    pub manifest_digest: Digest,
    /// The digest of the configuration blob.
    pub config_digest: Digest,
    /// The architecture in the image's own words: `amd64`, `arm64`.
    pub architecture: String,
    /// What to run and how.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<LayerRecord>,
}

/// One layer: its compressed blob and the archive inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    /// The digest of the blob as it is fetched.
    pub digest: Digest,
    /// The digest of the uncompressed archive: the layer's name once unpacked.
    pub diff_id: Digest,
    /// How the blob is said to be packed.
    pub media_type: String,
    /// The length of the blob.
    pub size: u64,
}

/// The part of the image configuration that decides how a container runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// The fixed beginning of the command line.
    #[serde(rename = "Entrypoint", deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// The rest of the command line, which a user may replace.
    #[serde(rename = "Cmd", deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// `NAME=value` pairs.
    #[serde(rename = "Env", deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// `name`, `uid`, `name:group` or `uid:gid`; empty means root.
    #[serde(rename = "User", deserialize_with = "null_is_default")]
    pub user: String,
    /// Where the command starts; empty means `/`.
    #[serde(rename = "WorkingDir", deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// `80/tcp`, as the image's author wrote them.
    #[serde(rename = "ExposedPorts", with = "names")]
    pub exposed_ports: BTreeSet<String>,
    /// Paths whose contents should outlive the container.
    #[serde(rename = "Volumes", with = "names")]
    pub volumes: BTreeSet<String>,
    /// The signal that asks the command to end; empty means `SIGTERM`.
    #[serde(rename = "StopSignal", deserialize_with = "null_is_default")]
    pub stop_signal: String,
    /// What the author says about the image.
    #[serde(rename = "Labels", deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
}

/// Why a manifest and its configuration do not make an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The document is not the JSON it should be.
    #[error("the {what} is not readable: {why}")]
    Malformed {
        /// Which document.
        what: &'static str,
        /// What the parser says.
        why: String,
    },
    /// The document is an image manifest and an index at once.
    #[error(
        "the manifest has both layers and a list of manifests; two readers could disagree on it"
    )]
    Ambiguous,
    /// A media type that Allod does not run.
    #[error("the {what} has the media type {media_type:?}, which is not a Linux container image")]
    Unsupported {
        /// Which document.
        what: &'static str,
        /// The media type it names.
        media_type: String,
    },
    /// More of something than is allowed.
    #[error("the image has {count} {what}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A document or blob longer than is allowed.
    #[error("the {what} has {bytes} bytes; the limit is {limit}")]
    TooLarge {
        /// Which document.
        what: &'static str,
        /// Its length.
        bytes: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// The image was not built for this machine.
    #[error("no image for {wanted}; built for: {offered}; choose a tag that has {wanted}")]
    NoPlatform {
        /// This machine's platform.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// The manifest and the configuration count their layers differently.
    #[error("the manifest has {layers} layers but the configuration names {diff_ids}")]
    LayerCount {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
}

#[derive(Deserialize)]
struct ConfigDocument {
    architecture: String,
    os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    config: ImageConfig,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "null_is_default")]
    diff_ids: Vec<Digest>,
}

impl ImageRecord {
    /// Reads an image from its two documents, whose digests the caller has checked.
    pub(super) fn from_documents(manifest: &[u8], config: &[u8]) -> Result<Self, RecordError> {
        let Document::Image(parsed) = Document::parse(manifest)? else {
            return Err(RecordError::Malformed {
                what: "manifest",
                why: "an index within an index".to_owned(),
            });
        };
        Self::new(Digest::of(manifest), parsed, config)
    }

    fn new(digest: Digest, manifest: Manifest, config: &[u8]) -> Result<Self, RecordError> {
        let document: ConfigDocument =
            serde_json::from_slice(config).map_err(|why| RecordError::Malformed {
                what: "image configuration",
                why: why.to_string(),
            })?;
        let host = Platform::host();
        if document.os != host.os || document.architecture != host.architecture {
            return Err(RecordError::NoPlatform {
                wanted: format!("{}/{}", host.os, host.architecture),
                offered: format!("{}/{}", document.os, document.architecture),
            });
        }
        let diff_ids = document.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            return Err(RecordError::LayerCount {
                layers: manifest.layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        let layer = |(blob, diff_id): (super::manifest::Descriptor, Digest)| LayerRecord {
            digest: blob.digest,
            diff_id,
            media_type: blob.media_type,
            size: blob.size,
        };
        Ok(Self {
            manifest_digest: digest,
            config_digest: manifest.config.digest,
            architecture: document.architecture,
            config: document.config,
            layers: manifest
                .layers
                .into_iter()
                .zip(diff_ids)
                .map(layer)
                .collect(),
        })
    }

    /// The blobs this image is made of: manifest, configuration, layers.
    pub fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        [self.manifest_digest, self.config_digest]
            .into_iter()
            .chain(self.layers.iter().map(|layer| layer.digest))
    }

    /// The bytes of all layers as they are fetched.
    #[must_use]
    pub fn compressed_bytes(&self) -> u64 {
        self.layers
            .iter()
            .fold(0, |sum, layer| sum.saturating_add(layer.size))
    }
}

/// Go writes `null` for an empty list, map or struct.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A Go set: `{"80/tcp": {}}`.
mod names {
    use std::collections::{BTreeMap, BTreeSet};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Nothing {}

    pub(super) fn serialize<S: Serializer>(
        names: &BTreeSet<String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(names.iter().map(|name| (name, Nothing {})))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<String>, D::Error> {
        let map = Option::<BTreeMap<String, serde::de::IgnoredAny>>::deserialize(deserializer)?;
        Ok(map.unwrap_or_default().into_keys().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(config: &str, diff_ids: usize) -> (String, String) {
        let architecture = Platform::host().architecture;
        let digest = Digest::of(b"layer");
        let ids = vec![format!("\"{digest}\""); diff_ids].join(",");
        let config = format!(
            r#"{{"architecture":"{architecture}","os":"linux","config":{config},
                "rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#
        );
        let manifest = format!(
            r#"{{"schemaVersion":2,
            "config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
            "layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{digest}","size":5}}]}}"#,
            Digest::of(config.as_bytes()),
            config.len(),
        );
        (manifest, config)
    }

    #[test]
    fn a_record_survives_its_own_encoding() {
        let (manifest, config) = documents(
            r#"{"Entrypoint":null,"Cmd":["sh"],"Env":["A=b"],"User":"1:2","WorkingDir":"/w",
                "ExposedPorts":{"80/tcp":{}},"Volumes":null,"StopSignal":"SIGQUIT","Labels":{"a":"b"}}"#,
            1,
        );
        let record = ImageRecord::from_documents(manifest.as_bytes(), config.as_bytes()).unwrap();
        assert_eq!(record.config.cmd, ["sh"]);
        assert_eq!(record.config.user, "1:2");
        assert!(record.config.exposed_ports.contains("80/tcp"));
        assert_eq!(record.layers[0].diff_id, Digest::of(b"layer"));
        assert_eq!(record.manifest_digest, Digest::of(manifest.as_bytes()));
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<ImageRecord>(&text).unwrap(), record);
    }

    #[test]
    fn a_null_configuration_is_an_empty_one() {
        let (manifest, config) = documents("null", 1);
        let record = ImageRecord::from_documents(manifest.as_bytes(), config.as_bytes()).unwrap();
        assert_eq!(record.config, ImageConfig::default());
    }

    #[test]
    fn layers_and_diff_ids_must_agree() {
        let (manifest, config) = documents("{}", 2);
        let refused = ImageRecord::from_documents(manifest.as_bytes(), config.as_bytes());
        assert_eq!(
            refused,
            Err(RecordError::LayerCount {
                layers: 1,
                diff_ids: 2
            })
        );
    }

    #[test]
    fn another_architecture_is_refused() {
        let (manifest, config) = documents("{}", 1);
        let config = config.replace(&Platform::host().architecture, "s390x");
        let refused = ImageRecord::from_documents(manifest.as_bytes(), config.as_bytes());
        assert!(
            matches!(refused, Err(RecordError::NoPlatform { .. })),
            "{refused:?}"
        );
    }
}
