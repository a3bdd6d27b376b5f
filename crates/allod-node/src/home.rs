//! One installation's directory: where everything of it lies, and who may read it.
//!
//! `ALLOD_HOME=<dir>` holds everything of one installation, so that several run side by side. Without it, root gets the
//! system's directories and everybody else the XDG ones:
//!
//! | what | `ALLOD_HOME=D` | root | others (XDG) |
//! |---|---|---|---|
//! | the account's identity | `D/identity.age` | `/etc/allod/` | `~/.config/allod/` |
//! | installation id, `root/`, `node/` | `D/` | `/var/lib/allod/` | `~/.local/share/allod/` |
//! | machine secret | `D/machine.secret` | `/var/lib/allod/` | `~/.local/state/allod/` |
//! | `api.json`, sockets in `run/` | `D/`, `D/run/` | `/run/allod/` | `~/.local/state/allod/` |
//! | logs | `D/logs/` | `/var/log/allod/` | `~/.local/state/allod/logs/` |
//!
//! Directories that Allod makes can be passed through but not listed by others (0711), because the unprivileged network
//! process must reach `node/`; what is private inside is 0700, and key files are 0600.

mod api;
mod file;

pub use api::RunningApi;
pub use file::create_once;
pub(crate) use file::{read_bounded, rename, replace};

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use allod_state::PublicKey;
use etcetera::BaseStrategy;

use crate::identity::{Identity, IdentityError, Keyfile, Secret, unlocked};

/// What `sun_path` holds, without its closing zero byte.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest socket name Allod uses inside `run/`; a home that leaves less is refused at once, not at the first deploy.
const SOCKET_NAME_BYTES_MAX: usize = 32;
const INSTALLATION_FILE_BYTES_MAX: u64 = 64;
/// Passable, not listable.
const MODE_PASSABLE: u32 = 0o711;
const MODE_PRIVATE: u32 = 0o700;

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// There is no way to know where things belong.
    #[error(
        "neither ALLOD_HOME nor HOME is set; set ALLOD_HOME=<dir> to say where this installation lives"
    )]
    Nowhere,
    /// `ALLOD_HOME` is set to nothing.
    #[error("ALLOD_HOME is empty; unset it, or set it to a directory")]
    Empty,
    /// A directory could not be made.
    #[error(
        "cannot create the directory {path}; make it writable for you, or set ALLOD_HOME to one that is"
    )]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else stands where a directory belongs.
    #[error("{path} is not a directory; move it away, or set ALLOD_HOME to another place")]
    NotDirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// The directory belongs to another user.
    #[error(
        "{path} belongs to user {owner} and you are user {user}; run the command as that user (sudo), or set ALLOD_HOME to a directory of your own"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who asks.
        user: u32,
    },
    /// The directory cannot be written.
    #[error(
        "cannot write in {path}; check its permissions and that its disk is neither full nor read-only"
    )]
    NotWritable {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Unix sockets could not be bound in it.
    #[error(
        "{path} would be {bytes} bytes long, and a unix socket's path may have {max}; set ALLOD_HOME to a shorter path, such as /var/lib/allod-2"
    )]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
        /// The longest that works.
        max: usize,
    },
    /// The file of the installation id holds something else.
    #[error(
        "{path} does not hold an installation id (8 hexadecimal digits); restore it, or delete it if nothing of this installation runs"
    )]
    BadInstallation {
        /// The file.
        path: PathBuf,
    },
    /// `api.json` holds something else.
    #[error("{path} is not the record of a running API; delete it and start `allod up` again")]
    BadApiRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of the home could not be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of the home could not be written.
    #[error("cannot write {path}; check the free space and permissions of its directory")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `node/` could not be handed to the network process's user.
    #[error("cannot give {path} to user {uid}; `allod up` must run as root")]
    Give {
        /// The file or directory.
        path: PathBuf,
        /// To whom.
        uid: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for the installation id")]
    Random,
}

/// Names one installation on its machine: part of every name that Allod leaves on the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationId([u8; 4]);

impl InstallationId {
    /// The id that these eight lower-case hexadecimal digits name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The places of one installation. Making the value touches nothing; [`Home::prepare`] makes the directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    config: PathBuf,
    data: PathBuf,
    state: PathBuf,
    run: PathBuf,
    logs: PathBuf,
    api: PathBuf,
}

impl Home {
    /// The home that the environment names.
    ///
    /// # Errors
    /// Where `ALLOD_HOME` is empty, or is not set and there is no home directory either.
    pub fn from_environment() -> Result<Self, HomeError> {
        let is_root = rustix::process::geteuid().is_root();
        Self::choose(std::env::var_os("ALLOD_HOME"), is_root)
    }

    fn choose(allod_home: Option<OsString>, is_root: bool) -> Result<Self, HomeError> {
        match allod_home {
            Some(dir) if dir.is_empty() => Err(HomeError::Empty),
            Some(dir) => Self::at(Path::new(&dir)),
            None if is_root => Ok(Self::of_system()),
            None => Self::of_user(),
        }
    }

    /// Everything in one directory. A relative path is taken from the current directory.
    ///
    /// # Errors
    /// Where the path is relative and the current directory is gone.
    pub fn at(dir: &Path) -> Result<Self, HomeError> {
        let dir = std::path::absolute(dir).map_err(|source| HomeError::Read {
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            run: dir.join("run"),
            logs: dir.join("logs"),
            api: dir.join("api.json"),
            config: dir.clone(),
            state: dir.clone(),
            data: dir,
        })
    }

    fn of_system() -> Self {
        Self {
            config: "/etc/allod".into(),
            data: "/var/lib/allod".into(),
            state: "/var/lib/allod".into(),
            run: "/run/allod".into(),
            logs: "/var/log/allod".into(),
            api: "/run/allod/api.json".into(),
        }
    }

    fn of_user() -> Result<Self, HomeError> {
        let xdg = etcetera::choose_base_strategy().map_err(|_| HomeError::Nowhere)?;
        // Workloads outlive a login, so their sockets do not belong in XDG_RUNTIME_DIR, which a logout removes.
        let state = xdg.state_dir().ok_or(HomeError::Nowhere)?.join("allod");
        Ok(Self {
            config: xdg.config_dir().join("allod"),
            data: xdg.data_dir().join("allod"),
            run: state.join("run"),
            logs: state.join("logs"),
            api: state.join("api.json"),
            state,
        })
    }

    /// Makes every directory that is missing, and checks that the installation can work there.
    ///
    /// # Errors
    /// Where a directory cannot be made or written, belongs to somebody else, or is too deep for unix sockets.
    pub fn prepare(&self) -> Result<(), HomeError> {
        let longest = self.run.as_os_str().as_bytes().len() + 1 + SOCKET_NAME_BYTES_MAX;
        if longest > SOCKET_PATH_BYTES_MAX {
            let max = SOCKET_PATH_BYTES_MAX - 1 - SOCKET_NAME_BYTES_MAX;
            let bytes = self.run.as_os_str().as_bytes().len();
            return Err(HomeError::TooLong {
                path: self.run.clone(),
                bytes,
                max,
            });
        }
        // `root/` is passed through on the way to the logs, which the network process may read; what lies beside them
        // is closed by the root process itself.
        for dir in [
            &self.config,
            &self.data,
            &self.state,
            &self.run,
            &self.root_dir(),
        ] {
            make_dir(dir, MODE_PASSABLE)?;
        }
        for dir in [&self.logs, &self.node_dir()] {
            make_dir(dir, MODE_PRIVATE)?;
        }
        self.installation().map(drop)
    }

    /// The id of this installation, drawn at random when it is first asked for.
    ///
    /// # Errors
    /// Where its file cannot be read or made, or holds something else.
    pub fn installation(&self) -> Result<InstallationId, HomeError> {
        let path = self.data.join("installation");
        if !path.exists() {
            let mut id = [0; 4];
            getrandom::fill(&mut id).map_err(|_| HomeError::Random)?;
            let text = format!("{}\n", InstallationId(id));
            // Of two commands that start together one wins, and both read what it wrote.
            create_once(&path, text.as_bytes(), 0o644).map_err(|source| HomeError::Write {
                path: path.clone(),
                source,
            })?;
        }
        let text =
            read_bounded(&path, INSTALLATION_FILE_BYTES_MAX).map_err(|source| HomeError::Read {
                path: path.clone(),
                source,
            })?;
        std::str::from_utf8(&text)
            .ok()
            .and_then(|text| InstallationId::parse(text.trim()))
            .ok_or(HomeError::BadInstallation { path })
    }

    /// The account's identity: the file and what unlocks it.
    #[must_use]
    pub fn account_keyfile(&self) -> Keyfile {
        self.keyfile(self.config.join("identity.age"))
    }

    /// An identity in a file of its own, which this installation's machine secret opens where it is bound to it.
    #[must_use]
    pub fn keyfile(&self, path: PathBuf) -> Keyfile {
        Keyfile::new(path, self.state.join("machine.secret"))
    }

    /// Opens an identity: with `passphrase` where one is given, and otherwise also with what `allod identity unlock`
    /// holds open.
    ///
    /// # Errors
    /// See [`Keyfile::load`].
    pub fn open_identity(
        &self,
        keyfile: &Keyfile,
        passphrase: Option<&Secret<String>>,
    ) -> Result<Identity, IdentityError> {
        match keyfile.load(passphrase) {
            Err(IdentityError::PassphraseNeeded { path }) => {
                let description = keyfile.describe()?;
                unlocked(&self.unlocked_socket(&description.key), &description)
                    .ok_or(IdentityError::PassphraseNeeded { path })
            }
            other => other,
        }
    }

    /// Where the process listens that holds a key open.
    #[must_use]
    pub fn unlocked_socket(&self, key: &PublicKey) -> PathBuf {
        let name: String = data_encoding::HEXLOWER.encode(&key.as_bytes()[..4]);
        self.run.join(format!("unlocked-{name}"))
    }

    /// The node's own key. It and its machine secret lie in `node/`, which the network process owns.
    #[must_use]
    pub fn node_keyfile(&self) -> Keyfile {
        let dir = self.node_dir();
        Keyfile::new(dir.join("node.age"), dir.join("machine.secret"))
    }

    /// What the unprivileged network process owns: its key, the ledger, the blobs.
    #[must_use]
    pub fn node_dir(&self) -> PathBuf {
        self.data.join("node")
    }

    /// What only root reads: layers, volumes, uppers, the intent journal.
    #[must_use]
    pub fn root_dir(&self) -> PathBuf {
        self.data.join("root")
    }

    /// Sockets.
    #[must_use]
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Logs of Allod's own processes.
    #[must_use]
    pub fn logs_dir(&self) -> &Path {
        &self.logs
    }

    /// The optional configuration file.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.config.join("allod.toml")
    }

    /// The socket at which the API answers this home's owner and root alone.
    #[must_use]
    pub fn own_door(&self) -> PathBuf {
        self.run.join("api")
    }

    /// The path of the socket `name` in `run/`.
    ///
    /// # Errors
    /// Where the path is longer than the kernel binds.
    pub fn socket(&self, name: &str) -> Result<PathBuf, HomeError> {
        let path = self.run.join(name);
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(HomeError::TooLong {
                path,
                bytes,
                max: SOCKET_PATH_BYTES_MAX,
            });
        }
        Ok(path)
    }

    /// Hands `node/` and all in it to the user that the network process runs as. Links are handed over, not followed.
    ///
    /// # Errors
    /// Where the system refuses, which it does to everybody but root.
    pub fn give_node_dir(&self, uid: u32, gid: u32) -> Result<(), HomeError> {
        let mut left = vec![self.node_dir()];
        while let Some(path) = left.pop() {
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid)).map_err(|source| {
                HomeError::Give {
                    path: path.clone(),
                    uid,
                    source,
                }
            })?;
            let read = |source| HomeError::Read {
                path: path.clone(),
                source,
            };
            if fs::symlink_metadata(&path).map_err(read)?.is_dir() {
                for entry in fs::read_dir(&path).map_err(read)? {
                    left.push(entry.map_err(read)?.path());
                }
            }
        }
        Ok(())
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), HomeError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    let found = match (made, fs::metadata(path)) {
        (_, Ok(found)) if !found.is_dir() => {
            return Err(HomeError::NotDirectory {
                path: path.to_owned(),
            });
        }
        (Err(source), _) | (Ok(()), Err(source)) => {
            return Err(HomeError::Create {
                path: path.to_owned(),
                source,
            });
        }
        (Ok(()), Ok(found)) => found,
    };
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Ok(());
    }
    if found.uid() != user.as_raw() {
        let (owner, user) = (found.uid(), user.as_raw());
        return Err(HomeError::Foreign {
            path: path.to_owned(),
            owner,
            user,
        });
    }
    rustix::fs::access(
        path,
        rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
    )
    .map_err(|error| HomeError::NotWritable {
        path: path.to_owned(),
        source: error.into(),
    })
}

#[cfg(test)]
mod tests;
