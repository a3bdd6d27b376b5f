//! The inventory: every node with what it has left, in the order of the ring, so that a search looks at few of them.
//!
//! Nodes stand in a trie over their ids. Each subtree remembers the most that any of its nodes has left, and a mark for
//! each of the terms that occur in it: a search passes by what can hold nothing for it. Nodes with equal [`Terms`]
//! answer the rules about terms alike, so each of the terms is asked once.
//!
//! The shape of the trie, its sums and its marks follow from the rows alone, whatever happened before: what a search
//! looks at is counted as effort, and every replica must count the same. Only the numbers of the terms depend on what
//! happened before, and nothing is decided or counted by them.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};

use crate::codec;
use crate::id::{AccountId, NodeId};
use crate::node::{Isolation, Node, Prices, Resources};
use crate::text::Word;

/// Nodes of one leaf. With more, a leaf becomes a fork.
const LEAF_MAX: usize = 24;
/// Children of a fork: one for each value of four bits.
const FORK: usize = 16;

#[derive(Debug, Clone, Default)]
pub(crate) struct Inventory {
    root: Subtree,
    /// One node of each of the terms, by their number.
    terms: OrdMap<u32, Arc<Node>>,
    /// The terms there are.
    known: OrdMap<Terms, Known>,
    /// Numbers that were given up.
    unused: OrdSet<u32>,
}

/// What a search sees of a node without fetching its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: NodeId,
    pub(crate) operator: AccountId,
    /// The number of its terms.
    pub(crate) terms: u32,
    mark: u8,
    capacity: Resources,
    /// What it has left of what it offers.
    pub(crate) free: Resources,
}

/// What a search sees of a subtree before it goes in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    nodes: u32,
    /// The most of each resource that one of its nodes has left.
    pub(crate) most: Resources,
    /// The marks of all terms that occur.
    pub(crate) marks: u64,
}

/// Somebody who walks through the inventory.
pub(crate) trait Visitor {
    /// Whether there may be something for it below.
    fn enters(&mut self, summary: &Summary) -> bool;
    /// Looks at a node, and goes on or not.
    fn visit(&mut self, entry: &Entry) -> ControlFlow<()>;
}

/// What a node says, apart from its size and its operator; the node stands for all that say the same.
#[derive(Debug, Clone)]
struct Terms(Arc<Node>);

#[derive(Debug, Clone, Copy)]
struct Known {
    number: u32,
    mark: u8,
    nodes: u32,
}

#[derive(Debug, Clone, Default)]
struct Subtree {
    summary: Summary,
    below: Option<Arc<Below>>,
}

#[derive(Debug, Clone)]
enum Below {
    Leaf(Vec<Entry>),
    Fork(Box<[Subtree; FORK]>),
}

impl Inventory {
    /// A number above those of all terms.
    pub(crate) fn terms_end(&self) -> usize {
        self.known.len().saturating_add(self.unused.len())
    }

    /// All terms: number, mark and a node that has them.
    pub(crate) fn all_terms(&self) -> impl Iterator<Item = (u32, u8, &Node)> {
        let known = self.known.iter();
        known.map(|(terms, known)| (known.number, known.mark, terms.0.as_ref()))
    }

    /// A node that has the terms of this number.
    pub(crate) fn terms(&self, number: u32) -> Option<&Node> {
        self.terms.get(&number).map(AsRef::as_ref)
    }

    pub(crate) fn get(&self, id: &NodeId) -> Option<Entry> {
        let mut subtree = &self.root;
        let mut depth = 0;
        loop {
            match subtree.below.as_deref()? {
                Below::Leaf(entries) => return entries.iter().find(|one| one.id == *id).copied(),
                Below::Fork(children) => {
                    subtree = children.get(nibble(id, depth))?;
                    depth = depth.saturating_add(1);
                }
            }
        }
    }

    /// Leads a visitor round the ring once, beginning at `start`.
    pub(crate) fn walk(&self, start: &NodeId, visitor: &mut impl Visitor) {
        let rest = self.root.walk(0, Some((start, Side::From)), visitor);
        if rest.is_continue() {
            let _ = self.root.walk(0, Some((start, Side::Before)), visitor);
        }
    }

    /// Takes a node in, or a change to it; `used` is what its leases take.
    pub(super) fn node_changed(
        &mut self,
        id: &NodeId,
        before: Option<&Arc<Node>>,
        after: Option<&Arc<Node>>,
        used: Resources,
    ) {
        let known = after.map(|node| self.learn(node));
        if let Some(node) = before {
            self.forget(node);
        }
        match after.zip(known) {
            Some((node, known)) => {
                let offer = node.offer.as_ref();
                let capacity = offer.map(|offer| offer.capacity).unwrap_or_default();
                let entry = Entry {
                    id: *id,
                    operator: node.operator,
                    terms: known.number,
                    mark: known.mark,
                    capacity,
                    free: capacity.minus(used),
                };
                self.root.put(0, entry);
            }
            None => self.root.remove(0, id),
        }
    }

    /// Takes in what a node's leases take now. A node that is not there yet is told when it comes.
    pub(super) fn used_changed(&mut self, id: &NodeId, used: Resources) {
        if let Some(entry) = self.get(id) {
            let free = entry.capacity.minus(used);
            self.root.put(0, Entry { free, ..entry });
        }
    }

    fn learn(&mut self, node: &Arc<Node>) -> Known {
        let terms = Terms(Arc::clone(node));
        let known = self.known.get(&terms).copied().unwrap_or_else(|| {
            let reused = self.unused.get_min().copied();
            let number = reused.unwrap_or_else(|| {
                let fresh = self.known.len();
                u32::try_from(fresh).expect("the law holds fewer nodes than 2^32")
            });
            self.unused.remove(&number);
            self.terms.insert(number, Arc::clone(node));
            let mark = terms.mark();
            Known {
                number,
                mark,
                nodes: 0,
            }
        });
        let nodes = known.nodes.saturating_add(1);
        let known = Known { nodes, ..known };
        self.known.insert(terms, known);
        known
    }

    fn forget(&mut self, node: &Arc<Node>) {
        let terms = Terms(Arc::clone(node));
        let Some(known) = self.known.get(&terms).copied() else {
            return;
        };
        let nodes = known.nodes.saturating_sub(1);
        if nodes > 0 {
            self.known.insert(terms, Known { nodes, ..known });
        } else {
            self.known.remove(&terms);
            self.terms.remove(&known.number);
            self.unused.insert(known.number);
        }
    }
}

/// What [`Terms`] are compared by.
type Said<'a> = (
    &'a Word,
    &'a Prices,
    &'a BTreeSet<Word>,
    &'a BTreeSet<Isolation>,
);

impl Terms {
    fn said(&self) -> (bool, bool, Option<Said<'_>>) {
        let offer = self.0.offer.as_ref();
        let said = offer.map(|it| (&it.region, &it.prices, &it.tags, &it.isolation));
        (self.0.is_cordoned, self.0.is_unreachable, said)
    }

    /// One of 64 marks, the same on every replica.
    fn mark(&self) -> u8 {
        let [first, ..] = codec::hash("allod terms mark v1", &self.said());
        first % 64
    }
}

impl Ord for Terms {
    fn cmp(&self, other: &Self) -> Ordering {
        self.said().cmp(&other.said())
    }
}

impl PartialOrd for Terms {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Terms {}

impl Entry {
    fn summary(&self) -> Summary {
        Summary {
            nodes: 1,
            most: self.free,
            marks: 1_u64.wrapping_shl(u32::from(self.mark)),
        }
    }
}

impl Summary {
    fn with(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(other.nodes),
            most: self.most.most(other.most),
            marks: self.marks | other.marks,
        }
    }
}

/// Which part of the ring a walk is in: from its start to the end of all ids, or from their beginning to its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    From,
    Before,
}

impl Subtree {
    fn of(entries: Vec<Entry>, depth: usize) -> Self {
        let mut subtree = Self {
            summary: sum(entries.iter().map(Entry::summary)),
            below: None,
        };
        if entries.len() > LEAF_MAX && depth < 64 {
            let mut children: [Vec<Entry>; FORK] = Default::default();
            for entry in entries {
                if let Some(child) = children.get_mut(nibble(&entry.id, depth)) {
                    child.push(entry);
                }
            }
            let below = depth.saturating_add(1);
            let fork = children.map(|entries| Self::of(entries, below));
            subtree.below = Some(Arc::new(Below::Fork(Box::new(fork))));
        } else if !entries.is_empty() {
            subtree.below = Some(Arc::new(Below::Leaf(entries)));
        }
        subtree
    }

    /// Sets the entry of a node.
    fn put(&mut self, depth: usize, entry: Entry) {
        let Some(below) = &mut self.below else {
            *self = Self::of(vec![entry], depth);
            return;
        };
        match Arc::make_mut(below) {
            Below::Leaf(entries) => {
                match entries.binary_search_by(|one| one.id.cmp(&entry.id)) {
                    Ok(at) => {
                        if let Some(one) = entries.get_mut(at) {
                            *one = entry;
                        }
                    }
                    Err(at) => entries.insert(at, entry),
                }
                if entries.len() > LEAF_MAX {
                    *self = Self::of(std::mem::take(entries), depth);
                } else {
                    self.summary = sum(entries.iter().map(Entry::summary));
                }
            }
            Below::Fork(children) => {
                if let Some(child) = children.get_mut(nibble(&entry.id, depth)) {
                    child.put(depth.saturating_add(1), entry);
                }
                self.summary = sum(children.iter().map(|child| child.summary));
            }
        }
    }

    fn remove(&mut self, depth: usize, id: &NodeId) {
        let Some(below) = &mut self.below else {
            return;
        };
        match Arc::make_mut(below) {
            Below::Leaf(entries) => {
                entries.retain(|entry| entry.id != *id);
                *self = Self::of(std::mem::take(entries), depth);
            }
            Below::Fork(children) => {
                if let Some(child) = children.get_mut(nibble(id, depth)) {
                    child.remove(depth.saturating_add(1), id);
                }
                self.summary = sum(children.iter().map(|child| child.summary));
                if usize::try_from(self.summary.nodes).is_ok_and(|nodes| nodes <= LEAF_MAX) {
                    let mut entries = Vec::new();
                    self.gather(&mut entries);
                    *self = Self::of(entries, depth);
                }
            }
        }
    }

    fn gather(&self, into: &mut Vec<Entry>) {
        match self.below.as_deref() {
            None => {}
            Some(Below::Leaf(entries)) => into.extend_from_slice(entries),
            Some(Below::Fork(children)) => children.iter().for_each(|child| child.gather(into)),
        }
    }

    /// `part` is there as long as the subtree lies on the path to the start of the ring.
    fn walk(
        &self,
        depth: usize,
        part: Option<(&NodeId, Side)>,
        visitor: &mut impl Visitor,
    ) -> ControlFlow<()> {
        let Some(below) = self.below.as_deref() else {
            return ControlFlow::Continue(());
        };
        if !visitor.enters(&self.summary) {
            return ControlFlow::Continue(());
        }
        match below {
            Below::Leaf(entries) => {
                let is_in = |entry: &&Entry| match part {
                    None => true,
                    Some((start, Side::From)) => entry.id >= *start,
                    Some((start, Side::Before)) => entry.id < *start,
                };
                entries
                    .iter()
                    .filter(is_in)
                    .try_for_each(|entry| visitor.visit(entry))
            }
            Below::Fork(children) => {
                let below = depth.saturating_add(1);
                let at = part.map(|(start, side)| (nibble(start, depth), side));
                for (index, child) in children.iter().enumerate() {
                    let part = match at {
                        None => None,
                        Some((edge, _)) if edge == index => part,
                        Some((edge, Side::From)) if index > edge => None,
                        Some((edge, Side::Before)) if index < edge => None,
                        Some(_) => continue,
                    };
                    child.walk(below, part, visitor)?;
                }
                ControlFlow::Continue(())
            }
        }
    }
}

fn sum(parts: impl Iterator<Item = Summary>) -> Summary {
    parts.fold(Summary::default(), Summary::with)
}

/// Four bits of an id, the first ones first.
fn nibble(id: &NodeId, depth: usize) -> usize {
    let byte = id.0.get(depth / 2).copied().unwrap_or(0);
    let bits = if depth.is_multiple_of(2) {
        byte / 16
    } else {
        byte % 16
    };
    usize::from(bits)
}

#[cfg(test)]
mod tests;
