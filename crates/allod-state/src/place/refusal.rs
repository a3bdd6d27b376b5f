//! Why a replica found no node: every failing rule on the nodes examined, and the least that would have to change.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::NodeId;
use crate::place::Failing;

/// The failing rules of one node.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Refusal {
    /// The node.
    pub node: NodeId,
    /// Every rule that refuses it.
    pub failing: Vec<Failing>,
}

/// Why no node can run a replica.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WhyNot {
    /// How many nodes were refused.
    pub nodes: u32,
    /// The nodes with the fewest failing rules, fewest first. The first one's rules are the smallest relaxation that
    /// would place the replica.
    pub refusals: Vec<Refusal>,
}

impl WhyNot {
    /// The fewest rules that would have to give way for one node to take the replica.
    #[must_use]
    pub fn smallest_relaxation(&self) -> Option<&Refusal> {
        self.refusals.first()
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(nearest) = self.smallest_relaxation() else {
            return f.write_str("the network has no nodes");
        };
        write!(
            f,
            "{} node(s) refused; nearest is {}: ",
            self.nodes,
            nearest.node.short()
        )?;
        for (index, failing) in nearest.failing.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{failing}")?;
        }
        Ok(())
    }
}
