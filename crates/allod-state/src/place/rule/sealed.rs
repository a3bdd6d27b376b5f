//! Who can read what it would run.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn sealed(candidate: &Candidate<'_>) -> Result<(), Failing> {
    match &candidate.search.readers {
        Some(readers) if !readers.contains(&candidate.id) => Err(Failing::NotSealed),
        _ => Ok(()),
    }
}
