//! How strongly a workload is kept apart.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn isolation(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let wanted = candidate.search.wanted.demand.isolation;
    match &candidate.terms.offer {
        Some(offer) if !offer.isolation.contains(&wanted) => Err(Failing::Isolation { wanted }),
        _ => Ok(()),
    }
}
