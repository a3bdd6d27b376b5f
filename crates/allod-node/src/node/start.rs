//! Starting a node: opens what it keeps, then sets its parts going.

pub(super) mod beginning;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use allod_ledger::bft::{Signer as Voter, Timing};
use allod_ledger::chain::{self, Chain, Outbound};
use allod_ledger::limits::{CHECKPOINT_BLOCKS, WAL_PREPARED_BYTES};
use allod_ledger::replica::{Commit, Settings as LedgerSettings};
use allod_net::limits::{IngressLimits, PortLimits, ResolverLimits};
use allod_net::peer::Peers;
use allod_net::resolver::Resolver;
use allod_net::{Dialer, Ingress, Ports, Routes};
use allod_runtime::Client;
use allod_state::genesis::Genesis;
use allod_state::limits::BLOCK_BYTES_MAX;
use allod_state::{NodeId, PublicKey, Signature, Transaction, codec};
use tokio::sync::{Mutex, broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::agent::{Agent, Event, Tables, Upstreams, chain as words};
use crate::archive::{Archive, Entry, items_of};
use crate::details::Details;
use crate::doors::Doors;
use crate::fault::{Point, reach};
use crate::founding::JOINING_FILE;
use crate::identity::{Identity, IdentityError, Keyfile};
use crate::images::{ImageError, Images};
use crate::inner::Inner;
use crate::invite::Invite;
use crate::ledger::Ledger;
use crate::limits::{
    AGENT_EVENTS_MAX, GENESIS_BYTES_MAX, LEDGER_RETENTION_MS, LISTED_WAIT, RETRY_PAUSE,
    SPACE_LOW_BYTES,
};
use crate::lines::Lines;
use crate::manifests::Manifests;
use crate::node::Node;
use crate::node::parts::Parts;
use crate::peers::{self, JoinError, Unopened};
use crate::porter;
use crate::ports::PickedPorts;
use crate::registries::Registries;
use crate::scrub;
use crate::signer::Signer;
use crate::snapshots::Snapshots;
use crate::time::now_ms;
use crate::whole;

/// Where a node keeps its things. Relative paths are taken from the working directory, which may be one that this
/// process could not walk to.
#[derive(Debug, Clone)]
pub struct Places {
    /// What the node owns.
    pub node: PathBuf,
    /// Where the root process listens.
    pub run: PathBuf,
    /// The root process's directory, of which the node reads the logs.
    pub runtime: PathBuf,
}

/// The ledger's folder in the node's directory.
const LEDGER_FOLDER: &str = "ledger";

/// The file in the node's directory that says that this node's key has opened a ledger: without it, it has signed nothing.
/// It lies outside of the ledger's folder, to be there when that is lost.
const BEGUN_FILE: &str = "begun";

/// What a node is started with.
#[derive(Debug)]
pub struct Settings {
    /// Where it keeps its things.
    pub places: Places,
    /// Where its ingress listens.
    pub ingress: Vec<TcpListener>,
    /// The host's `resolv.conf`; what it says later counts as well.
    pub resolv_conf: PathBuf,
    /// What images may take of the disk before those that nobody needs go, the longest unused first.
    pub images_bytes_max: u64,
    /// Where to listen for peers; port 0 takes the one of the last time, or any free one.
    pub peers: SocketAddr,
    /// Where to relay for other members, at an address that they reach.
    pub relay: Option<SocketAddr>,
    /// Whether members on the own local networks are looked for.
    pub looks_on_lan: bool,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file or directory could not be used.
    #[error("could not use {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} does not hold what it should; restore it from a copy")]
    Content {
        /// Which.
        path: PathBuf,
    },
    /// The ledger is gone, and nobody is known who has it.
    #[error(
        "the folder node/{LEDGER_FOLDER} of this home is gone or empty, and this machine knows no other that has the ledger; \
         mount its disk or restore it from a copy, or found another network in an empty home"
    )]
    LedgerGone,
    /// The node's key could not be loaded.
    #[error("could not load the node's key")]
    Identity(#[from] IdentityError),
    /// The key file is an account's.
    #[error("the key in the node's directory belongs to an account, not to a node")]
    NotANode,
    /// This machine could not join its network.
    #[error("could not join the network")]
    Join(#[from] JoinError),
    /// The ledger did not start.
    #[error("the ledger did not start")]
    Ledger(#[from] chain::StartError),
    /// The image store did not open.
    #[error("the image store did not open")]
    Images(#[from] ImageError),
    /// The ingress did not start.
    #[error("the ingress did not start")]
    Ingress(#[source] io::Error),
}

impl Node {
    /// Starts a node. Its tasks end when the last handle is dropped.
    ///
    /// # Errors
    /// Where something that it keeps cannot be opened.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let dir = settings.places.node.clone();
        let identity = Arc::new(node_keyfile(&dir).load(None)?);
        let node = identity.node().ok_or(StartError::NotANode)?;
        let invite = pending(&dir)?;
        let farewell = join_network(&dir, invite.as_ref()).await?;
        let genesis_bytes = read(&dir.join("genesis"))?;
        let content = || StartError::Content {
            path: dir.join("genesis"),
        };
        let genesis: Genesis =
            codec::decode("genesis", GENESIS_BYTES_MAX, &genesis_bytes).map_err(|_| content())?;
        let network = genesis.network();
        let lacks_snapshot = beginning::learn_if_lost(&dir, &identity, &genesis, now_ms()).await?;
        let (chain, said) = open_chain(&dir, genesis, &identity)?;
        let ledger = Ledger::new(chain);
        reach(Point::StartLedgerOpened);

        let file = |path: PathBuf| move |source| StartError::File { path, source };
        whole::clear(&dir).map_err(file(dir.clone()))?;
        let registries = Registries::open(dir.join("registries"), network, node, &identity);
        let registries = Arc::new(registries);
        let images = Arc::new(Images::open(&dir.join("images"), Arc::clone(&registries))?);
        let manifests = Manifests::open(dir.join("manifests"), network, node)
            .map_err(file(dir.join("manifests")))?;
        let archive = Archive::open(dir.join("archive")).map_err(file(dir.join("archive")))?;
        reach(Point::StartArchiveOpened);
        let snapshots =
            Snapshots::open(dir.join("snapshots")).map_err(file(dir.join("snapshots")))?;
        let lines = Lines::open(settings.places.runtime.clone(), dir.join("lines"))
            .map_err(file(dir.join("lines")))?;
        let lines = Arc::new(lines);
        let picked = Arc::new(PickedPorts::open(dir.join("ports")));
        let (opened, peers) = watch::channel(None);
        let dialer = Dialer::new(peers.clone());
        let upstreams = Upstreams::of(settings.resolv_conf);
        let (doors, tables) = open_doors(settings.ingress, upstreams, &lines, picked, dialer)?;
        let inner = Arc::new(Inner {
            dir: dir.clone(),
            node,
            signer: Signer::new(ledger.clone(), Arc::clone(&identity)),
            identity,
            ledger,
            runtime: Client::new(&settings.places.run),
            images,
            images_bytes_max: settings.images_bytes_max,
            registries,
            manifests,
            archive,
            snapshots,
            details: Details::default(),
            lines,
            doors: Arc::new(doors),
            until: watch::Sender::default(),
            peers,
            unopened: Unopened::default(),
            damage: OnceLock::new(),
            lacks_snapshot,
        });
        let company = peers::Settings {
            listen: settings.peers,
            relay: settings.relay,
            looks_on_lan: settings.looks_on_lan,
            genesis: Arc::new(genesis_bytes),
        };
        let node = set_going(inner, tables, company, (said, opened), farewell);
        if invite.is_some() {
            node.listed().await;
        }
        Ok(node)
    }

    /// Waits until this machine's own ledger lists it, for a while: until then its owner's commands mean nothing here.
    async fn listed(&self) {
        let mut heights = self.heights.clone();
        let is_listed = |_: &u64| self.state().node(&self.inner.node).is_some();
        if timeout(LISTED_WAIT, heights.wait_for(is_listed))
            .await
            .is_err()
        {
            tracing::warn!(
                "this machine's ledger has not caught up yet; commands may be refused until it has"
            );
        }
    }
}

/// The invite by which this machine is to join, until it has.
fn pending(dir: &Path) -> Result<Option<Invite>, StartError> {
    let path = dir.join(JOINING_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|source| StartError::File {
        path: path.clone(),
        source,
    })?;
    let invite = text.parse();
    invite.map(Some).map_err(|_| StartError::Content { path })
}

/// Joins where there is an invite, and keeps what it takes to start without it, which goes last. What is left to do is
/// returned.
async fn join_network(dir: &Path, invite: Option<&Invite>) -> Result<JoinSet<()>, StartError> {
    let Some(invite) = invite else {
        return Ok(JoinSet::new());
    };
    let file = |path: PathBuf| move |source| StartError::File { path, source };
    let path = dir.join("founding");
    let listing = Transaction::from_bytes(&read(&path)?);
    let listing = listing.map_err(|_| StartError::Content { path })?;
    let key = listing.body.key;
    let joined = peers::join(invite, &peers::Newcomer { key, listing }).await?;
    peers::remember(dir, &invite.entrance).map_err(file(dir.to_owned()))?;
    let path = dir.join("genesis");
    whole::write(&path, &joined.genesis).map_err(file(path.clone()))?;
    if let Ok(genesis) = codec::decode("genesis", GENESIS_BYTES_MAX, &joined.genesis) {
        // Where there is none, it is asked for again as a member.
        beginning::is_taken(joined.snapshot, dir, &genesis);
    }
    let path = dir.join(JOINING_FILE);
    std::fs::remove_file(&path).map_err(file(path))?;
    tracing::info!(network = %invite.network, "this machine has joined");
    Ok(joined.farewell)
}

/// The key file of a node in its directory.
#[must_use]
pub fn node_keyfile(dir: &Path) -> Keyfile {
    Keyfile::new(dir.join("node.age"), dir.join("machine.secret"))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, StartError> {
    std::fs::read(path).map_err(|source| StartError::File {
        path: path.clone(),
        source,
    })
}

/// Votes with the node's key.
struct NodeVoter(Arc<Identity>);

impl Voter for NodeVoter {
    fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message)
    }

    fn secret(&self) -> [u8; 32] {
        self.0.log_secret()
    }
}

fn open_chain(
    dir: &Path,
    genesis: Genesis,
    identity: &Arc<Identity>,
) -> Result<(Chain, mpsc::Receiver<Outbound>), StartError> {
    let file = |path: PathBuf| move |source| StartError::File { path, source };
    let (folder, begun) = (dir.join(LEDGER_FOLDER), dir.join(BEGUN_FILE));
    std::fs::create_dir_all(&folder).map_err(file(folder.clone()))?;
    let is_new_key = !begun.exists();
    let config = chain::Config {
        folder,
        settings: ledger_settings(dir, genesis)?,
        verify_threads: 2,
        aborts_on_failure: true,
    };
    let (chain, said, threads) = Chain::start(config, NodeVoter(Arc::clone(identity)))?;
    // They end with the last handle.
    drop(threads);
    if is_new_key {
        // After the ledger's own files are there: without those, a founder with this file would wait for others for ever.
        whole::write(&begun, &[]).map_err(file(begun.clone()))?;
    }
    Ok((chain, said))
}

/// What the ledger in a node's directory is opened with.
fn ledger_settings(dir: &Path, genesis: Genesis) -> Result<LedgerSettings, IdentityError> {
    let mut challenge = [0; 32];
    getrandom::fill(&mut challenge).map_err(|_| IdentityError::Random)?;
    Ok(LedgerSettings {
        genesis,
        timing: Timing::default(),
        block_bytes_max: BLOCK_BYTES_MAX,
        retention_ms: LEDGER_RETENTION_MS,
        is_new_key: !dir.join(BEGUN_FILE).exists(),
        challenge,
        wal_prepared_bytes: WAL_PREPARED_BYTES,
        checkpoint_blocks: CHECKPOINT_BLOCKS,
        space_low_bytes: SPACE_LOW_BYTES,
    })
}

fn open_doors(
    listeners: Vec<TcpListener>,
    upstreams: Upstreams,
    lines: &Arc<Lines>,
    picked: Arc<PickedPorts>,
    dialer: Dialer,
) -> Result<(Doors, Tables), StartError> {
    let (routes, routes_seen) = watch::channel(Arc::new(Routes::awaited()));
    let (published, published_seen) = watch::channel(Arc::new(Vec::new()));
    let (names, names_seen) = watch::channel(Arc::default());
    let limits = IngressLimits::default();
    let ingress = Ingress::start(listeners, routes_seen, dialer.clone(), limits)
        .map_err(StartError::Ingress)?;
    let backends_of = Arc::default();
    let tables = Tables {
        routes,
        published,
        names,
        upstreams,
        backends_of: Arc::clone(&backends_of),
        lines: Arc::clone(lines),
        picked: Arc::clone(&picked),
        last: None,
    };
    let doors = Doors {
        picked,
        ingress,
        ports: Mutex::new(Ports::reaching(dialer, PortLimits::default())),
        tunnels: porter::Open::default(),
        calls: porter::Calls::default(),
        published: published_seen,
        statuses: watch::channel(Arc::new(Vec::new())).0,
        backends_of,
        resolver: Mutex::new(Resolver::new(names_seen, ResolverLimits::default())),
        scopes: Mutex::new(BTreeMap::new()),
    };
    Ok((doors, tables))
}

fn set_going(
    inner: Arc<Inner>,
    tables: Tables,
    company: peers::Settings,
    (said, opened): (mpsc::Receiver<Outbound>, watch::Sender<Option<Peers>>),
    mut tasks: JoinSet<()>,
) -> Node {
    let genesis = Arc::clone(&company.genesis);
    let (events, inbox) = mpsc::channel(AGENT_EVENTS_MAX);
    let (seen_sender, seen) = watch::channel(Arc::default());
    // First to be told of further blocks, then to read how far it is: what comes in between is told.
    let commits = inner.ledger.chain().subscribe();
    let height = inner.ledger.state().tip().height;
    let (height_sender, heights) = watch::channel(height);
    tasks.spawn(follow_commits(
        Arc::clone(&inner),
        commits,
        events.clone(),
        height_sender,
    ));
    tasks.spawn(Arc::clone(&inner.doors).follow());
    tasks.spawn(scrub::run(Arc::clone(&inner)));
    watch_runtime(inner.runtime.clone(), events.clone());
    tasks.spawn(Agent::run(
        Arc::clone(&inner),
        tables,
        seen_sender,
        events,
        inbox,
    ));
    // Who knows others is listed already, though its own ledger may not have come so far.
    if !peers::knows_others(&inner.dir)
        && let Ok(founding) = std::fs::read(inner.dir.join("founding"))
    {
        tasks.spawn(found(Arc::clone(&inner), founding));
    }
    let keeping = peers::keep(Arc::clone(&inner), company, seen.clone(), said, opened);
    tasks.spawn(keeping);
    Node {
        inner,
        seen,
        heights,
        genesis,
        parts: Arc::new(Parts::watched(tasks)),
    }
}

/// Lists this machine with its owner's signature, where that has not been done.
async fn found(inner: Arc<Inner>, founding: Vec<u8>) {
    let node: NodeId = inner.node;
    if inner.ledger.state().node(&node).is_some() {
        return;
    }
    let Ok(transaction) = Transaction::from_bytes(&founding) else {
        tracing::error!("the founding transaction cannot be read; run `allod up` again");
        return;
    };
    match inner.ledger.submit(transaction).await {
        Ok(committed) => match committed.receipt.outcome {
            Ok(()) => {
                reach(Point::StartListed);
                tracing::info!(%node, "this machine is listed");
            }
            Err(rejection) => tracing::error!(%rejection, "this machine could not be listed"),
        },
        Err(error) => tracing::error!(error = %words(&error), "this machine could not be listed"),
    }
}

/// Writes what each block did into the archive, and tells the agent and the readers.
async fn follow_commits(
    inner: Arc<Inner>,
    mut commits: broadcast::Receiver<Arc<Commit>>,
    events: mpsc::Sender<Event>,
    heights: watch::Sender<u64>,
) {
    catch_up(&inner);
    if events.send(Event::Committed).await.is_err() {
        return;
    }
    loop {
        match commits.recv().await {
            Ok(commit) => {
                reach(Point::CommitSeen);
                archive_commit(&inner, &commit);
            }
            Err(broadcast::error::RecvError::Lagged(_)) => catch_up(&inner),
            Err(broadcast::error::RecvError::Closed) => return,
        }
        heights.send_replace(inner.ledger.state().tip().height);
        // The agent looks at the newest state anyway: where its inbox is full, it will.
        if let Err(mpsc::error::TrySendError::Closed(_)) = events.try_send(Event::Committed) {
            return;
        }
    }
}

fn archive_commit(inner: &Inner, commit: &Commit) {
    let height = commit.header.height;
    if height != inner.archive.height() + 1 {
        catch_up(inner);
    }
    let receipts = commit
        .receipts
        .iter()
        .flat_map(|receipt| receipt.events.clone());
    let events = receipts.chain(commit.events.clone()).collect();
    let has_evidence = commit
        .receipts
        .iter()
        .any(|receipt| receipt.outcome.is_ok());
    let items = if has_evidence {
        accepted_items(inner, height)
    } else {
        Vec::new()
    };
    keep(
        inner,
        Entry {
            height,
            time_ms: commit.header.time_ms,
            events,
            items,
        },
    );
}

/// Reads the blocks that the archive lacks.
fn catch_up(inner: &Inner) {
    let tip = inner.ledger.state().tip().height;
    for height in inner.archive.height() + 1..=tip {
        let chain = inner.ledger.chain();
        // Blocks that were pruned before they could be archived are gone; the bill still shows their sums.
        let (Ok(Some(block)), Ok(Some(outcome))) = (chain.block(height), chain.outcome(height))
        else {
            continue;
        };
        let receipts = outcome
            .receipts
            .into_iter()
            .flat_map(|receipt| receipt.events);
        let events = receipts.chain(outcome.events).collect();
        let time_ms = block.block.header.time_ms;
        keep(
            inner,
            Entry {
                height,
                time_ms,
                events,
                items: accepted_items(inner, height),
            },
        );
    }
}

/// The evidence that a block's transactions brought in.
fn accepted_items(inner: &Inner, height: u64) -> Vec<allod_state::evidence::Item> {
    let chain = inner.ledger.chain();
    let (Ok(Some(block)), Ok(Some(outcome))) = (chain.block(height), chain.outcome(height)) else {
        return Vec::new();
    };
    let pairs = block.block.transactions.iter().zip(&outcome.receipts);
    let accepted = pairs.filter(|(_, receipt)| receipt.outcome.is_ok());
    accepted
        .flat_map(|(transaction, _)| items_of(&transaction.body.actions))
        .collect()
}

fn keep(inner: &Inner, entry: Entry) {
    if let Err(error) = inner.archive.add(entry) {
        tracing::error!(%error, "the archive could not be written; bills cannot be proved from it");
    }
}

/// Tells the agent whenever the runtime sees a workload change. The thread waits in a blocking read, and ends when
/// the agent has.
fn watch_runtime(runtime: Client, events: mpsc::Sender<Event>) {
    let watch = move || {
        while !events.is_closed() {
            if let Ok(watch) = runtime.watch() {
                // Whatever changed before the watch began is found by looking once.
                let mut news = Some(Event::Sweep);
                while let Some(event) = news {
                    if events.blocking_send(event).is_err() {
                        return;
                    }
                    news = watch.wait().ok().map(Event::Changed);
                }
            }
            std::thread::sleep(RETRY_PAUSE.min(Duration::from_secs(1)));
        }
    };
    let thread = std::thread::Builder::new()
        .name("runtime-watch".to_owned())
        .spawn(watch);
    if let Err(error) = thread {
        tracing::error!(%error, "no thread to watch the runtime; the agent looks every few seconds");
    }
}

#[cfg(test)]
pub(crate) mod tests;
