//! Where the data are.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn volumes(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    if let Some(node) = search.leaving_on {
        return Err(Failing::VolumeLeaving { node });
    }
    if let Some(node) = search.volumes_on.iter().find(|node| **node != candidate.id) {
        return Err(Failing::VolumeElsewhere { node: *node });
    }
    if search.is_volume_held {
        return Err(Failing::VolumeHeld);
    }
    Ok(())
}
