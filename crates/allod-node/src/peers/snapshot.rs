//! Fetching a snapshot of the ledger from a member that an entrance names, and founding the own ledger from it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use allod_ledger::disk::RealDisk;
use allod_ledger::store::{Anchor, Manifest, SnapshotError, Store};
use allod_net::peer::{PeerKey, Peers};
use allod_state::genesis::Genesis;
use allod_state::{Digest, codec};
use tokio::task::JoinSet;

use super::question::{Answer, Question};
use crate::invite::Entrance;
use crate::limits::{SNAPSHOT_ASKS_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX};

/// A snapshot that its giver could not have made up; the chunks are checked when it is imported.
#[derive(Debug)]
pub(crate) struct Fetched {
    manifest: Manifest,
    anchor: Anchor,
    chunks: BTreeMap<Digest, Vec<u8>>,
}

/// Asks the members one after the other; nothing where none has one that leads past the entrance's block. Then blocks are
/// asked for instead, as far back as anybody keeps them.
pub(crate) async fn fetch(
    peers: &Peers,
    genesis: &Genesis,
    entrance: &Entrance,
) -> Option<Fetched> {
    for greeter in &entrance.members {
        let member = PeerKey(greeter.key);
        match fetch_from(peers, member, genesis, entrance).await {
            Ok(fetched) => return Some(fetched),
            Err(why) => tracing::warn!(%member, why, "this member gives no snapshot"),
        }
    }
    None
}

async fn fetch_from(
    peers: &Peers,
    member: PeerKey,
    genesis: &Genesis,
    entrance: &Entrance,
) -> Result<Fetched, String> {
    let height = entrance.height;
    let asked = ask(peers, member, &Question::Snapshot(height)).await?;
    let Answer::Snapshot(Some((manifest, header))) = asked else {
        return Err("it has none".into());
    };
    let manifest: Manifest = codec::decode("manifest", SNAPSHOT_MANIFEST_BYTES_MAX, &manifest)
        .map_err(|error| error.to_string())?;
    let anchor = Anchor {
        height,
        block: entrance.block,
        header: header.map(|header| *header),
    };
    let untrue = |error: SnapshotError| error.to_string();
    manifest.verify(genesis, &anchor).map_err(untrue)?;
    let chunks = fetch_chunks(peers, member, &manifest.chunks).await?;
    Ok(Fetched {
        manifest,
        anchor,
        chunks,
    })
}

/// Asks for a few chunks at once: a member may be far away.
async fn fetch_chunks(
    peers: &Peers,
    member: PeerKey,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, Vec<u8>>, String> {
    let (mut chunks, mut asking) = (BTreeMap::new(), JoinSet::new());
    let mut bytes: usize = 0;
    let mut digests = digests.iter();
    loop {
        for digest in digests.by_ref().take(SNAPSHOT_ASKS_MAX - asking.len()) {
            let (peers, digest) = (peers.clone(), *digest);
            asking.spawn(async move {
                let chunk = ask(&peers, member, &Question::Chunk(digest)).await;
                (digest, chunk)
            });
        }
        let Some(asked) = asking.join_next().await else {
            return Ok(chunks);
        };
        let (digest, chunk) = asked.map_err(|error| error.to_string())?;
        let Answer::Chunk(Some(chunk)) = chunk? else {
            return Err("it has not all of it any more".into());
        };
        bytes = bytes.saturating_add(chunk.len());
        if bytes > SNAPSHOT_BYTES_MAX {
            return Err(format!("it is larger than {SNAPSHOT_BYTES_MAX} bytes"));
        }
        if Digest::of(&chunk) != digest {
            return Err(SnapshotError::BadChunk(digest).to_string());
        }
        chunks.insert(digest, chunk);
    }
}

async fn ask(peers: &Peers, member: PeerKey, question: &Question) -> Result<Answer, String> {
    let answer = peers.ask(member, question.to_bytes()).await;
    let answer = answer.map_err(|error| error.to_string())?;
    borsh::from_slice(&answer).map_err(|_| "it says what cannot be read".to_owned())
}

impl Fetched {
    /// Founds the ledger in a folder where nothing was decided yet, and says its height.
    ///
    /// # Errors
    /// Where it is not what the network decided, or the folder cannot be used.
    pub(crate) fn found(self, folder: &Path, genesis: &Genesis) -> Result<u64, SnapshotError> {
        let disk = RealDisk::new(folder).map_err(|source| SnapshotError::Chunk {
            what: "making a place for",
            digest: Digest([0; 32]),
            source,
        })?;
        let chunks = self.chunks;
        let fetch = |digest: &Digest| {
            let chunk = chunks.get(digest).cloned();
            chunk.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        Store::import(&disk, genesis, &self.manifest, &self.anchor, fetch)?;
        Ok(self.manifest.header.height)
    }
}
