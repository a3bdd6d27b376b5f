//! How many replicas of a service there may be in one place.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn on_one_node(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let constraints = &candidate.search.wanted.demand.constraints;
    let Some(max) = constraints.replicas_per_node_max else {
        return Ok(());
    };
    let count = candidate.others;
    if count >= max {
        return Err(Failing::Spread { count, max });
    }
    Ok(())
}

pub(super) fn with_one_operator(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let Some(max) = search.wanted.demand.constraints.replicas_per_operator_max else {
        return Ok(());
    };
    let operator = candidate.operator;
    let count = search.by_operator.get(&operator).copied().unwrap_or(0);
    if count < max {
        return Ok(());
    }
    Err(Failing::SpreadOperator {
        operator,
        count,
        max,
    })
}

pub(super) fn in_one_region(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let max = search.wanted.demand.constraints.replicas_per_region_max;
    let Some((max, offer)) = max.zip(candidate.terms.offer.as_ref()) else {
        return Ok(());
    };
    let count = search.by_region.get(&offer.region).copied().unwrap_or(0);
    if count < max {
        return Ok(());
    }
    Err(Failing::SpreadRegion {
        region: offer.region.clone(),
        count,
        max,
    })
}
