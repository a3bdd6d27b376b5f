//! A path inside a layer, after every rule about paths has been applied to it.

use super::error::Refusal;
use crate::image::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX, PATH_DEPTH_MAX};

/// A path relative to the layer's root, without `.`, `..` or empty parts; the root is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::image) struct InnerPath(Vec<u8>);

impl InnerPath {
    /// Reads a path as an archive writes it: `./a/b`, `a//b`, `a/b/`.
    pub(in crate::image) fn parse(raw: &[u8]) -> Result<Self, Refusal> {
        if raw.is_empty() {
            return Err(Refusal::EmptyPath);
        }
        if raw.contains(&0) {
            return Err(Refusal::ZeroInName);
        }
        if raw.len() > PATH_BYTES_MAX {
            return Err(Refusal::PathTooLong);
        }
        if raw[0] == b'/' {
            return Err(Refusal::AbsolutePath);
        }
        let mut joined = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for part in raw.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return Err(Refusal::ParentPath),
                _ if part.len() > NAME_BYTES_MAX => return Err(Refusal::NameTooLong),
                _ => {}
            }
            depth += 1;
            if depth > PATH_DEPTH_MAX {
                return Err(Refusal::TooDeep);
            }
            if !joined.is_empty() {
                joined.push(b'/');
            }
            joined.extend_from_slice(part);
        }
        Ok(Self(joined))
    }

    pub(in crate::image) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::image) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory and the name in it; the root has neither.
    pub(in crate::image) fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((Self(self.0[..slash].to_vec()), &self.0[slash + 1..])),
            None => Some((Self::default(), &self.0)),
        }
    }

    /// This directory's entry called `name`, which is a single part.
    pub(super) fn join(&self, name: &[u8]) -> Self {
        let mut joined = self.0.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name);
        Self(joined)
    }

    /// The parts from the top down.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
    }
}
