//! Machines whose peers speak over loopback, and relays between them, for tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use allod_net::limits::{PeerLimits, RelayLimits};
use allod_net::peer::{
    Inboxes, Member, MemberRelay, PeerKey, Peers, PeersConfig, Protocol, Question, Roster, Sent,
};
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub(crate) const NETWORK: [u8; 32] = [7; 32];
/// Long past anything that takes its course.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) struct Machine {
    pub(crate) peers: Peers,
    pub(crate) inboxes: Inboxes,
    pub(crate) questions: mpsc::Receiver<Question>,
}

pub(crate) fn config(seed: u8) -> PeersConfig {
    PeersConfig {
        secret: [seed; 32],
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        external: Vec::new(),
        network: NETWORK,
        is_relayed_only: false,
        limits: PeerLimits::default(),
    }
}

pub(crate) async fn machine(config: PeersConfig) -> Machine {
    let (peers, inboxes) = Peers::open(config).await.unwrap();
    let questions = peers.questions().unwrap();
    Machine {
        peers,
        inboxes,
        questions,
    }
}

impl Machine {
    pub(crate) fn key(&self) -> PeerKey {
        self.peers.key()
    }

    pub(crate) async fn next(&mut self, protocol: Protocol) -> (PeerKey, Bytes) {
        let inbox = self.inboxes.get_mut(&protocol).unwrap();
        let received = timeout(LONG, inbox.recv())
            .await
            .expect("nothing came")
            .unwrap();
        assert_eq!(received.protocol, protocol);
        (received.from, received.bytes)
    }

    pub(crate) async fn asked(&mut self) -> Question {
        let asked = timeout(LONG, self.questions.recv()).await;
        asked.expect("nothing was asked").unwrap()
    }

    /// Answers questions with themselves, for ever.
    pub(crate) async fn echo(&mut self) {
        while let Some(question) = self.questions.recv().await {
            question.answer.send(question.bytes);
        }
    }

    pub(crate) fn send(&self, to: &Self, protocol: Protocol, bytes: &'static [u8]) -> Sent {
        self.peers
            .send(to.key(), protocol, Bytes::from_static(bytes))
    }
}

/// Everybody at the addresses they listen on.
pub(crate) fn roster(machines: &[&Machine]) -> Roster {
    let member = |machine: &&Machine| {
        let addresses = machine.peers.listening();
        (
            machine.key(),
            Member {
                addresses,
                relays: Vec::new(),
            },
        )
    };
    Roster {
        members: machines.iter().map(member).collect(),
        ..Roster::default()
    }
}

pub(crate) async fn acquainted(seeds: [u8; 2]) -> [Machine; 2] {
    let one = machine(config(seeds[0])).await;
    let two = machine(config(seeds[1])).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    [one, two]
}

/// Waits until something is so; the test's own limit ends it where it never is.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONG, waiting).await.expect("it never came to that");
}

/// Two machines that only a relay connects, and the relays that are there.
pub(crate) async fn relayed(seeds: [u8; 2], relays: &[&MemberRelay]) -> [Machine; 2] {
    let far = |seed| {
        let mut far = config(seed);
        far.is_relayed_only = true;
        // Nothing is said but what a test says: by nothing else is another way found.
        far.limits.keep_alive = LONG;
        far
    };
    let one = machine(far(seeds[0])).await;
    let two = machine(far(seeds[1])).await;
    let mut all = Roster::default();
    for (address, relay) in relays.iter().map(|relay| relay.entry.clone()) {
        all.add_relay(address, relay);
    }
    let on_relays = Member {
        addresses: Vec::new(),
        relays: all.relays.keys().copied().collect(),
    };
    for machine in [&one, &two] {
        all.members.insert(machine.key(), on_relays.clone());
    }
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    [one, two]
}

pub(crate) async fn relay(seed: u8, members: &[u8]) -> (MemberRelay, watch::Sender<Arc<Roster>>) {
    relay_within(seed, members, &RelayLimits::default()).await
}

pub(crate) async fn relay_within(
    seed: u8,
    members: &[u8],
    limits: &RelayLimits,
) -> (MemberRelay, watch::Sender<Arc<Roster>>) {
    let key = |seed: &u8| {
        let secret = iroh::SecretKey::from_bytes(&[*seed; 32]);
        (PeerKey(*secret.public().as_bytes()), Member::default())
    };
    let roster = Roster {
        members: members.iter().map(key).collect(),
        ..Roster::default()
    };
    let (sender, receiver) = watch::channel(Arc::new(roster));
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let relay = MemberRelay::start(listen, &[seed; 32], receiver, limits)
        .await
        .unwrap();
    (relay, sender)
}

pub(crate) async fn until_home(machine: &Machine) {
    let waiting = async {
        while machine.peers.homes().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, waiting).await.expect("no relay took it in");
}
