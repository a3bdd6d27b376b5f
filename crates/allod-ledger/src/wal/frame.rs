//! Frames: what is in a segment, and how true ones are told from everything else that lies there.

use std::fmt;

use allod_state::codec;

use super::{Owner, to_u64};

/// A mark, the length, the offset known to be synced, and the checksum.
pub(super) const FRAME_HEADER: usize = 32;
pub(super) const ALIGN: usize = 16;

/// Tells the frames of one segment from everything else.
pub(super) struct FrameKey {
    pub(super) mark: [u8; 4],
    sum: [u8; 32],
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKey")
    }
}

/// Whether a good frame behind `bad` says that `bad` had been synced.
pub(super) fn claims_synced(key: &FrameKey, bytes: &[u8], bad: usize) -> bool {
    frames_from(key, bytes, bad.saturating_add(ALIGN)).any(|frame| frame.synced > to_u64(bad))
}

/// Every good frame at or behind an offset, whether or not anything leads to it.
pub(super) fn frames_from(
    key: &FrameKey,
    bytes: &[u8],
    from: usize,
) -> impl Iterator<Item = Frame> {
    let offsets = (from..bytes.len()).step_by(ALIGN);
    offsets.filter_map(|at| decode_frame(key, bytes, at))
}

pub(super) struct Frame {
    pub(super) payload: Vec<u8>,
    pub(super) synced: u64,
    pub(super) next: usize,
}

/// What has a frame's mark and may be one.
pub(super) struct Marked<'a> {
    synced: u64,
    sum: &'a [u8],
    pub(super) payload: &'a [u8],
}

pub(super) fn marked_at<'a>(key: &FrameKey, bytes: &'a [u8], at: usize) -> Option<Marked<'a>> {
    let (header, rest) = bytes.get(at..)?.split_first_chunk::<FRAME_HEADER>()?;
    let (mark, fields) = header.split_first_chunk::<4>()?;
    let (len, fields) = fields.split_first_chunk::<4>()?;
    let (synced, sum) = fields.split_first_chunk::<8>()?;
    if *mark != key.mark {
        return None;
    }
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    Some(Marked {
        synced: u64::from_le_bytes(*synced),
        sum,
        payload: rest.get(..len)?,
    })
}

pub(super) fn decode_frame(key: &FrameKey, bytes: &[u8], at: usize) -> Option<Frame> {
    let Marked {
        synced,
        sum,
        payload,
    } = marked_at(key, bytes, at)?;
    if checksum(key, to_u64(at), synced, payload) != sum {
        return None;
    }
    let next = at
        .checked_add(FRAME_HEADER)?
        .checked_add(payload.len().checked_next_multiple_of(ALIGN)?)?;
    Some(Frame {
        payload: payload.to_vec(),
        synced,
        next,
    })
}

pub(super) fn encode_frame(key: &FrameKey, at: u64, synced: u64, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame holds a few blocks at most");
    let mut frame = Vec::with_capacity(payload.len().saturating_add(FRAME_HEADER + ALIGN));
    frame.extend_from_slice(&key.mark);
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&synced.to_le_bytes());
    frame.extend_from_slice(&checksum(key, at, synced, payload));
    frame.extend_from_slice(payload);
    frame.resize(frame.len().next_multiple_of(ALIGN), 0);
    frame
}

fn checksum(key: &FrameKey, at: u64, synced: u64, payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(&key.sum);
    hasher.update(&at.to_le_bytes());
    hasher.update(&synced.to_le_bytes());
    hasher.update(&to_u64(payload.len()).to_le_bytes());
    hasher.update(payload);
    beginning(hasher.finalize().as_bytes())
}

pub(super) fn key_of(owner: &Owner, segment: u64) -> FrameKey {
    let (network, segment) = (owner.network.as_bytes(), segment.to_le_bytes());
    let derived = |domain| codec::hash_parts(domain, &[&owner.secret, network, &segment]);
    FrameKey {
        mark: beginning(&derived("allod wal mark v2")),
        sum: derived("allod wal key v2"),
    }
}

pub(super) fn beginning<const LEN: usize>(hash: &[u8; 32]) -> [u8; LEN] {
    let beginning = hash.first_chunk();
    *beginning.expect("a hash is longer than that")
}
