//! With which ledger a machine begins: what its folder holds, and what members give it.

use allod_ledger::disk::RealDisk;
use allod_ledger::store::{Store, Tip};
use allod_state::Action;
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use tempfile::TempDir;

use super::beginning::{learn_if_lost, newest};
use super::*;
use crate::founding::found;
use crate::home::Home;
use crate::invite::{Entrance, draw};
use crate::limits::IMAGES_BYTES_MAX;

/// How long anything in these tests may take.
const SOON: Duration = Duration::from_secs(30);

/// What a node of that home begins with, all doors at free ports of this machine.
pub(crate) fn settings(home: &Home) -> Settings {
    Settings {
        places: Places {
            node: home.node_dir(),
            run: home.run_dir().to_owned(),
            runtime: home.root_dir(),
        },
        ingress: vec![TcpListener::bind("127.0.0.1:0").unwrap()],
        resolv_conf: PathBuf::new(),
        images_bytes_max: IMAGES_BYTES_MAX,
        peers: SocketAddr::from(([127, 0, 0, 1], 0)),
        relay: None,
        looks_on_lan: false,
    }
}

/// A home, and what its node begins with.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// One with a network of its own.
    fn founded() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        found(&machine.home(), None, None).unwrap();
        machine
    }

    fn home(&self) -> Home {
        Home::at(self.dir.path()).unwrap()
    }

    /// What the node owns.
    fn node_dir(&self) -> PathBuf {
        self.home().node_dir()
    }

    fn ledger(&self) -> PathBuf {
        self.node_dir().join(LEDGER_FOLDER)
    }

    fn identity(&self) -> Arc<Identity> {
        Arc::new(node_keyfile(&self.node_dir()).load(None).unwrap())
    }

    fn genesis(&self) -> Genesis {
        let bytes = read(&self.node_dir().join("genesis")).unwrap();
        codec::decode("genesis", GENESIS_BYTES_MAX, &bytes).unwrap()
    }

    async fn start(&self) -> Node {
        let node = Node::start(settings(&self.home())).await.unwrap();
        // Its owner's first transaction lists it.
        node.listed().await;
        node
    }

    /// Ends its node, and waits until this process holds none of its files.
    async fn end(&self, node: Node) {
        node.stop().await;
        let dir = self.node_dir();
        let is_held = || {
            let held = std::fs::read_dir("/proc/self/fd").unwrap();
            let mut held = held.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
            held.any(|path| path.starts_with(&dir))
        };
        let released = async {
            while is_held() {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, released).await.unwrap();
    }

    /// Lists a key for its owner, which takes a block.
    async fn add_key(&self, node: &Node, key: PublicKey, grant: Grant) {
        let owner = self.home().account_keyfile().load(None).unwrap();
        let (account, state) = (owner.account().unwrap(), node.state());
        let actions: Vec<Action> = vec![AddKey { key, grant }.into()];
        let body = Body {
            version: PROTOCOL_VERSION,
            network: state.network(),
            account,
            key: owner.public_key(),
            nonce: state.nonce(&account, &owner.public_key()).unwrap(),
            expires_ms: now_ms() + 60_000,
            work_limit: actions.iter().map(Action::work).sum(),
            actions,
        };
        let signature = owner.sign(&body.sign_bytes());
        let receipt = node.submit(Transaction { body, signature }).await.unwrap();
        assert_eq!(receipt.rejection, None);
    }

    /// Has one more block decided.
    async fn add_any_key(&self, node: &Node) {
        let key = Identity::new_account().unwrap().public_key();
        self.add_key(node, key, Grant::full()).await;
    }

    async fn invite(&self, node: &Node) -> Invite {
        let (secret, key) = draw().unwrap();
        let expires_ms = now_ms() + 60_000;
        self.add_key(node, key, Grant::of_invite(expires_ms)).await;
        let mut heights = node.heights();
        let listening = async {
            loop {
                if let Some(entrance) = node.network().entrance {
                    return entrance.parse::<Entrance>().unwrap();
                }
                heights.changed().await.unwrap();
            }
        };
        let owner = self.home().account_keyfile().load(None).unwrap();
        Invite {
            network: node.state().network(),
            inviter: owner.account().unwrap(),
            secret,
            expires_ms,
            entrance: timeout(SOON, listening).await.unwrap(),
        }
    }

    /// One that has joined, and was turned off.
    async fn joined(founder: &Self, node: &Node) -> Self {
        let invite = founder.invite(node).await;
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        found(&machine.home(), None, Some(&invite)).unwrap();
        let joined = machine.start().await;
        machine.end(joined).await;
        machine
    }

    fn store(&self) -> Store {
        let disk = RealDisk::new(&self.ledger()).unwrap();
        Store::open(&disk, &self.genesis()).unwrap()
    }

    fn tip(&self) -> Option<Tip> {
        self.store().tip().unwrap()
    }

    async fn learn(&self) -> Result<bool, StartError> {
        self.learn_at(now_ms()).await
    }

    /// As a start at that time.
    async fn learn_at(&self, now_ms: u64) -> Result<bool, StartError> {
        let (dir, identity) = (self.node_dir(), self.identity());
        learn_if_lost(&dir, &identity, &self.genesis(), now_ms).await
    }
}

#[tokio::test]
async fn a_folder_with_nothing_in_it_is_no_ledger() {
    let machine = Machine::founded();
    machine.learn().await.unwrap();
    // Its disk is not mounted: what was decided is elsewhere, and nothing is begun in its place.
    std::fs::write(machine.node_dir().join(BEGUN_FILE), []).unwrap();
    std::fs::create_dir(machine.ledger()).unwrap();
    let refused = machine.learn().await;
    assert!(
        matches!(refused, Err(StartError::LedgerGone)),
        "{refused:?}"
    );
    std::fs::write(machine.ledger().join("store.redb"), []).unwrap();
    machine.learn().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_founded_and_not_learned_asks_for_a_snapshot_again() {
    let founder = Machine::founded();
    let node = founder.start().await;
    let machine = Machine::joined(&founder, &node).await;
    // As a machine leaves it that dies in the middle of an import.
    std::fs::remove_dir_all(machine.ledger()).unwrap();
    assert_eq!(machine.tip(), None);
    assert!(!machine.learn().await.unwrap());
    assert!(machine.tip().is_some());
    founder.end(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_longer_than_blocks_are_kept_begins_with_a_snapshot() {
    let founder = Machine::founded();
    let node = founder.start().await;
    let machine = Machine::joined(&founder, &node).await;
    founder.add_any_key(&node).await;
    let before = machine.tip().unwrap().header;
    let gone_ms = before.time_ms + LEDGER_RETENTION_MS;
    assert!(!machine.learn_at(gone_ms).await.unwrap());
    assert_eq!(
        machine.tip().unwrap().header,
        before,
        "others keep its next"
    );

    assert!(!machine.learn_at(gone_ms + 1).await.unwrap());
    let height = machine.tip().unwrap().header.height;
    assert!(height > before.height, "{height}");
    assert_eq!(machine.store().oldest_height().unwrap(), None);

    // It goes on from there, and has forgotten nothing that it signed.
    founder.add_any_key(&node).await;
    let height = node.state().tip().height;
    let back = machine.start().await;
    let mut heights = back.heights();
    let caught_up = heights.wait_for(|now| *now >= height);
    timeout(SOON, caught_up).await.unwrap().unwrap();
    assert_eq!(back.inner.ledger.view().quarantine, None);
    machine.end(back).await;
    founder.end(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_alone_holds_is_known_too() {
    let founder = Machine::founded();
    let node = founder.start().await;
    let machine = Machine::joined(&founder, &node).await;
    let other = machine.start().await;
    founder.add_any_key(&node).await;
    let height = node.state().tip().height;
    let mut heights = other.heights();
    let caught_up = heights.wait_for(|now| *now >= height);
    timeout(SOON, caught_up).await.unwrap().unwrap();
    // As a loss of power leaves it: what is decided is in the log, and not in the store yet.
    let left = machine.node_dir().join("left");
    std::fs::create_dir(&left).unwrap();
    for file in std::fs::read_dir(machine.ledger()).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), left.join(file.file_name())).unwrap();
    }
    machine.end(other).await;
    std::fs::remove_dir_all(machine.ledger()).unwrap();
    std::fs::rename(&left, machine.ledger()).unwrap();
    assert!(machine.tip().unwrap().header.height < height);

    let newest = newest(
        &machine.node_dir(),
        &machine.identity(),
        &machine.genesis(),
        u64::MAX,
    );
    assert!(newest.unwrap().unwrap().header.height >= height);
    founder.end(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_given_no_snapshot_says_so_and_asks_again_at_the_next_start_slow() {
    let founder = Machine::founded();
    let node = founder.start().await;
    let machine = Machine::joined(&founder, &node).await;
    founder.end(node).await;
    std::fs::remove_dir_all(machine.ledger()).unwrap();
    let alone = Node::start(settings(&machine.home())).await.unwrap();
    let notice = alone.network().notice.unwrap();
    assert!(notice.starts_with("no member has given"), "{notice}");
    machine.end(alone).await;

    let node = founder.start().await;
    let back = machine.start().await;
    let oldest = back.network().oldest;
    assert_ne!(oldest, Some(1), "it has settled for every block");
    let notice = back.network().notice.unwrap_or_default();
    assert!(!notice.contains("no member has given"), "{notice}");
    machine.end(back).await;
    founder.end(node).await;
}
