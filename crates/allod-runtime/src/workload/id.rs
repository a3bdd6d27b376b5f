//! What identifies a workload and what belongs to it, each with the one text that it is written as.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// Text that is not an identity of the expected shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

impl InvalidId {
    fn new(text: &str, expected: &'static str) -> Self {
        Self {
            text: text.chars().take(96).collect(),
            expected,
        }
    }
}

/// Tells the installations on one machine apart. It is part of the name of everything they put
/// on the host, so that each finds, and removes, only its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstallationId([u8; 4]);

impl InstallationId {
    /// The identity that follows from bytes which are unique to the installation, for example
    /// the public key of its node.
    pub fn derive(seed: &[u8]) -> Self {
        let hash = blake3::derive_key("allod runtime installation 1", seed);
        Self([hash[0], hash[1], hash[2], hash[3]])
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for InstallationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        decode_hex(text)
            .map(Self)
            .ok_or_else(|| InvalidId::new(text, "an installation: 8 hexadecimal digits"))
    }
}

impl TryFrom<String> for InstallationId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<InstallationId> for String {
    fn from(id: InstallationId) -> Self {
        id.to_string()
    }
}

/// One run of one replica: the lease and its epoch. Written `<lease in hex>-<epoch>`, which is
/// also the name of its directory and of its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadId {
    /// The lease that this workload serves.
    pub lease: [u8; 32],
    /// The fencing token: a higher epoch of the same lease supersedes a lower one.
    pub epoch: u64,
}

impl WorkloadId {
    /// Ten characters that stand for this workload where the kernel allows only fifteen.
    pub fn tag(&self, installation: InstallationId) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("allod runtime workload tag 1");
        hasher.update(&installation.0);
        hasher.update(&self.lease);
        hasher.update(&self.epoch.to_le_bytes());
        HEXLOWER.encode(&hasher.finalize().as_bytes()[..5])
    }
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", HEXLOWER.encode(&self.lease), self.epoch)
    }
}

impl FromStr for WorkloadId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new(text, "a workload: <lease in hex>-<epoch>");
        let (lease, epoch) = text.split_once('-').ok_or_else(invalid)?;
        let id = Self {
            lease: decode_hex(lease).ok_or_else(invalid)?,
            epoch: epoch.parse().map_err(|_| invalid())?,
        };
        // One identity has one name; "007" or upper case would be a second one.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for WorkloadId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<WorkloadId> for String {
    fn from(id: WorkloadId) -> Self {
        id.to_string()
    }
}

/// SHA-256 of an uncompressed layer (its `diff_id`), and the name of its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LayerId(pub [u8; 32]);

impl LayerId {
    /// The hexadecimal digits alone, as used for the name of the layer's directory.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for LayerId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("sha256:")
            .and_then(decode_hex)
            .map(Self)
            .ok_or_else(|| InvalidId::new(text, "a layer: sha256: and 64 hexadecimal digits"))
    }
}

impl TryFrom<String> for LayerId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<LayerId> for String {
    fn from(id: LayerId) -> Self {
        id.to_string()
    }
}

/// The name of a volume of this installation: 1 to 64 of `a-z 0-9 . _ -`, the first a letter or
/// digit. Whoever calls makes it unique, for example from the app and the volume's own name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

impl VolumeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_name = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|byte| plain(byte) || b"._-".contains(&byte))
            && text.bytes().next().is_some_and(plain);
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new(text, "a volume: 1 to 64 of a-z 0-9 . _ -"))
        }
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for VolumeName {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

fn decode_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !is_lower {
        return None;
    }
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}
