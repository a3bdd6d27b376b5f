//! What is inside a key file once it is decrypted: three lines of text, so that `age -d` alone recovers a key.

use super::secret::Secret;
use super::{Identity, IdentityError, Subject};

const TITLE: &str = "allod-identity-v1";

pub(super) fn write(identity: &Identity) -> Secret<String> {
    let seed = Secret::new(data_encoding::HEXLOWER.encode(identity.seed()));
    Secret::new(format!(
        "{TITLE}\nid {}\nseed {}\n",
        identity.subject(),
        seed.expose()
    ))
}

pub(super) fn read(bytes: &[u8]) -> Result<Identity, IdentityError> {
    parse(bytes).ok_or(IdentityError::Payload)
}

fn parse(bytes: &[u8]) -> Option<Identity> {
    let mut lines = std::str::from_utf8(bytes).ok()?.lines();
    (lines.next()? == TITLE).then_some(())?;
    let subject: Subject = lines.next()?.strip_prefix("id ")?.parse().ok()?;
    let seed = lines.next()?.strip_prefix("seed ")?;
    let seed = Secret::new(data_encoding::HEXLOWER.decode(seed.as_bytes()).ok()?);
    let seed = <[u8; 32]>::try_from(seed.expose().as_slice()).ok()?;
    Some(Identity::from_seed(subject, seed))
}
