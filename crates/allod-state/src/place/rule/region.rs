//! Where a node is.

use crate::place::rule::Failing;
use crate::place::search::Candidate;
use crate::text::Word;

pub(super) fn region(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let allowed = &candidate.search.wanted.demand.constraints.regions;
    let Some(offer) = candidate
        .terms
        .offer
        .as_ref()
        .filter(|_| !allowed.is_empty())
    else {
        return Ok(());
    };
    let inside = |wanted: &Word| {
        let rest = offer.region.as_str().strip_prefix(wanted.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if allowed.iter().any(inside) {
        Ok(())
    } else {
        Err(Failing::Region {
            region: offer.region.clone(),
        })
    }
}
