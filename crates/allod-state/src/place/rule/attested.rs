//! For how long others saw a node there.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn attested(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let Some(wanted_ms) = search.wanted.demand.constraints.attested_ms_min else {
        return Ok(());
    };
    let found_ms = search.state.attested_ms(&candidate.id);
    if found_ms >= wanted_ms {
        return Ok(());
    }
    Err(Failing::Attested {
        found_ms,
        wanted_ms,
    })
}
