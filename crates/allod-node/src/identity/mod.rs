//! Who acts: the Ed25519 key of an account or a node, how it is kept, and what it signs and opens.
//!
//! One 32-byte seed makes everything: it is the Ed25519 key, and the X25519 key that manifests are sealed to is derived
//! from it (BLAKE3 `derive_key`, domain `allod sealing key v1`), so that one file restores both and neither reveals the
//! other. Files are machine-bound by default, with no prompt and no delay; a passphrase is optional, and a key with a
//! narrow grant may lie in a plain file. The seed as 24 words is the recovery phrase.

mod keyfile;
mod machine;
mod payload;
mod phrase;
mod secret;
mod unlocked;

pub use keyfile::{Description, Keyfile, Lock, Protection};
pub use phrase::{PHRASE_BYTES_MAX, PHRASE_WORDS, Phrase};
pub use secret::Secret;
pub use unlocked::{Held, UNLOCKED_MAX, harden, lock, seconds_left, unlocked};

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use allod_state::id::ParseIdError;
use allod_state::{AccountId, Digest, NodeId, PublicKey, Signature};
use ed25519_zebra::{SigningKey, VerificationKeyBytes};

use crate::seal::SealingKey;

const SEALING_DOMAIN: &str = "allod sealing key v1";
const CONTENT_DOMAIN: &str = "allod service content key v1";
const LOG_DOMAIN: &str = "allod ledger log key v1";

/// What went wrong with an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no key file.
    #[error(
        "there is no identity at {path}; make one with `allod identity init`, or bring one with `allod identity import`"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is already a key file.
    #[error(
        "there is already an identity at {path}, and it is never overwritten; export and move it away first"
    )]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// Others may read the file.
    #[error("{path} is open to other users (mode {mode:03o}); run `chmod 600 {path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read.
    #[error("cannot read {path}; run the command as the user that owns it")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {path}; check the free space and permissions of its directory")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else, or is damaged.
    #[error(
        "{path} is not a whole identity file; restore it from a backup or with `allod identity import`"
    )]
    NotKeyfile {
        /// The file.
        path: PathBuf,
    },
    /// The comments of the file do not describe the key inside.
    #[error(
        "{path} was altered: its comments name another key than the one inside; restore it with `allod identity import`"
    )]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// The file was bound to another machine, or the machine's id or secret changed.
    #[error(
        "{path} was made on another machine, or this machine's id was replaced, and does not open here; bring the identity with `allod identity export` there and `allod identity import` here"
    )]
    OtherMachine {
        /// The file.
        path: PathBuf,
    },
    /// The secret that opens machine-bound files is gone.
    #[error(
        "the machine secret {path} is gone, so machine-bound identities do not open; restore it, or import the identity with `allod identity import`; to begin anew, move identity.age away"
    )]
    MachineSecretMissing {
        /// The file.
        path: PathBuf,
    },
    /// The secret that opens machine-bound files is not what Allod wrote.
    #[error(
        "the machine secret {path} is damaged; restore it from a backup, or import the identity with `allod identity import`"
    )]
    MachineSecretBroken {
        /// The file.
        path: PathBuf,
    },
    /// A passphrase is needed.
    #[error(
        "{path} is protected by a passphrase; type it when asked, run `allod identity unlock` before, or name a file with it in ALLOD_PASSPHRASE_FILE"
    )]
    PassphraseNeeded {
        /// The file.
        path: PathBuf,
    },
    /// The passphrase does not open it.
    #[error("this passphrase does not open the identity; try again")]
    WrongPassphrase,
    /// The passphrase is too easy to guess.
    #[error("the passphrase is shorter than {min} bytes; choose a longer one")]
    ShortPassphrase {
        /// The fewest bytes.
        min: usize,
    },
    /// The file asks for more work than Allod is willing to do.
    #[error("this file asks for more memory and time than an honest one; check where it came from")]
    TooMuchWork,
    /// The phrase is too short or too long.
    #[error(
        "a recovery phrase has {PHRASE_WORDS} words, and this is another number; write all of them, in order"
    )]
    PhraseLength {
        /// How many there are.
        words: usize,
    },
    /// One of the words is not in the list.
    #[error(
        "word {place} of the recovery phrase is not one of BIP-39's English words; check its spelling"
    )]
    PhraseWord {
        /// Its place, from 1.
        place: usize,
    },
    /// The words do not belong together.
    #[error(
        "these words are no recovery phrase, although each is a word of the list; check their order, and that none was misread as another"
    )]
    PhraseChecksum,
    /// The holder of an unlocked key could not be reached or started.
    #[error("cannot hold the identity unlocked")]
    Hold {
        /// What the system said.
        source: io::Error,
    },
    /// The imported text is something else.
    #[error(
        "this is not an exported identity; it begins with `-----BEGIN AGE ENCRYPTED FILE-----` and opens with the passphrase it was exported with"
    )]
    NotExport,
    /// The file decrypts, but does not hold an identity.
    #[error("the file opens, but does not hold an Allod identity; check that it is the right file")]
    Payload,
    /// Encryption failed.
    #[error("cannot encrypt the identity")]
    Encrypt,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a key")]
    Random,
}

/// Whose key it is. Rotation changes the key, never the subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An account.
    Account(AccountId),
    /// A node.
    Node(NodeId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => id.fmt(f),
            Self::Node(id) => id.fmt(f),
        }
    }
}

impl FromStr for Subject {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        if text.starts_with(NodeId::PREFIX) {
            text.parse().map(Self::Node)
        } else {
            text.parse().map(Self::Account)
        }
    }
}

/// A key with the right to act for its subject, unlocked.
pub struct Identity {
    subject: Subject,
    key: Secret<SigningKey>,
    public: PublicKey,
}

impl Identity {
    /// A new account with its first key.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new_account() -> Result<Self, IdentityError> {
        let key = draw()?;
        let public = public_of(&key);
        Ok(Self {
            subject: Subject::Account(AccountId::of_first_key(&public)),
            key,
            public,
        })
    }

    /// A first key for an account that there is already. It acts once the account has added it.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new_key_of(account: AccountId) -> Result<Self, IdentityError> {
        let key = draw()?;
        let public = public_of(&key);
        Ok(Self {
            subject: Subject::Account(account),
            key,
            public,
        })
    }

    /// A new node with its first key.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn new_node() -> Result<Self, IdentityError> {
        let key = draw()?;
        let public = public_of(&key);
        Ok(Self {
            subject: Subject::Node(NodeId::of_first_key(&public)),
            key,
            public,
        })
    }

    /// A new key for the same subject. It acts once the law has taken it in.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn rotated(&self) -> Result<Self, IdentityError> {
        let key = draw()?;
        let public = public_of(&key);
        Ok(Self {
            subject: self.subject,
            key,
            public,
        })
    }

    fn from_seed(subject: Subject, seed: [u8; 32]) -> Self {
        let seed = Secret::new(seed);
        let key = Secret::new(SigningKey::from(*seed.expose()));
        let public = public_of(&key);
        Self {
            subject,
            key,
            public,
        }
    }

    /// Whose key it is.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        self.subject
    }

    /// The account, where it is an account's key.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        match self.subject {
            Subject::Account(id) => Some(id),
            Subject::Node(_) => None,
        }
    }

    /// The node, where it is a node's key.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        match self.subject {
            Subject::Node(id) => Some(id),
            Subject::Account(_) => None,
        }
    }

    /// The public key that the law knows.
    #[must_use]
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs `message`. Whoever calls puts a domain in front of it, so that no signature means two things.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::Ed25519(self.key.expose().sign(message).to_bytes())
    }

    /// What proves this identity to its peers: the same key, since the ledger lists them by it.
    pub(crate) fn peer_secret(&self) -> Secret<[u8; 32]> {
        Secret::new(*self.seed())
    }

    /// The key that opens what was sealed for this identity.
    #[must_use]
    pub fn sealing_key(&self) -> SealingKey {
        SealingKey::from_bytes(&Secret::new(blake3::derive_key(
            SEALING_DOMAIN,
            self.seed(),
        )))
    }

    /// What content stands for on the ledger: a hash under a key of this identity alone, so that equal content is seen
    /// to be equal and nothing else is learnt from it.
    #[must_use]
    pub fn content_digest(&self, content: &[u8]) -> Digest {
        let key = Secret::new(blake3::derive_key(CONTENT_DOMAIN, self.seed()));
        Digest(*blake3::keyed_hash(key.expose(), content).as_bytes())
    }

    /// What tells this identity's own ledger log from bytes that others had it write down; nothing else is learnt from it.
    pub(crate) fn log_secret(&self) -> [u8; 32] {
        blake3::derive_key(LOG_DOMAIN, self.seed())
    }

    fn seed(&self) -> &[u8; 32] {
        self.key.expose().as_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .finish_non_exhaustive()
    }
}

fn draw() -> Result<Secret<SigningKey>, IdentityError> {
    let seed = Secret::new(random_32()?);
    Ok(Secret::new(SigningKey::from(*seed.expose())))
}

fn random_32() -> Result<[u8; 32], IdentityError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| IdentityError::Random)?;
    Ok(bytes)
}

fn public_of(key: &Secret<SigningKey>) -> PublicKey {
    PublicKey::Ed25519(VerificationKeyBytes::from(key.expose()).into())
}

/// Refuses a file that anybody but its owner may read or write.
fn check_private(path: &Path) -> Result<(), IdentityError> {
    let found = fs::metadata(path).map_err(|source| IdentityError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        Err(IdentityError::Open {
            path: path.to_owned(),
            mode,
        })
    }
}

#[cfg(test)]
mod tests;
