//! What a node offers at all, and whether it takes more.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn offers(candidate: &Candidate<'_>) -> Result<(), Failing> {
    candidate
        .terms
        .offer
        .as_ref()
        .map(|_| ())
        .ok_or(Failing::NoOffer)
}

pub(super) fn takes_new(candidate: &Candidate<'_>) -> Result<(), Failing> {
    if candidate.terms.is_cordoned {
        Err(Failing::Cordoned)
    } else {
        Ok(())
    }
}
