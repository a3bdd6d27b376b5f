//! Catching up: which peer to ask for decided blocks, and what has come.
//!
//! One request is under way at a time. What a peer claims about its height is a hint: a peer that
//! does not answer, or answers with something false, is not asked again for a while, and for longer
//! each time, whatever it goes on claiming. So a liar costs a few requests, not the way to the tip.

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
    asked: Option<(Peer, u64)>,
    queue: VecDeque<DecidedBlock>,
    source: Option<Peer>,
    behind_since_ms: Option<u64>,
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
        if self.asked.is_none_or(|(asked, _)| asked != peer) {
            return;
        }
        self.asked = None;
        if blocks.is_empty() {
            self.distrust(peer);
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
        if let Some(peer) = self.source.take() {
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
        if let Some((peer, deadline_ms)) = self.asked {
            if now_ms < deadline_ms {
                return None;
            }
            self.asked = None;
            self.distrust(peer);
        }
        if !self.queue.is_empty() {
            return None;
        }
        let best = self.best();
        let (peer, best) = best.filter(|(_, best)| *best >= height).or_else(|| {
            self.behind_since_ms = None;
            None
        })?;
        let since_ms = *self.behind_since_ms.get_or_insert(now_ms);
        if best == height && now_ms < since_ms.saturating_add(SYNC_PATIENCE_MS) {
            return None;
        }
        self.asked = Some((peer, now_ms.saturating_add(SYNC_TIMEOUT_MS)));
        Some(peer)
    }

    /// When [`Self::request`] may have something new to say.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        let patience = self
            .behind_since_ms
            .map(|since| since.saturating_add(SYNC_PATIENCE_MS));
        match self.asked {
            Some((_, deadline_ms)) => Some(deadline_ms),
            None => patience,
        }
    }

    /// Leaves a peer alone, for twice as long as the last time.
    fn distrust(&mut self, peer: Peer) {
        self.heights.remove(&peer);
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

    fn best(&self) -> Option<(Peer, u64)> {
        let is_free = |peer: &Peer| {
            self.failed
                .get(peer)
                .is_none_or(|(_, until_ms)| *until_ms <= self.now_ms)
        };
        let heights = self.heights.iter().filter(|(peer, _)| is_free(peer));
        heights
            .max_by_key(|(_, height)| **height)
            .map(|(peer, height)| (*peer, *height))
    }
}
