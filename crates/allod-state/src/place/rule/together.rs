//! Services that are to be on one node.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn together(candidate: &Candidate<'_>) -> Result<(), Failing> {
    match candidate.search.together_on {
        Some(node) if node != candidate.id => Err(Failing::Apart { node }),
        _ => Ok(()),
    }
}
