//! Catching up: which peer to ask for decided blocks, and what has come.
//!
//! One request is under way at a time. What a peer claims about its height is a hint, and no claim is worth more than
//! another: of those who say that they have the block, the one is asked that was not asked for longest. A peer that
//! does not answer, or answers with something false or with other blocks than those asked for, is not asked again for a
//! while, and for longer each time, whatever it goes on claiming. So a liar costs a few requests, and one that gives as
//! little as it can has one turn among everybody's, not the way to the tip. An answer that comes when another peer has
//! been asked already is taken nevertheless: it may only have been large, and asking for it again would take as long.

use std::collections::{BTreeMap, VecDeque};

use super::{DecidedBlock, Peer};
use crate::limits::{
    PEERS_MAX, SYNC_BACKOFF_MS, SYNC_BACKOFF_MS_MAX, SYNC_PATIENCE_MS, SYNC_TIMEOUT_MS,
};

#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    now_ms: u64,
    heights: BTreeMap<Peer, u64>,
    /// Peers that failed, with how long they are left alone and until when.
    failed: BTreeMap<Peer, (u64, u64)>,
    asked: Option<Asked>,
    /// Who has been asked for which height and has not answered in time.
    late: BTreeMap<Peer, u64>,
    /// How many requests there were, and which was the last one to each peer.
    requests: u64,
    turns: BTreeMap<Peer, u64>,
    queue: VecDeque<DecidedBlock>,
    source: Option<Peer>,
    behind_since_ms: Option<u64>,
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    peer: Peer,
    height: u64,
    deadline_ms: u64,
}

impl CatchUp {
    /// Takes note of the height a peer says it has decided.
    pub(crate) fn heard(&mut self, peer: Peer, height: u64) {
        if self.heights.len() < PEERS_MAX || self.heights.contains_key(&peer) {
            self.heights.insert(peer, height);
        }
    }

    /// Takes an answer, where one was asked for.
    pub(crate) fn answered(&mut self, peer: Peer, blocks: Vec<DecidedBlock>) {
        let late = self.late.remove(&peer);
        if late.is_some_and(|height| is_from(height, &blocks)) {
            // It may answer a later question as well, where the first was lost.
            let answers = |asked: &mut Asked| asked.peer == peer && is_from(asked.height, &blocks);
            self.asked.take_if(answers);
            // What it failed in is forgotten when one of them has been decided.
            if self.queue.is_empty() {
                self.source = Some(peer);
                self.queue = blocks.into();
            }
            return;
        }
        let Some(asked) = self.asked.take_if(|asked| asked.peer == peer) else {
            return;
        };
        if !is_from(asked.height, &blocks) {
            self.distrust(peer);
            return;
        }
        self.source = Some(peer);
        self.queue = blocks.into();
    }

    /// The next block to apply at `height`, where it has come.
    pub(crate) fn next(&mut self, height: u64) -> Option<DecidedBlock> {
        while self
            .queue
            .front()
            .is_some_and(|block| block.certificate.height < height)
        {
            self.queue.pop_front();
        }
        if self
            .queue
            .front()
            .is_some_and(|block| block.certificate.height == height)
        {
            return self.queue.pop_front();
        }
        self.queue.clear();
        None
    }

    /// The peer whose blocks are being applied sent a false one.
    pub(crate) fn reject(&mut self) {
        self.queue.clear();
        if let Some(peer) = self.source {
            self.distrust(peer);
        }
    }

    /// A height has been decided.
    pub(crate) fn advanced(&mut self) {
        self.behind_since_ms = None;
        if let Some(peer) = &self.source {
            self.failed.remove(peer);
        }
    }

    /// Whom to ask for blocks from `height` on, if it is time to ask.
    pub(crate) fn request(&mut self, now_ms: u64, height: u64) -> Option<Peer> {
        self.now_ms = now_ms;
        if let Some(asked) = self.asked {
            if now_ms < asked.deadline_ms {
                return None;
            }
            self.asked = None;
            self.distrust(asked.peer);
            if self.late.len() < PEERS_MAX {
                self.late.insert(asked.peer, asked.height);
            }
        }
        if !self.queue.is_empty() {
            return None;
        }
        let (peer, is_far) = self.next_in_turn(height).or_else(|| {
            self.behind_since_ms = None;
            None
        })?;
        let since_ms = *self.behind_since_ms.get_or_insert(now_ms);
        if !is_far && now_ms < since_ms.saturating_add(SYNC_PATIENCE_MS) {
            return None;
        }
        self.take_turn(peer);
        self.asked = Some(Asked {
            peer,
            height,
            deadline_ms: now_ms.saturating_add(SYNC_TIMEOUT_MS),
        });
        Some(peer)
    }

    /// When [`Self::request`] may have something new to say.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let patience = self
            .behind_since_ms
            .map(|since| since.saturating_add(SYNC_PATIENCE_MS));
        match self.asked {
            Some(asked) => Some(asked.deadline_ms),
            None => patience,
        }
    }

    /// Leaves a peer alone, for twice as long as the last time.
    fn distrust(&mut self, peer: Peer) {
        self.heights.remove(&peer);
        self.source.take_if(|source| *source == peer);
        let wait_ms = self
            .failed
            .get(&peer)
            .map_or(SYNC_BACKOFF_MS, |(wait_ms, _)| {
                wait_ms.saturating_mul(2).min(SYNC_BACKOFF_MS_MAX)
            });
        if self.failed.len() < PEERS_MAX || self.failed.contains_key(&peer) {
            self.failed
                .insert(peer, (wait_ms, self.now_ms.saturating_add(wait_ms)));
        }
    }

    /// Who of those that say they have a height was not asked for longest, and whether anybody has more than that one.
    fn next_in_turn(&self, height: u64) -> Option<(Peer, bool)> {
        let is_free = |peer: &Peer| {
            self.failed
                .get(peer)
                .is_none_or(|(_, until_ms)| *until_ms <= self.now_ms)
        };
        let has_it = |(peer, claimed): &(&Peer, &u64)| **claimed >= height && is_free(peer);
        let peers = self.heights.iter().filter(has_it);
        let is_far = peers.clone().any(|(_, claimed)| *claimed > height);
        let next = peers.min_by_key(|(peer, _)| self.turns.get(peer));
        next.map(|(peer, _)| (*peer, is_far))
    }

    /// Puts a peer behind all others. Those who were not asked for longest are not remembered where there are too many:
    /// they are as good as never asked.
    fn take_turn(&mut self, peer: Peer) {
        self.requests = self.requests.saturating_add(1);
        self.turns.insert(peer, self.requests);
        let oldest = self.turns.iter().min_by_key(|(_, turn)| **turn);
        let oldest = oldest.map(|(peer, _)| *peer);
        if let Some(oldest) = oldest.filter(|_| self.turns.len() > PEERS_MAX) {
            self.turns.remove(&oldest);
        }
    }
}

/// Whether these are blocks from a height on.
fn is_from(height: u64, blocks: &[DecidedBlock]) -> bool {
    let mut heights = (height..).zip(blocks);
    !blocks.is_empty() && heights.all(|(height, block)| block.certificate.height == height)
}

#[cfg(test)]
mod tests;
