//! Room: CPU, memory and disk.

use crate::place::rule::Failing;
use crate::place::search::Candidate;

pub(super) fn cpu(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let (needed, free) = (candidate.search.needs.cpu_milli, candidate.free.cpu_milli);
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Cpu { needed, free })
    }
}

pub(super) fn memory(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let (needed, free) = (
        candidate.search.needs.memory_bytes,
        candidate.free.memory_bytes,
    );
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Memory { needed, free })
    }
}

pub(super) fn storage(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let needed = candidate.search.needs.storage_bytes;
    let free = candidate.free.storage_bytes;
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Storage { needed, free })
    }
}
