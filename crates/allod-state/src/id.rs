//! The 32-byte names of things, fixed at creation.
//!
//! | id | is the hash of |
//! |---|---|
//! | [`NetworkId`] | the genesis document |
//! | [`AccountId`] | the account's first public key (rotation does not change it) |
//! | [`NodeId`] | the node's first public key |
//! | [`AppId`] | its owner's account id and the owner's app counter |
//! | [`LeaseId`] | its app, service, replica and epoch |
//! | [`TransactionId`] | the unsigned transaction body |
//! | [`BlockId`] | the block header |
//! | [`Label`] | a name and the scope it lives in: equal names meet, the name itself stays out of the ledger |
//! | [`Digest`] | the bytes it stands for |
//! | [`Root`] | the whole authenticated state |
//!
//! As text an id is a prefix, an underscore and lower-case base32 (RFC 4648, no padding) of the bytes and a two-byte
//! checksum, so that a mistyped account is refused instead of paid.

use std::fmt;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::codec;

const CHECKSUM_DOMAIN: &str = "allod id checksum v1";

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text does not begin with the prefix of the wanted kind.
    #[error(
        "an id of this kind begins with `{wanted}_`; check that you pasted the right kind of id"
    )]
    Prefix {
        /// The prefix that was expected.
        wanted: &'static str,
    },
    /// The text after the prefix is not base32 of the right length.
    #[error("this id is cut short or holds a character that ids never use; paste it again whole")]
    Encoding,
    /// The checksum does not match.
    #[error("this id has a typing error (its checksum does not match); paste it again")]
    Checksum,
}

fn to_text(prefix: &str, bytes: &[u8; 32]) -> String {
    let mut sealed = bytes.to_vec();
    sealed.extend_from_slice(&checksum(prefix, bytes));
    let body = data_encoding::BASE32_NOPAD
        .encode(&sealed)
        .to_ascii_lowercase();
    format!("{prefix}_{body}")
}

fn from_text(prefix: &'static str, text: &str) -> Result<[u8; 32], ParseIdError> {
    let body = text
        .strip_prefix(prefix)
        .and_then(|rest| rest.strip_prefix('_'))
        .ok_or(ParseIdError::Prefix { wanted: prefix })?;
    if body.len() > 64 {
        return Err(ParseIdError::Encoding);
    }
    let sealed = data_encoding::BASE32_NOPAD
        .decode(body.to_ascii_uppercase().as_bytes())
        .map_err(|_| ParseIdError::Encoding)?;
    let (bytes, sum) = sealed.split_at_checked(32).ok_or(ParseIdError::Encoding)?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| ParseIdError::Encoding)?;
    if sum != checksum(prefix, &bytes) {
        return Err(ParseIdError::Checksum);
    }
    Ok(bytes)
}

fn checksum(prefix: &str, bytes: &[u8; 32]) -> [u8; 2] {
    let hash = codec::hash_parts(CHECKSUM_DOMAIN, &[prefix.as_bytes(), bytes]);
    let [first, second, ..] = hash;
    [first, second]
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $prefix:literal),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
        pub struct $name(pub [u8; 32]);

        impl $name {
            /// What the text form begins with, before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// The bytes of the id.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first ten characters after the prefix: enough for people to tell things apart, never for machines.
            #[must_use]
            pub fn short(&self) -> String {
                self.to_string().chars().skip(Self::PREFIX.len().saturating_add(1)).take(10).collect()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&to_text(Self::PREFIX, &self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                from_text(Self::PREFIX, text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// An account: an identity that survives key rotation.
    AccountId "acct",
    /// An app: one compose file.
    AppId "app",
    /// A block.
    BlockId "block",
    /// The hash of some bytes kept beside the ledger.
    Digest "dig",
    /// A blinded name: see [`Label::of`].
    Label "label",
    /// A replica on a node, for one epoch.
    LeaseId "lease",
    /// One ledger.
    NetworkId "net",
    /// One machine.
    NodeId "node",
    /// What a deployment comes to.
    PlanId "plan",
    /// The root of the authenticated state.
    Root "root",
    /// A transaction.
    TransactionId "tx",
}

impl Label {
    /// The label of `name` inside `scope` (an account's bytes for apps, an app label's bytes for services and volumes).
    /// It hides the name from a reader who cannot guess it; it is not a secret.
    #[must_use]
    pub fn of(scope: &[u8; 32], name: &str) -> Self {
        Self(codec::hash_parts(
            "allod label v1",
            &[scope, name.as_bytes()],
        ))
    }
}

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(codec::hash_parts("allod bytes v1", &[bytes]))
    }
}

#[cfg(test)]
mod tests;
