//! Fetching a snapshot of the ledger from a member that an entrance names, and founding the own ledger from it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use allod_ledger::disk::RealDisk;
use allod_ledger::store::{Anchor, Manifest, SnapshotError, Store, Tip};
use allod_net::peer::{PeerKey, Peers};
use allod_state::genesis::Genesis;
use allod_state::{Digest, codec};
use futures_util::{StreamExt, stream};

use super::greeters::Greeters;
use super::question::{Answer, Question, ask};
use crate::invite::Entrance;
use crate::limits::{SNAPSHOT_ASKS_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_MANIFEST_BYTES_MAX};

/// A snapshot that its giver could not have made up; the chunks are checked when it is imported.
#[derive(Debug)]
pub(crate) struct Fetched {
    manifest: Manifest,
    anchor: Anchor,
    chunks: BTreeMap<Digest, Vec<u8>>,
}

/// The block that this machine knows to be decided: the last of its own ledger, or that by which it came, where it has not got
/// so far. The header of its own it can show itself, when nobody keeps that block any more.
pub(super) fn anchor(entrance: &Entrance, own: Option<Tip>) -> Anchor {
    match own.filter(|tip| tip.header.height >= entrance.height) {
        Some(tip) => Anchor {
            height: tip.header.height,
            block: tip.certificate.block,
            header: Some(tip.header),
        },
        None => Anchor {
            height: entrance.height,
            block: entrance.block,
            header: None,
        },
    }
}

/// A snapshot of a member's; nothing where none has one that leads past the block that is known. Then blocks are asked for
/// instead, as far back as anybody keeps them.
pub(super) async fn fetch(
    peers: &Peers,
    greeters: &Greeters,
    genesis: &Genesis,
    known: &Anchor,
) -> Option<Fetched> {
    loop {
        let offered = greeters.first(|member| offered_by(peers, member, genesis, known));
        let (member, (manifest, anchor)) = offered.await.ok()?;
        match fetch_chunks(peers, member, &manifest.chunks).await {
            Ok(chunks) => {
                return Some(Fetched {
                    manifest,
                    anchor,
                    chunks,
                });
            }
            Err(why) => tracing::warn!(%member, why, "this member does not give its snapshot"),
        }
        greeters.leave(member);
    }
}

/// What a member's snapshot is to consist of.
async fn offered_by(
    peers: &Peers,
    member: PeerKey,
    genesis: &Genesis,
    known: &Anchor,
) -> Result<(Manifest, Anchor), String> {
    // One of the own newest block is of no use, though it may have been taken a moment ago.
    let is_own = known.header.is_some();
    let question = Question::Snapshot(known.height.saturating_add(is_own.into()));
    let answer = ask(peers, member, &question).await;
    let offered = answer.and_then(|answer| offer(answer, genesis, known));
    if let Err(why) = &offered {
        tracing::warn!(%member, why, "this member has no snapshot for this machine");
    }
    offered
}

fn offer(answer: Answer, genesis: &Genesis, known: &Anchor) -> Result<(Manifest, Anchor), String> {
    let Answer::Snapshot(Some((manifest, header))) = answer else {
        return Err("it has none now".into());
    };
    let manifest: Manifest = codec::decode("manifest", SNAPSHOT_MANIFEST_BYTES_MAX, &manifest)
        .map_err(|error| error.to_string())?;
    let shown = || header.map(|header| *header);
    let anchor = Anchor {
        height: known.height,
        block: known.block,
        header: known.header.clone().or_else(shown),
    };
    let untrue = |error: SnapshotError| error.to_string();
    manifest.verify(genesis, &anchor).map_err(untrue)?;
    Ok((manifest, anchor))
}

/// Asks for a few chunks at once: a member may be far away.
async fn fetch_chunks(
    peers: &Peers,
    member: PeerKey,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, Vec<u8>>, String> {
    let asked = digests.iter().map(|digest| async move {
        let chunk = ask(peers, member, &Question::Chunk(*digest)).await;
        (*digest, chunk)
    });
    let mut asked = stream::iter(asked).buffer_unordered(SNAPSHOT_ASKS_MAX);
    let (mut chunks, mut bytes) = (BTreeMap::new(), 0_usize);
    while let Some((digest, chunk)) = asked.next().await {
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
    Ok(chunks)
}

impl Fetched {
    /// Founds the ledger in a folder, or puts it in the place of an older one, and says its height.
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
