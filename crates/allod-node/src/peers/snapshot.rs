//! Fetching a snapshot of the ledger from a member that an entrance names, and founding the own ledger from it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use allod_ledger::disk::RealDisk;
use allod_ledger::store::{Anchor, Manifest, Snapshot, SnapshotError, Store, Tip};
use allod_net::peer::PeerKey;
use allod_state::genesis::Genesis;
use allod_state::{Digest, codec};
use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::greeters::Greeters;
use super::question::{Answer, Question};
use crate::invite::Entrance;
use crate::limits::{
    SNAPSHOT_ASKS_MAX, SNAPSHOT_BYTES_MAX, SNAPSHOT_BYTES_PER_PERIOD_MIN,
    SNAPSHOT_MANIFEST_BYTES_MAX, SNAPSHOT_PERIOD,
};

/// A snapshot that its giver could not have made up.
#[derive(Debug)]
pub(crate) struct Fetched(Snapshot);

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
/// instead, as far back as anybody keeps them. What a member gives is looked at here: one that is false, or slow, keeps nobody
/// from the next.
pub(super) async fn fetch<F>(
    ask: impl Fn(PeerKey, Question) -> F,
    greeters: &Greeters,
    genesis: &Genesis,
    known: &Anchor,
) -> Option<Fetched>
where
    F: Future<Output = Result<Answer, String>>,
{
    loop {
        let offered = greeters.first(|member| offered_by(&ask, member, genesis, known));
        let (member, (manifest, anchor)) = offered.await.ok()?;
        match given_by(&ask, member, genesis, manifest, anchor).await {
            Ok(snapshot) => return Some(Fetched(snapshot)),
            Err(why) => tracing::warn!(%member, why, "this member does not give its snapshot"),
        }
        greeters.leave(member);
    }
}

/// What a member's snapshot is to consist of.
async fn offered_by<F>(
    ask: &impl Fn(PeerKey, Question) -> F,
    member: PeerKey,
    genesis: &Genesis,
    known: &Anchor,
) -> Result<(Manifest, Anchor), String>
where
    F: Future<Output = Result<Answer, String>>,
{
    // One of the own newest block is of no use, though it may have been taken a moment ago.
    let is_own = known.header.is_some();
    let question = Question::Snapshot(known.height.saturating_add(is_own.into()));
    let answer = ask(member, question).await;
    let offered = answer.and_then(|answer| offer(answer, genesis, known));
    if let Err(why) = &offered {
        tracing::warn!(%member, why, "this member has no snapshot for this machine");
    }
    offered
}

/// The snapshot, which is what the manifest's header says.
async fn given_by<F>(
    ask: &impl Fn(PeerKey, Question) -> F,
    member: PeerKey,
    genesis: &Genesis,
    manifest: Manifest,
    anchor: Anchor,
) -> Result<Snapshot, String>
where
    F: Future<Output = Result<Answer, String>>,
{
    let chunks = fetch_chunks(ask, member, &manifest.chunks).await?;
    let genesis = genesis.clone();
    let completed = spawn_blocking(move || {
        manifest.complete(&genesis, &anchor, |digest| {
            let chunk = chunks.get(digest).cloned();
            chunk.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        })
    });
    let completed = completed.await.map_err(|error| error.to_string())?;
    completed.map_err(|error| error.to_string())
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
async fn fetch_chunks<F>(
    ask: &impl Fn(PeerKey, Question) -> F,
    member: PeerKey,
    digests: &[Digest],
) -> Result<BTreeMap<Digest, Vec<u8>>, String>
where
    F: Future<Output = Result<Answer, String>>,
{
    let asked = digests.iter().map(|digest| async move {
        let chunk = ask(member, Question::Chunk(*digest)).await;
        (*digest, chunk)
    });
    let mut asked = stream::iter(asked).buffer_unordered(SNAPSHOT_ASKS_MAX);
    let (mut chunks, mut bytes) = (BTreeMap::new(), 0_usize);
    let (mut period, mut before) = (Instant::now(), 0_usize);
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
        // A manifest may name any number of chunks that are all but empty, and each may take its time.
        if period.elapsed() > SNAPSHOT_PERIOD {
            if bytes.saturating_sub(before) < SNAPSHOT_BYTES_PER_PERIOD_MIN {
                return Err("it gives too little at a time".into());
            }
            (period, before) = (Instant::now(), bytes);
        }
        chunks.insert(digest, chunk);
    }
    Ok(chunks)
}

impl Fetched {
    /// Founds the ledger in a folder, or puts it in the place of an older one, and says its height.
    ///
    /// # Errors
    /// Where what is there is as new, or the folder cannot be used.
    pub(crate) fn found(self, folder: &Path, genesis: &Genesis) -> Result<u64, SnapshotError> {
        let disk = RealDisk::new(folder).map_err(|source| SnapshotError::Chunk {
            what: "making a place for",
            digest: Digest([0; 32]),
            source,
        })?;
        let height = self.0.height();
        Store::begin_with(&disk, genesis, self.0)?;
        Ok(height)
    }
}

#[cfg(test)]
mod tests;
