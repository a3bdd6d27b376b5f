//! Another owner's machine joins by invite: two real nodes, on loopback.

use allod_node::founding::found;
use allod_node::home::Home;
use allod_node::identity::Identity;
use allod_node::invite::{Entrance, Invite, draw};
use allod_node::node::StartError;
use allod_node::time::now_ms;
use allod_node::{JoinError, Node};
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;
use allod_state::{AccountId, BlockId, NetworkId, NodeId};
use tokio::time::timeout;

use crate::world::{Ground, SOON, World, end, settings};

/// An invite of the owner's, once the node listens for its holder.
async fn invite(world: &World) -> Invite {
    let client = world.client();
    let (secret, key) = draw().unwrap();
    let expires_ms = now_ms() + 60_000;
    let grant = Grant::of_invite(expires_ms);
    client
        .submit(vec![AddKey { key, grant }.into()])
        .await
        .unwrap();
    // The node says where it is by a block of its own.
    let mut heights = world.node.heights();
    let listening = async {
        loop {
            if let Some(entrance) = world.node.network().entrance {
                return entrance.parse::<Entrance>().unwrap();
            }
            heights.changed().await.unwrap();
        }
    };
    Invite {
        network: world.node.state().network(),
        inviter: client.account(),
        secret,
        expires_ms,
        entrance: timeout(SOON, listening).await.unwrap(),
    }
}

/// Another owner's home.
struct Newcomer {
    ground: Ground,
}

impl Newcomer {
    fn new() -> Self {
        let ground = Ground::new();
        Self { ground }
    }

    fn home(&self) -> Home {
        Home::at(self.ground.path()).unwrap()
    }

    async fn start(&self, invite: Option<&Invite>) -> Result<Node, StartError> {
        let home = self.home();
        found(&home, None, invite).unwrap();
        Node::start(settings(&home)).await
    }

    fn account(&self) -> AccountId {
        let identity = self.home().account_keyfile().load(None).unwrap();
        identity.account().unwrap()
    }
}

/// Waits until a node knows another.
async fn knows(node: &Node, other: NodeId) {
    let mut heights = node.heights();
    let known = async {
        while node.state().node(&other).is_none() {
            heights.changed().await.unwrap();
        }
    };
    timeout(SOON, known).await.unwrap();
}

fn why(outcome: Result<Node, StartError>) -> JoinError {
    match outcome {
        Err(StartError::Join(error)) => error,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it joined"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_machine_is_listed_and_follows_also_after_a_restart() {
    let world = World::start().await;
    let invite = invite(&world).await;
    let newcomer = Newcomer::new();
    let node = newcomer.start(Some(&invite)).await.unwrap();
    let id = node.id();
    let row = world.node.state().node(&id).unwrap();
    assert_eq!(row.operator, newcomer.account());
    assert!(row.offer.is_none(), "it offers nothing by itself");
    knows(&node, id).await;
    // Its ledger begins with a snapshot: what was decided before is not there, and what came of it is.
    assert_eq!(world.node.network().oldest, Some(1));
    assert!(node.network().oldest > Some(1) || node.network().oldest.is_none());
    let founder = world.client().account();
    assert_eq!(
        node.state().account(&founder),
        world.node.state().account(&founder)
    );
    end(node, &newcomer.home()).await;

    // It knows its way without the invite, and reads what was decided meanwhile.
    let client = world.client();
    let key = Identity::new_account().unwrap().public_key();
    let grant = Grant::full();
    client
        .submit(vec![AddKey { key, grant }.into()])
        .await
        .unwrap();
    let height = world.node.state().tip().height;
    let node = newcomer.start(None).await.unwrap();
    let mut heights = node.heights();
    let caught_up = async {
        while *heights.borrow_and_update() < height {
            heights.changed().await.unwrap();
        }
    };
    timeout(SOON, caught_up).await.unwrap();
    let (own, theirs) = (node.state(), world.node.state());
    if own.tip().height == theirs.tip().height {
        assert_eq!(own.root(), theirs.root());
    }
    end(node, &newcomer.home()).await;

    // Its ledger is lost, and it learns it anew: from a snapshot again, and as the member that it is.
    std::fs::remove_dir_all(newcomer.home().node_dir().join("ledger")).unwrap();
    let node = newcomer.start(None).await.unwrap();
    knows(&node, id).await;
    assert_ne!(node.network().oldest, Some(1), "it asked for every block");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_right_after_another_begins_with_a_snapshot_too() {
    let world = World::start().await;
    // Their homes stay for as long as they run.
    let newcomers = [Newcomer::new(), Newcomer::new()];
    for newcomer in &newcomers {
        let invite = invite(&world).await;
        let node = newcomer.start(Some(&invite)).await.unwrap();
        let oldest = node.network().oldest;
        assert_ne!(oldest, Some(1), "it asked for every block");
        end(node, &newcomer.home()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_lets_nobody_else_in() {
    let world = World::start().await;
    let invite = invite(&world).await;
    // Its home stays for as long as it runs.
    let newcomer = Newcomer::new();
    let first = newcomer.start(Some(&invite)).await.unwrap();
    let error = why(Newcomer::new().start(Some(&invite)).await);
    assert!(matches!(error, JoinError::Spent), "{error:?}");
    assert_eq!(world.node.state().nodes().count(), 2);
    end(first, &newcomer.home()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_network_says_is_not_believed() {
    let world = World::start().await;
    let invite = invite(&world).await;
    let elsewhere = Invite {
        network: NetworkId([7; 32]),
        ..invite
    };
    let error = why(Newcomer::new().start(Some(&elsewhere)).await);
    assert!(matches!(error, JoinError::Nobody { .. }), "{error:?}");
    assert_eq!(world.node.state().nodes().count(), 1);
}

#[test]
fn a_home_that_has_a_network_joins_no_other_and_an_old_invite_is_told() {
    let entrance = Entrance {
        height: 1,
        block: BlockId([1; 32]),
        members: Vec::new(),
    };
    let invite = |expires_ms| Invite {
        network: NetworkId([7; 32]),
        inviter: AccountId([8; 32]),
        secret: draw().unwrap().0,
        expires_ms,
        entrance: entrance.clone(),
    };
    let newcomer = Newcomer::new();
    let over = found(&newcomer.home(), None, Some(&invite(1)));
    let over = over.unwrap_err().to_string();
    assert!(over.contains("the invite is over"), "{over}");
    found(&newcomer.home(), None, None).unwrap();
    let taken = found(&newcomer.home(), None, Some(&invite(u64::MAX)));
    let taken = taken.unwrap_err().to_string();
    assert!(taken.contains("belongs to a network already"), "{taken}");
}
