//! How much of the time a node was there.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn reputation(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let Some(wanted_ppm) = search.wanted.demand.constraints.reputation_ppm_min else {
        return Ok(());
    };
    let found_ppm = search.state.reputation_ppm(&candidate.id);
    if found_ppm >= wanted_ppm {
        return Ok(());
    }
    Err(Failing::Reputation {
        found_ppm,
        wanted_ppm,
    })
}
