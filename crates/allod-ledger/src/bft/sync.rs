//! Catching up: which peer to ask for decided blocks, and what has come.
//!
//! One request is under way at a time. What a peer claims about its height costs it one answer: if
//! none comes, or a false one, its claim is forgotten until it makes another.

use std::collections::{BTreeMap, VecDeque};

use super::{DecidedBlock, Peer};
use crate::limits::{PEERS_MAX, SYNC_PATIENCE_MS, SYNC_TIMEOUT_MS};

#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    heights: BTreeMap<Peer, u64>,
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
            self.heights.remove(&peer);
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
            self.heights.remove(&peer);
        }
    }

    /// A height has been decided.
    pub(crate) fn advanced(&mut self) {
        self.behind_since_ms = None;
    }

    /// Whom to ask for blocks from `height` on, if it is time to ask.
    pub(crate) fn request(&mut self, now_ms: u64, height: u64) -> Option<Peer> {
        if let Some((peer, deadline_ms)) = self.asked {
            if now_ms < deadline_ms {
                return None;
            }
            self.asked = None;
            self.heights.remove(&peer);
        }
        if !self.queue.is_empty() {
            return None;
        }
        let (peer, best) = self.best()?;
        if best < height {
            self.behind_since_ms = None;
            return None;
        }
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

    fn best(&self) -> Option<(Peer, u64)> {
        let best = self.heights.iter().max_by_key(|(_, height)| **height);
        best.map(|(peer, height)| (*peer, *height))
    }
}
