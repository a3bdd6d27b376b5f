//! What a replica-hour costs at most.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn price(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let Some(max) = candidate
        .search
        .wanted
        .demand
        .constraints
        .price_per_hour_max
    else {
        return Ok(());
    };
    match candidate.price_per_hour() {
        Some(price) if price > max => Err(Failing::Price { price, max }),
        _ => Ok(()),
    }
}
