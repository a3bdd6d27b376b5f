//! Carries the ledger's messages to the ledgers of other machines, and theirs to this one's.
//!
//! What agreement says is taken from validators alone, and from those who are elected: they speak for themselves, and whoever
//! merely follows has nothing to say in it. A machine's key is the key that it votes with, so the transport proves who speaks.
//!
//! Each kind of message has a protocol of its own, so that a flood of transactions never holds up a vote. Nothing here
//! waits for a peer: what is lost, agreement says again and whoever lags behind asks for.

mod allowances;

use std::time::Instant;

use allod_ledger::Chain;
use allod_ledger::bft::{Message, MessageError, Peer};
use allod_ledger::chain::{Outbound, ReceiveError};
use allod_ledger::replica::To;
use allod_net::peer::{Inboxes, PeerKey, Peers, Protocol, Received, Sent};
use allod_state::PublicKey;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::debug;

use allowances::Allowances;

/// The tasks that carry. Dropping them stops the carrying; the chain goes on alone.
#[derive(Debug)]
pub struct Carrier {
    _tasks: JoinSet<()>,
}

impl Carrier {
    /// Begins to carry what `chain` says, and what comes in for it.
    #[must_use]
    pub fn start(
        chain: &Chain,
        said: mpsc::Receiver<Outbound>,
        peers: &Peers,
        heard: Inboxes,
    ) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(speak(said, peers.clone()));
        for (_, inbox) in heard {
            tasks.spawn(listen(chain.clone(), inbox, peers.clone()));
        }
        Self { _tasks: tasks }
    }
}

async fn speak(mut said: mpsc::Receiver<Outbound>, peers: Peers) {
    while let Some(Outbound { to, message }) = said.recv().await {
        let protocol = protocol_of(&message);
        let bytes = Bytes::from(message.encode());
        match to {
            To::All => peers.broadcast(protocol, &bytes),
            To::One(Peer(key)) => answer(&peers, PeerKey(key), protocol, bytes),
        }
    }
}

async fn listen(chain: Chain, mut inbox: mpsc::Receiver<Received>, peers: Peers) {
    let mut allowances = Allowances::default();
    while let Some(received) = inbox.recv().await {
        let from = received.from;
        match take(&chain, received, &allowances).await {
            Ok(None) => {}
            Ok(Some(message)) => {
                let bytes = Bytes::from(message.encode());
                allowances.give(from, bytes.len(), Instant::now());
                answer(&peers, from, protocol_of(&message), bytes);
            }
            Err(NotTaken::Ledger(ReceiveError::Stopped)) => return,
            Err(why) => debug!(?from, %why, "a message is dropped"),
        }
    }
}

/// Why a message is not the ledger's.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("it came on the protocol of another kind of message: {0}")]
    Elsewhere(Protocol),
    #[error("its sender is no validator")]
    NoValidator,
    #[error("its sender has been given enough for now")]
    Enough,
    #[error(transparent)]
    Ledger(#[from] ReceiveError),
}

/// Hands one message to the ledger. Blocks for whoever lags behind are read on a thread that may wait for the disk.
async fn take(
    chain: &Chain,
    received: Received,
    allowances: &Allowances,
) -> Result<Option<Message>, NotTaken> {
    if received.protocol == Protocol::Agreement && !has_a_say(chain, received.from) {
        return Err(NotTaken::NoValidator);
    }
    let message = Message::decode(&received.bytes)?;
    let peer = Peer(received.from.0);
    if protocol_of(&message) != received.protocol {
        return Err(NotTaken::Elsewhere(received.protocol));
    }
    let is_question = matches!(message, Message::SyncRequest(_));
    if is_question && !allowances.has_more(received.from, Instant::now()) {
        return Err(NotTaken::Enough);
    }
    if received.protocol != Protocol::Sync {
        return Ok(chain.receive(peer, message)?);
    }
    let chain = chain.clone();
    let reading = spawn_blocking(move || chain.receive(peer, message));
    Ok(reading.await.unwrap_or(Err(ReceiveError::Stopped))?)
}

/// Whether a peer votes, or is elected to.
fn has_a_say(chain: &Chain, peer: PeerKey) -> bool {
    let (key, view) = (PublicKey::Ed25519(peer.0), chain.view());
    view.state.validators().power(&key) > 0 || view.state.elected().power(&key) > 0
}

fn answer(peers: &Peers, to: PeerKey, protocol: Protocol, bytes: Bytes) {
    let sent = peers.send(to, protocol, bytes);
    if matches!(sent, Sent::NotAMember | Sent::TooLarge) {
        debug!(?to, %protocol, ?sent, "an answer is not sent");
    }
}

const fn protocol_of(message: &Message) -> Protocol {
    match message {
        Message::Vote(_) | Message::Proposal(..) | Message::Polka(_) | Message::Round(_) => {
            Protocol::Agreement
        }
        Message::Status(_) | Message::SyncRequest(_) | Message::SyncResponse(_) => Protocol::Sync,
        Message::Transactions(_) => Protocol::Transactions,
    }
}

#[cfg(test)]
pub(crate) mod tests;
