//! The authenticated tree: a binary trie over hashed keys that remembers a hash per node.
//!
//! A leaf stands at the shortest path that tells it from every other leaf, so the shape depends on the content alone:
//! the same set of leaves has the same root whatever the order of writes. Nodes are shared between versions, so that
//! keeping a version costs nothing and a changed leaf costs one path. Absent subtrees hash to zero.

use std::sync::Arc;

use crate::codec::Domain;
use crate::proof::{Proof, Terminal, bit, branch_hash, leaf_hash};

static PATH: Domain = Domain::new("allod leaf path v1");
static VALUE: Domain = Domain::new("allod leaf value v1");

/// One version of the tree. Cloning shares everything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    root: Option<Arc<Node>>,
}

#[derive(Debug)]
enum Node {
    Leaf {
        path: [u8; 32],
        value: [u8; 32],
        hash: [u8; 32],
    },
    Branch {
        left: Option<Arc<Node>>,
        right: Option<Arc<Node>>,
        hash: [u8; 32],
    },
}

/// One leaf to write: the new value's hash, or `None` to take the leaf away.
pub(crate) type Change = ([u8; 32], Option<[u8; 32]>);

impl Tree {
    /// The path of a stored key.
    pub(crate) fn path_of(key: &[u8]) -> [u8; 32] {
        PATH.hash_parts(&[key])
    }

    /// The hash of a stored value.
    pub(crate) fn value_of(value: &[u8]) -> [u8; 32] {
        VALUE.hash_parts(&[value])
    }

    /// The root hash; zero for the empty tree.
    pub(crate) fn root(&self) -> [u8; 32] {
        hash_of(self.root.as_ref())
    }

    /// Writes many leaves at once, hashing each touched branch once.
    pub(crate) fn write(&mut self, mut changes: Vec<Change>) {
        changes.sort_unstable_by_key(|(path, _)| *path);
        changes.dedup_by_key(|(path, _)| *path);
        self.root = write(self.root.take(), &changes, 0);
    }

    /// The proof that the leaf at `path` is there, or that it is not.
    pub(crate) fn prove(&self, path: &[u8; 32]) -> Proof {
        let mut siblings = Vec::new();
        let mut node = self.root.as_ref();
        let mut depth: u16 = 0;
        loop {
            match node.map(AsRef::as_ref) {
                None => {
                    return Proof {
                        siblings,
                        terminal: Terminal::Empty,
                    };
                }
                Some(Node::Leaf { path, value, .. }) => {
                    return Proof {
                        siblings,
                        terminal: Terminal::Leaf {
                            path: *path,
                            value: *value,
                        },
                    };
                }
                Some(Node::Branch { left, right, .. }) => {
                    let (next, sibling) = if bit(path, depth) {
                        (right, left)
                    } else {
                        (left, right)
                    };
                    siblings.push(hash_of(sibling.as_ref()));
                    node = next.as_ref();
                    depth = depth.saturating_add(1);
                }
            }
        }
    }
}

fn hash_of(node: Option<&Arc<Node>>) -> [u8; 32] {
    match node.map(AsRef::as_ref) {
        None => [0; 32],
        Some(Node::Leaf { hash, .. } | Node::Branch { hash, .. }) => *hash,
    }
}

/// `changes` are sorted by path and all lie under `node`, whose depth is `depth`.
fn write(node: Option<Arc<Node>>, changes: &[Change], depth: u16) -> Option<Arc<Node>> {
    let Some((first, rest)) = changes.split_first() else {
        return node;
    };
    match node.as_deref() {
        None if rest.is_empty() => leaf(first),
        Some(Node::Leaf { path, .. }) if rest.is_empty() && *path == first.0 => leaf(first),
        None => descend(None, None, changes, depth),
        Some(Node::Leaf { path, .. }) => {
            let (path, own) = (*path, node.clone());
            if bit(&path, depth) {
                descend(None, own, changes, depth)
            } else {
                descend(own, None, changes, depth)
            }
        }
        Some(Node::Branch { left, right, .. }) => {
            descend(left.clone(), right.clone(), changes, depth)
        }
    }
}

fn descend(
    left: Option<Arc<Node>>,
    right: Option<Arc<Node>>,
    changes: &[Change],
    depth: u16,
) -> Option<Arc<Node>> {
    let middle = changes.partition_point(|(path, _)| !bit(path, depth));
    let (to_left, to_right) = changes.split_at(middle);
    let below = depth.saturating_add(1);
    join(write(left, to_left, below), write(right, to_right, below))
}

/// A branch, or what is left of it when one side is empty and the other is a leaf.
fn join(left: Option<Arc<Node>>, right: Option<Arc<Node>>) -> Option<Arc<Node>> {
    match (left.as_deref(), right.as_deref()) {
        (None, None) => None,
        (Some(Node::Leaf { .. }), None) => left,
        (None, Some(Node::Leaf { .. })) => right,
        _ => {
            let hash = branch_hash(&hash_of(left.as_ref()), &hash_of(right.as_ref()));
            Some(Arc::new(Node::Branch { left, right, hash }))
        }
    }
}

fn leaf((path, value): &Change) -> Option<Arc<Node>> {
    value.map(|value| {
        Arc::new(Node::Leaf {
            path: *path,
            value,
            hash: leaf_hash(path, &value),
        })
    })
}

#[cfg(test)]
mod tests;
