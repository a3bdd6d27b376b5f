//! What newcomers and members ask members, and the answers.

use std::sync::Arc;

use allod_net::peer::{PeerKey, Peers, Question as Asked};
use allod_state::block::Header;
use allod_state::limits::TRANSACTION_BYTES_MAX;
use allod_state::{AccountId, Digest, PublicKey, Transaction};
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::spawn_blocking;

use crate::agent::chain as words;
use crate::inner::Inner;
use crate::ledger::Ledger;
use crate::limits::{COMMIT_TIMEOUT, SNAPSHOT_WAIT_MAX};

/// A question.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) enum Question {
    /// The document that the network began with.
    Genesis,
    /// The nonce of a key's next transaction; none where the account has no such key.
    Nonce(AccountId, PublicKey),
    /// To have a transaction put into a block.
    Submit(Vec<u8>),
    /// A sealed manifest, by the hash of its ciphertext. Members alone are answered.
    Manifest(Digest),
    /// A snapshot of the ledger of at least this height, and that height's header.
    Snapshot(u64),
    /// A chunk of it.
    Chunk(Digest),
}

/// An answer.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) enum Answer {
    /// To [`Question::Genesis`].
    Genesis(Vec<u8>),
    /// To [`Question::Nonce`].
    Nonce(Option<u64>),
    /// To [`Question::Submit`]: the block that holds it.
    Committed(u64),
    /// It changed nothing, and why: what it says, and the next step.
    Refused(String, String),
    /// To [`Question::Manifest`]: the ciphertext, where it is here.
    Manifest(Option<Vec<u8>>),
    /// To [`Question::Snapshot`]: its manifest, and the header where it is kept.
    Snapshot(Option<(Vec<u8>, Option<Box<Header>>)>),
    /// To [`Question::Chunk`], where it is of the last snapshots.
    Chunk(Option<Vec<u8>>),
}

impl Question {
    fn to_bytes(&self) -> Bytes {
        allod_state::codec::encode(self).into()
    }
}

/// Answers one question. What cannot be read gets no answer.
pub(super) async fn answer(inner: &Arc<Inner>, genesis: &[u8], asked: Asked) {
    let ledger = &inner.ledger;
    let Ok(question) = borsh::from_slice::<Question>(&asked.bytes) else {
        return;
    };
    let answer = match question {
        Question::Genesis => Answer::Genesis(genesis.to_vec()),
        Question::Nonce(account, key) => Answer::Nonce(ledger.state().nonce(&account, &key)),
        Question::Submit(bytes) => submit(ledger, &bytes).await,
        Question::Manifest(_) if asked.is_guest => return,
        Question::Snapshot(height) => Answer::Snapshot(snapshot(inner, height).await),
        Question::Chunk(digest) => {
            let inner = Arc::clone(inner);
            let read = spawn_blocking(move || inner.snapshots.chunk(&digest));
            Answer::Chunk(read.await.ok().flatten())
        }
        Question::Manifest(digest) => Answer::Manifest(inner.manifests.ciphertext(&digest)),
    };
    // Whoever asked may be gone.
    let _ = asked
        .answer
        .send(allod_state::codec::encode(&answer).into());
}

/// The manifest of a snapshot, and the header of the height that was named.
async fn snapshot(inner: &Arc<Inner>, height: u64) -> Option<(Vec<u8>, Option<Box<Header>>)> {
    // An older one is of no use to whoever names a height.
    let pause = inner.snapshots.pause(height);
    if pause > SNAPSHOT_WAIT_MAX {
        return None;
    }
    tokio::time::sleep(pause).await;
    let inner = Arc::clone(inner);
    let taken = spawn_blocking(move || {
        let chain = inner.ledger.chain();
        let manifest = inner.snapshots.manifest(chain, height);
        let block = chain.block(height).ok().flatten();
        manifest.map(|manifest| {
            let header = block.map(|block| Box::new(block.block.header));
            (allod_state::codec::encode(&manifest), header)
        })
    });
    match taken.await {
        Ok(Ok(snapshot)) => Some(snapshot),
        Ok(Err(error)) => {
            tracing::warn!(error = %words(&error), "no snapshot could be taken for a newcomer");
            None
        }
        Err(_) => None,
    }
}

async fn submit(ledger: &Ledger, bytes: &[u8]) -> Answer {
    let refused = |text: String, next: &str| Answer::Refused(text, next.to_owned());
    if bytes.len() > TRANSACTION_BYTES_MAX {
        return refused("the transaction is too large".into(), "send a smaller one");
    }
    let Ok(transaction) = Transaction::from_bytes(bytes) else {
        let text = "that is no transaction of this version";
        return refused(text.into(), "use the version of allod that the member runs");
    };
    match tokio::time::timeout(COMMIT_TIMEOUT, ledger.submit(transaction)).await {
        Ok(Ok(committed)) => match committed.receipt.outcome {
            Ok(()) => Answer::Committed(committed.height),
            Err(rejection) => refused(rejection.to_string(), rejection.next_step()),
        },
        Ok(Err(error)) => refused(words(&error), "try again, or ask another member"),
        Err(_) => refused(
            "no block took it in time: too few validators answer".into(),
            "try again later",
        ),
    }
}

/// Asks a member.
pub(super) async fn ask(
    peers: &Peers,
    member: PeerKey,
    question: &Question,
) -> Result<Answer, String> {
    let answer = peers.ask(member, question.to_bytes()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    borsh::from_slice(&answer).map_err(|_| "it says what cannot be read".to_owned())
}

/// As [`ask`], for whoever asks several things of several members.
pub(super) fn asking<'a>(
    peers: &'a Peers,
) -> impl Fn(PeerKey, Question) -> BoxFuture<'a, Result<Answer, String>> {
    move |member, question| async move { ask(peers, member, &question).await }.boxed()
}

/// Asks a member for a sealed manifest; nothing where it has none, or something else.
pub(crate) async fn manifest(peers: &Peers, member: PeerKey, digest: Digest) -> Option<Vec<u8>> {
    let answer = ask(peers, member, &Question::Manifest(digest)).await;
    let Answer::Manifest(Some(ciphertext)) = answer.ok()? else {
        return None;
    };
    (Digest::of(&ciphertext) == digest).then_some(ciphertext)
}
