//! Who operates a node.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn operator(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let constraints = &candidate.search.wanted.demand.constraints;
    let operator = candidate.operator;
    let allowed = &constraints.operators_allowed;
    let is_allowed = allowed.is_empty() || allowed.contains(&operator);
    if is_allowed && !constraints.operators_denied.contains(&operator) {
        Ok(())
    } else {
        Err(Failing::Operator { operator })
    }
}
