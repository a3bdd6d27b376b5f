//! Key files: an identity at rest.
//!
//! A file is four comment lines for people (whose it is, which key, what opens it) and an armored age file. The comments
//! let `allod identity show` answer without unlocking; loading checks them against what is inside.

use std::io;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::{Decryptor, Encryptor, armor, scrypt};
use allod_state::PublicKey;

use super::machine::Machine;
use super::secret::Secret;
use super::{Identity, IdentityError, Subject, check_private, payload};
use crate::home::{create_once, read_bounded, rename, replace};

const KEYFILE_BYTES_MAX: u64 = 16 * 1024;
const PAYLOAD_BYTES_MAX: u64 = 1024;
const PASSPHRASE_BYTES_MIN: usize = 8;
/// scrypt's work for new files, as a power of two: 128 MiB and about a third of a second.
#[cfg(not(test))]
const SCRYPT_LOG_N: u8 = 17;
#[cfg(test)]
const SCRYPT_LOG_N: u8 = 8;
/// The most work that a file may ask for: 1 GiB and a few seconds.
const SCRYPT_LOG_N_MAX: u8 = 20;
const TITLE: &str = "# allod identity v1. Keep it private; `allod identity export` makes a copy for another machine.";
const TITLE_PLAIN: &str = "# allod identity v1. Whoever reads this file can act with its key: keep it private, and revoke the key when it is no longer needed.";
const ARMOR_START: &str = "-----BEGIN AGE ENCRYPTED FILE-----";

/// What opens a key file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// This machine, without asking: see the limits in the module `machine`.
    Machine,
    /// A passphrase, asked for at every use.
    Passphrase,
    /// Nothing: whoever reads the file has the key.
    Nothing,
}

/// What a new key file is closed with.
#[derive(Clone, Copy)]
pub enum Lock<'a> {
    /// This machine.
    Machine,
    /// A passphrase.
    Passphrase(&'a Secret<String>),
    /// Nothing, for a key with a narrow grant that is handed to a machine or a program.
    Nothing,
}

impl Protection {
    const fn text(self) -> &'static str {
        match self {
            Self::Machine => "this machine",
            Self::Passphrase => "a passphrase",
            Self::Nothing => "nothing",
        }
    }

    /// What opens the file, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Machine => "this machine",
            Self::Passphrase => "a passphrase",
            Self::Nothing => "nothing: whoever reads the file has the key",
        }
    }
}

/// What a key file says of itself, without unlocking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Whose key it is.
    pub subject: Subject,
    /// The public key.
    pub key: PublicKey,
    /// What opens the file.
    pub protection: Protection,
}

/// The place of one identity: its file, and the file of the machine secret that may open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyfile {
    path: PathBuf,
    machine_secret: PathBuf,
}

impl Keyfile {
    /// A key file at `path`, bound (if at all) with the secret at `machine_secret`. Touches nothing.
    #[must_use]
    pub const fn new(path: PathBuf, machine_secret: PathBuf) -> Self {
        Self {
            path,
            machine_secret,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is one.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Keeps `identity` here, bound to this machine, or under `passphrase` where one is given.
    ///
    /// # Errors
    /// See [`Keyfile::create_with`].
    pub fn create(
        &self,
        identity: &Identity,
        passphrase: Option<&Secret<String>>,
    ) -> Result<(), IdentityError> {
        self.create_with(identity, passphrase.map_or(Lock::Machine, Lock::Passphrase))
    }

    /// Keeps `identity` here.
    ///
    /// # Errors
    /// Where an identity is already here (it is never overwritten), the passphrase is short, or writing fails.
    pub fn create_with(&self, identity: &Identity, lock: Lock<'_>) -> Result<(), IdentityError> {
        // The machine's secret must not be drawn for a file that will not be made.
        if self.exists() {
            return Err(IdentityError::Exists {
                path: self.path.clone(),
            });
        }
        let text = self.text(identity, lock)?;
        match create_once(&self.path, text.expose().as_bytes(), 0o600) {
            Ok(true) => Ok(()),
            Ok(false) => Err(IdentityError::Exists {
                path: self.path.clone(),
            }),
            Err(source) => Err(IdentityError::Write {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Keeps `identity` here in place of the one that is here, under another protection.
    ///
    /// # Errors
    /// Where the passphrase is short or writing fails; the old file is then still whole.
    pub fn replace(&self, identity: &Identity, lock: Lock<'_>) -> Result<(), IdentityError> {
        let text = self.text(identity, lock)?;
        replace(&self.path, text.expose().as_bytes(), 0o600).map_err(|source| {
            IdentityError::Write {
                path: self.path.clone(),
                source,
            }
        })
    }

    /// The place beside this one where a key waits that is about to take over: it is on disk before the law hears of
    /// it, so that no crash loses the only key of an account.
    #[must_use]
    pub fn next(&self) -> Self {
        let mut path = self.path.clone().into_os_string();
        path.push(".next");
        Self {
            path: path.into(),
            machine_secret: self.machine_secret.clone(),
        }
    }

    /// Puts the key that waits beside this one in its place.
    ///
    /// # Errors
    /// Where the system refuses; both files are then as they were.
    pub fn take_next(&self) -> Result<(), IdentityError> {
        rename(&self.next().path, &self.path).map_err(|source| IdentityError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// Forgets the key that waits beside this one.
    ///
    /// # Errors
    /// Where it is there and cannot be removed.
    pub fn drop_next(&self) -> Result<(), IdentityError> {
        let path = self.next().path;
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(IdentityError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// What the file says of itself.
    ///
    /// # Errors
    /// Where there is none, it is open to others, or it is not a key file.
    pub fn describe(&self) -> Result<Description, IdentityError> {
        let text = self.read()?;
        self.split(text.expose())
            .map(|(description, _)| description)
    }

    /// Opens the file. Machine-bound files need no passphrase and ignore one.
    ///
    /// # Errors
    /// [`IdentityError::PassphraseNeeded`] where one is needed and none was given: ask, and call again.
    pub fn load(&self, passphrase: Option<&Secret<String>>) -> Result<Identity, IdentityError> {
        let text = self.read()?;
        let (description, armored) = self.split(text.expose())?;
        let plain = match (description.protection, passphrase) {
            (Protection::Machine, _) => {
                let machine = Machine::load(&self.machine_secret)?;
                self.opened(decrypt(armored, machine.identities()))
            }
            (Protection::Nothing, _) => Ok(Secret::new(armored.as_bytes().to_vec())),
            (Protection::Passphrase, None) => {
                return Err(IdentityError::PassphraseNeeded {
                    path: self.path.clone(),
                });
            }
            (Protection::Passphrase, Some(passphrase)) => {
                self.opened(decrypt_with_passphrase(armored, passphrase))
            }
        }?;
        let identity = payload::read(plain.expose())?;
        let is_as_described =
            identity.subject() == description.subject && identity.public_key() == description.key;
        if is_as_described {
            Ok(identity)
        } else {
            Err(IdentityError::Altered {
                path: self.path.clone(),
            })
        }
    }

    /// What the file is to hold.
    fn text(&self, identity: &Identity, lock: Lock<'_>) -> Result<Secret<String>, IdentityError> {
        let plain = payload::write(identity);
        let (body, protection, title) = match lock {
            Lock::Passphrase(passphrase) => (
                Secret::new(encrypt_with_passphrase(&plain, passphrase)?),
                Protection::Passphrase,
                TITLE,
            ),
            Lock::Machine => {
                let machine = Machine::load_or_create(&self.machine_secret)?;
                let body = encrypt(&plain, &machine.recipient())?;
                (Secret::new(body), Protection::Machine, TITLE)
            }
            Lock::Nothing => (plain, Protection::Nothing, TITLE_PLAIN),
        };
        Ok(Secret::new(format!(
            "{title}\n# id {}\n# key {}\n# opens with {}\n{}",
            identity.subject(),
            identity.public_key(),
            protection.text(),
            body.expose(),
        )))
    }

    fn read(&self) -> Result<Secret<String>, IdentityError> {
        let path = || self.path.clone();
        let bytes =
            read_bounded(&self.path, KEYFILE_BYTES_MAX).map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => IdentityError::Missing { path: path() },
                _ => IdentityError::Read {
                    path: path(),
                    source,
                },
            })?;
        check_private(&self.path)?;
        let text = String::from_utf8(bytes).map(Secret::new);
        text.map_err(|_| IdentityError::NotKeyfile { path: path() })
    }

    fn split<'a>(&self, text: &'a str) -> Result<(Description, &'a str), IdentityError> {
        split(text).ok_or_else(|| IdentityError::NotKeyfile {
            path: self.path.clone(),
        })
    }

    fn opened(
        &self,
        plain: Result<Secret<Vec<u8>>, DecryptError>,
    ) -> Result<Secret<Vec<u8>>, IdentityError> {
        let path = self.path.clone();
        plain.map_err(|error| match error {
            DecryptError::NoKey => IdentityError::OtherMachine { path },
            DecryptError::Passphrase => IdentityError::WrongPassphrase,
            DecryptError::Work => IdentityError::TooMuchWork,
            DecryptError::Damaged => IdentityError::NotKeyfile { path },
        })
    }
}

impl Identity {
    /// This identity as an armored age file under a passphrase: it opens on any machine, with Allod or with `age -d`.
    ///
    /// # Errors
    /// Where the passphrase is too short.
    pub fn export(&self, passphrase: &Secret<String>) -> Result<String, IdentityError> {
        encrypt_with_passphrase(&payload::write(self), passphrase)
    }

    /// Reads back what [`Identity::export`] wrote, or a passphrase-protected key file.
    ///
    /// # Errors
    /// Where the text is not an exported identity, or the passphrase is not the one it was exported with.
    pub fn import(text: &str, passphrase: &Secret<String>) -> Result<Self, IdentityError> {
        let is_short = u64::try_from(text.len()).is_ok_and(|len| len <= KEYFILE_BYTES_MAX);
        let start = text
            .find(ARMOR_START)
            .filter(|_| is_short)
            .ok_or(IdentityError::NotExport)?;
        let (_, armored) = text.split_at(start);
        let plain = decrypt_with_passphrase(armored, passphrase).map_err(|error| match error {
            DecryptError::NoKey | DecryptError::Damaged => IdentityError::NotExport,
            DecryptError::Passphrase => IdentityError::WrongPassphrase,
            DecryptError::Work => IdentityError::TooMuchWork,
        })?;
        payload::read(plain.expose())
    }
}

fn split(text: &str) -> Option<(Description, &str)> {
    let (title, rest) = text.split_once('\n')?;
    let (subject, rest) = rest.split_once('\n')?;
    let (key, rest) = rest.split_once('\n')?;
    let (protection, armored) = rest.split_once('\n')?;
    title.starts_with("# allod identity v1.").then_some(())?;
    let protection = match protection.strip_prefix("# opens with ")? {
        "this machine" => Protection::Machine,
        "a passphrase" => Protection::Passphrase,
        "nothing" => Protection::Nothing,
        _ => return None,
    };
    let subject = subject.strip_prefix("# id ")?.parse().ok()?;
    let key = key.strip_prefix("# key ")?.parse().ok()?;
    Some((
        Description {
            subject,
            key,
            protection,
        },
        armored,
    ))
}

enum DecryptError {
    NoKey,
    Passphrase,
    Work,
    Damaged,
}

fn encrypt(
    plain: &Secret<String>,
    recipient: &dyn age::Recipient,
) -> Result<String, IdentityError> {
    let encryptor = Encryptor::with_recipients(std::iter::once(recipient))
        .map_err(|_| IdentityError::Encrypt)?;
    let mut out = Vec::new();
    let written = armor::ArmoredWriter::wrap_output(&mut out, armor::Format::AsciiArmor)
        .and_then(|armor| encryptor.wrap_output(armor))
        .and_then(|mut writer| {
            writer.write_all(plain.expose().as_bytes())?;
            writer.finish()?.finish()
        });
    written.map_err(|_| IdentityError::Encrypt)?;
    String::from_utf8(out).map_err(|_| IdentityError::Encrypt)
}

fn encrypt_with_passphrase(
    plain: &Secret<String>,
    passphrase: &Secret<String>,
) -> Result<String, IdentityError> {
    if passphrase.expose().len() < PASSPHRASE_BYTES_MIN {
        return Err(IdentityError::ShortPassphrase {
            min: PASSPHRASE_BYTES_MIN,
        });
    }
    let mut recipient = scrypt::Recipient::new(SecretString::from(passphrase.expose().clone()));
    recipient.set_work_factor(SCRYPT_LOG_N);
    encrypt(plain, &recipient)
}

fn decrypt_with_passphrase(
    armored: &str,
    passphrase: &Secret<String>,
) -> Result<Secret<Vec<u8>>, DecryptError> {
    let mut identity = scrypt::Identity::new(SecretString::from(passphrase.expose().clone()));
    identity.set_max_work_factor(SCRYPT_LOG_N_MAX);
    let identity: &dyn age::Identity = &identity;
    decrypt(armored, std::iter::once(identity)).map_err(|error| match error {
        DecryptError::NoKey => DecryptError::Passphrase,
        other => other,
    })
}

fn decrypt<'a>(
    armored: &str,
    identities: impl Iterator<Item = &'a dyn age::Identity>,
) -> Result<Secret<Vec<u8>>, DecryptError> {
    let armored = armor::ArmoredReader::new(armored.as_bytes());
    let decryptor = Decryptor::new_buffered(armored).map_err(|_| DecryptError::Damaged)?;
    let reader = decryptor.decrypt(identities).map_err(|error| match error {
        age::DecryptError::NoMatchingKeys => DecryptError::NoKey,
        age::DecryptError::DecryptionFailed | age::DecryptError::KeyDecryptionFailed => {
            DecryptError::Passphrase
        }
        age::DecryptError::ExcessiveWork { .. } => DecryptError::Work,
        _ => DecryptError::Damaged,
    })?;
    // Room for the whole, so that growing leaves no copies behind.
    let mut plain = Vec::with_capacity(usize::try_from(PAYLOAD_BYTES_MAX).unwrap_or(0) + 1);
    let read = reader.take(PAYLOAD_BYTES_MAX).read_to_end(&mut plain);
    let plain = Secret::new(plain);
    read.map(|_| plain).map_err(|_| DecryptError::Damaged)
}
