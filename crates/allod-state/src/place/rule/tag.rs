//! What an operator says of a node.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn tags(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let Some(offer) = &candidate.terms.offer else {
        return Ok(());
    };
    let lacking = candidate
        .search
        .wanted
        .demand
        .constraints
        .tags
        .difference(&offer.tags)
        .next();
    lacking.map_or(Ok(()), |tag| Err(Failing::Tag { tag: tag.clone() }))
}
