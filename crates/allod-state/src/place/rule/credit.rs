//! Whether the payer can pay the node's operator.

use crate::money::Credits;
use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn credit(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let wanted = candidate.search.wanted;
    let Some(max) = wanted.strangers_max else {
        return Ok(());
    };
    let is_own = candidate.operator == wanted.app.owner;
    match candidate.price_per_hour() {
        Some(price) if !is_own && price > max && price > Credits::ZERO => {
            Err(Failing::Credit { price, max })
        }
        _ => Ok(()),
    }
}
