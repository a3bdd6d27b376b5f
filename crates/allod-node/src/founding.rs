//! Founding: what a network of one needs before its node can start, made once and found again after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use allod_state::genesis::Genesis;
use allod_state::node::{PublishOffer, RegisterNode};
use allod_state::text::Word;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, NetworkId, NodeId, Transaction, codec};

use crate::fault::{Point, reach};
use crate::home::{Home, HomeError};
use crate::identity::{Identity, IdentityError, Secret, Subject};
use crate::invite::Invite;
use crate::limits::{FOUNDING_LIFETIME_MS, GENESIS_BYTES_MAX};
use crate::node::node_keyfile;
use crate::offer;
use crate::time::now_ms;
use crate::whole;

/// The file that keeps an invite until this machine has joined.
pub(crate) const JOINING_FILE: &str = "joining";

/// A home in which a node can start.
#[derive(Debug)]
pub struct Founded {
    /// The owner.
    pub account: AccountId,
    /// The machine.
    pub node: NodeId,
    /// The ledger.
    pub network: NetworkId,
    /// Whether all of this was made just now.
    pub is_new: bool,
}

/// Why a home could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundingError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A key could not be made or loaded.
    #[error("could not make or load a key")]
    Identity(#[from] IdentityError),
    /// A file could not be written or read.
    #[error("could not use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The genesis document holds something else.
    #[error("{path} is no genesis document; restore it from a copy")]
    Genesis {
        /// Where it is.
        path: PathBuf,
    },
    /// The identity's key is not the one that its account began with.
    #[error(
        "the account {account} began with another key than this one, so no new network can be founded with it; use its network with --api URL, or found this one in another ALLOD_HOME"
    )]
    NotFirstKey {
        /// The account.
        account: AccountId,
    },
    /// The identity is not an account's.
    #[error("{path} holds no account's key; move it away, and one is made")]
    NotAnAccount {
        /// Where it is.
        path: PathBuf,
    },
    /// The home belongs to a network already.
    #[error(
        "this home belongs to a network already ({path}), and a machine is in one; join in another one: ALLOD_HOME=DIRECTORY allod join"
    )]
    HasNetwork {
        /// Its genesis document.
        path: PathBuf,
    },
    /// The invite is over.
    #[error("the invite is over; ask for a new one: `allod invite`")]
    InviteOver,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// Makes the account, the node's key and the genesis document where they are missing, and signs the transaction that
/// lists this machine. The node submits it unless it is listed already. With an invite, nothing is founded: the node
/// joins the network that it names when it starts.
///
/// A closed identity is asked for only where nothing was founded yet.
///
/// # Errors
/// Where the home cannot be used, or the identity is needed and `passphrase` does not open it.
pub fn found(
    home: &Home,
    passphrase: Option<&Secret<String>>,
    invite: Option<&Invite>,
) -> Result<Founded, FoundingError> {
    home.prepare()?;
    let keyfile = home.account_keyfile();
    if !keyfile.exists() {
        keyfile.create(&Identity::new_account()?, None)?;
    }
    reach(Point::FoundingAccountMade);
    let Subject::Account(account) = keyfile.describe()?.subject else {
        return Err(FoundingError::NotAnAccount {
            path: keyfile.path().to_owned(),
        });
    };
    let dir = home.node_dir();
    let node_file = node_keyfile(&dir);
    let is_new = !node_file.exists();
    if is_new {
        node_file.create(&Identity::new_node()?, None)?;
    }
    reach(Point::FoundingNodeMade);
    let node = node_file.load(None)?;
    let founding = dir.join("founding");
    let document = dir.join("genesis");
    let joining = joining(&dir, &document, invite)?;
    let owner = match home.open_identity(&keyfile, passphrase) {
        Err(IdentityError::PassphraseNeeded { .. })
            if founding.exists() && (document.exists() || joining.is_some()) =>
        {
            None
        }
        opened => Some(opened?),
    };
    let network = match &joining {
        Some(network) => *network,
        None => genesis(&document, account, owner.as_ref(), &node)?.network(),
    };
    reach(Point::FoundingGenesisWritten);
    if let Some(owner) = owner {
        // Whoever joins offers nothing by itself.
        let offered = joining.is_none().then_some(dir.as_path());
        let listing = listing(network, &owner, account, &node, offered);
        write(&founding, &listing.to_bytes())?;
    }
    reach(Point::FoundingListingWritten);
    let id = NodeId::of_first_key(&node.public_key());
    Ok(Founded {
        account,
        node: id,
        network,
        is_new,
    })
}

/// The network that this machine is yet to join: by the given invite, or by that of an earlier try.
fn joining(
    dir: &Path,
    document: &Path,
    invite: Option<&Invite>,
) -> Result<Option<NetworkId>, FoundingError> {
    let path = dir.join(JOINING_FILE);
    let Some(invite) = invite else {
        let text = fs::read_to_string(&path).ok();
        let invite: Option<Invite> = text.and_then(|text| text.parse().ok());
        return Ok(invite.map(|invite| invite.network));
    };
    if document.exists() {
        return Err(FoundingError::HasNetwork {
            path: document.to_owned(),
        });
    }
    if invite.expires_ms <= now_ms() {
        return Err(FoundingError::InviteOver);
    }
    write(&path, invite.to_string().as_bytes())?;
    Ok(Some(invite.network))
}

fn genesis(
    path: &Path,
    account: AccountId,
    owner: Option<&Identity>,
    node: &Identity,
) -> Result<Genesis, FoundingError> {
    if path.exists() {
        let bytes = fs::read(path).map_err(|source| FoundingError::File {
            path: path.to_owned(),
            source,
        })?;
        return codec::decode("genesis", GENESIS_BYTES_MAX, &bytes).map_err(|_| {
            FoundingError::Genesis {
                path: path.to_owned(),
            }
        });
    }
    let mut salt = [0; 32];
    getrandom::fill(&mut salt).map_err(|_| FoundingError::Random)?;
    let first = owner.map(Identity::public_key);
    let first = first.filter(|key| AccountId::of_first_key(key) == account);
    let first = first.ok_or(FoundingError::NotFirstKey { account })?;
    let genesis = Genesis::of_one(first, node.public_key(), now_ms(), salt);
    write(path, &codec::encode(&genesis))?;
    Ok(genesis)
}

/// The transaction that lists this machine and, where a directory of it is named, offers what it has.
fn listing(
    network: NetworkId,
    owner: &Identity,
    account: AccountId,
    node: &Identity,
    offered: Option<&Path>,
) -> Transaction {
    let sealing_key = node.sealing_key().public();
    let register = RegisterNode {
        key: node.public_key(),
        consent: node.sign(&RegisterNode::consent_bytes(&account, &sealing_key)),
        sealing_key,
        name: host_name(),
    };
    let id = NodeId::of_first_key(&node.public_key());
    let offer = offered.map(|dir| PublishOffer {
        node: id,
        offer: offer::of_this_machine(dir),
    });
    let mut actions: Vec<Action> = vec![register.into()];
    actions.extend(offer.map(Action::from));
    let body = Body {
        version: PROTOCOL_VERSION,
        network,
        account,
        key: owner.public_key(),
        nonce: 0,
        expires_ms: now_ms() + FOUNDING_LIFETIME_MS,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    let signature = owner.sign(&body.sign_bytes());
    Transaction { body, signature }
}

fn host_name() -> Word {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim()
        .to_ascii_lowercase()
        .parse()
        .unwrap_or_else(|_| word("node"))
}

fn word(text: &str) -> Word {
    text.parse()
        .expect("these words are written here and are words")
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), FoundingError> {
    let error = |source| FoundingError::File {
        path: path.to_owned(),
        source,
    };
    whole::write(path, bytes).map_err(error)
}
