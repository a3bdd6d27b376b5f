//! Invites: all that a newcomer needs to join, as one string.
//!
//! It holds the secret of a key that may open one account, until when, and the [`Entrance`]: members to ask, and a block
//! that the inviter holds for decided. The newcomer computes everything from genesis itself; the block tells it that it
//! follows the inviter's chain and not one that others made up with keys of validators who left long ago (the
//! "long-range attack" on proof-of-stake chains).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use allod_state::node::Relay;
use allod_state::{AccountId, BlockId, NetworkId, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::BASE32_NOPAD;
use ed25519_zebra::{SigningKey, VerificationKeyBytes};

use crate::identity::{IdentityError, Secret};
use crate::limits::INVITE_BYTES_MAX;

/// What an invite's text begins with.
const PREFIX: &str = "allod-invite-";
/// What an entrance's text begins with.
const ENTRANCE_PREFIX: &str = "allod-entrance-";
/// The first byte of what the text stands for.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;

/// What a newcomer needs to join.
pub struct Invite {
    /// The network to join.
    pub network: NetworkId,
    /// Who invites, and pays for the joining.
    pub inviter: AccountId,
    /// The seed of the invite's Ed25519 key.
    pub secret: Secret<[u8; 32]>,
    /// Until when it can be used, in milliseconds since 1970.
    pub expires_ms: u64,
    /// Where to begin.
    pub entrance: Entrance,
}

/// Where newcomers get in.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entrance {
    /// The height of a decided block.
    pub height: u64,
    /// That block.
    pub block: BlockId,
    /// Members who may be asked.
    pub members: Vec<Greeter>,
}

/// A member whom newcomers ask.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Greeter {
    /// Its Ed25519 key.
    pub key: [u8; 32],
    /// Its own addresses.
    pub addresses: Vec<SocketAddr>,
    /// The relays it listens on.
    pub relays: Vec<Relay>,
}

/// Draws the key of an invite: its seed, and its public half, which the ledger is told.
///
/// # Errors
/// Where the system gives no random bytes.
pub fn draw() -> Result<(Secret<[u8; 32]>, PublicKey), IdentityError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| IdentityError::Random)?;
    let secret = Secret::new(seed);
    let key = key_of(&secret);
    Ok((secret, key))
}

pub(crate) fn key_of(secret: &Secret<[u8; 32]>) -> PublicKey {
    let key = SigningKey::from(*secret.expose());
    PublicKey::Ed25519(VerificationKeyBytes::from(&key).into())
}

/// What the text of an invite stands for.
#[derive(BorshSerialize, BorshDeserialize)]
struct Content {
    network: NetworkId,
    inviter: AccountId,
    secret: [u8; 32],
    expires_ms: u64,
    entrance: Entrance,
}

/// Why a text is no invite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseInviteError {
    /// It is something else.
    #[error("this is no invite: an invite begins with `{PREFIX}`; ask for one: `allod invite`")]
    Other,
    /// It is cut short or mistyped.
    #[error("this invite is cut short or has a typing error; paste it again whole")]
    Damaged,
    /// Another version made it.
    #[error(
        "this invite is of a version that this `allod` does not know; update allod, or ask for a new invite"
    )]
    Version,
}

impl fmt::Display for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = Content {
            network: self.network,
            inviter: self.inviter,
            secret: *self.secret.expose(),
            expires_ms: self.expires_ms,
            entrance: self.entrance.clone(),
        };
        write!(f, "{PREFIX}{}", to_text(&content))
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("network", &self.network)
            .field("inviter", &self.inviter)
            .field("expires_ms", &self.expires_ms)
            .field("entrance", &self.entrance)
            .finish_non_exhaustive()
    }
}

impl FromStr for Invite {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        let body = text.trim().strip_prefix(PREFIX);
        let content: Content = from_text(body.ok_or(ParseInviteError::Other)?)?;
        Ok(Self {
            network: content.network,
            inviter: content.inviter,
            secret: Secret::new(content.secret),
            expires_ms: content.expires_ms,
            entrance: content.entrance,
        })
    }
}

impl fmt::Display for Entrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ENTRANCE_PREFIX}{}", to_text(self))
    }
}

impl FromStr for Entrance {
    type Err = ParseInviteError;

    fn from_str(text: &str) -> Result<Self, ParseInviteError> {
        let body = text.strip_prefix(ENTRANCE_PREFIX);
        from_text(body.ok_or(ParseInviteError::Other)?)
    }
}

fn to_text(content: &impl BorshSerialize) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend(allod_state::codec::encode(content));
    let sum = blake3::hash(&bytes);
    bytes.extend(&sum.as_bytes()[..CHECKSUM_BYTES]);
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

fn from_text<T: BorshDeserialize>(text: &str) -> Result<T, ParseInviteError> {
    if text.len() > INVITE_BYTES_MAX {
        return Err(ParseInviteError::Damaged);
    }
    let bytes = BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes());
    let bytes = bytes.map_err(|_| ParseInviteError::Damaged)?;
    let split = bytes.len().checked_sub(CHECKSUM_BYTES);
    let (bytes, sum) = bytes.split_at(split.ok_or(ParseInviteError::Damaged)?);
    if blake3::hash(bytes).as_bytes()[..CHECKSUM_BYTES] != *sum {
        return Err(ParseInviteError::Damaged);
    }
    match bytes.split_first() {
        Some((&VERSION, content)) => {
            borsh::from_slice(content).map_err(|_| ParseInviteError::Damaged)
        }
        _ => Err(ParseInviteError::Version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invite() -> Invite {
        let relay = Relay {
            address: "203.0.113.7:443".parse().unwrap(),
            pin: [3; 32],
            discovery_port: 7842,
        };
        let greeter = Greeter {
            key: [4; 32],
            addresses: vec!["192.0.2.5:4433".parse().unwrap()],
            relays: vec![relay],
        };
        Invite {
            network: NetworkId([1; 32]),
            inviter: AccountId([2; 32]),
            secret: Secret::new([77; 32]),
            expires_ms: 9,
            entrance: Entrance {
                height: 5,
                block: BlockId([6; 32]),
                members: vec![greeter],
            },
        }
    }

    #[test]
    fn an_invite_is_read_as_it_was_written() {
        let (written, text) = (invite(), invite().to_string());
        let read: Invite = format!(" {text}\n").parse().unwrap();
        assert_eq!(read.entrance, written.entrance);
        assert_eq!(read.secret.expose(), written.secret.expose());
        assert_eq!(
            (read.network, read.inviter),
            (written.network, written.inviter)
        );
        let entrance = written.entrance.to_string();
        assert_eq!(entrance.parse(), Ok(written.entrance));
    }

    #[test]
    fn a_typing_error_is_told_and_nothing_panics() {
        let text = invite().to_string();
        for at in PREFIX.len()..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'a' { b'b' } else { b'a' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(wrong.parse::<Invite>().is_err(), "{at}");
            assert!(text[..at].parse::<Invite>().is_err(), "{at}");
        }
        assert_eq!(
            "hello".parse::<Invite>().unwrap_err(),
            ParseInviteError::Other
        );
    }

    #[test]
    fn another_version_is_told_apart() {
        let mut bytes = vec![VERSION + 1, 0];
        let sum = blake3::hash(&bytes);
        bytes.extend(&sum.as_bytes()[..CHECKSUM_BYTES]);
        let text = format!("{PREFIX}{}", BASE32_NOPAD.encode(&bytes));
        assert_eq!(
            text.parse::<Invite>().unwrap_err(),
            ParseInviteError::Version
        );
    }

    #[test]
    fn the_secret_is_not_in_what_is_logged() {
        let logged = format!("{:?}", invite());
        assert!(!logged.contains("77"), "{logged}");
    }
}
