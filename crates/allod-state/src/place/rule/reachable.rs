//! Whether a node is there, as its witnesses say.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn reachable(candidate: &Candidate<'_>) -> Result<(), Failing> {
    if candidate.terms.is_unreachable {
        Err(Failing::Unreachable)
    } else {
        Ok(())
    }
}
