//! The ring of all nodes, on which the next ones from a node's point watch it ([`crate::lease::witness`]).

use std::ops::Bound;

use crate::id::NodeId;
use crate::limits::WITNESS_SEARCH_MAX;
use crate::node::Node;
use crate::state::State;

const LAST: NodeId = NodeId([255; 32]);

impl State {
    /// The nodes from `start` on, then those before it: each once.
    pub(crate) fn nodes_from(&self, start: NodeId) -> impl Iterator<Item = (&NodeId, &Node)> {
        let rest = self.nodes.range(start..).chain(self.nodes.range(..start));
        rest.map(|(id, row)| (id, row.as_ref()))
    }

    /// The nodes of which `id` is among the next [`WITNESS_SEARCH_MAX`] ones on the ring.
    pub(crate) fn nodes_before(&self, id: &NodeId) -> Vec<NodeId> {
        let behind = self.nodes.range((Bound::Excluded(*id), Bound::Unbounded));
        let back = self.nodes.range(..*id).rev().chain(behind.rev());
        let last = back
            .map(|(id, _)| *id)
            .nth(WITNESS_SEARCH_MAX.saturating_sub(1));
        let points = &self.derived.points;
        let until = Bound::Included((*id, LAST));
        let from = |last| Bound::Excluded((last, LAST));
        let named = |(_, node): &(NodeId, NodeId)| *node;
        match last {
            None => points.iter().map(named).collect(),
            Some(last) if last < *id => points.range((from(last), until)).map(named).collect(),
            Some(last) => {
                let first = points.range((Bound::Unbounded, until));
                let rest = points.range((from(last), Bound::Unbounded));
                first.chain(rest).map(named).collect()
            }
        }
    }
}
