//! What somebody else does to the private network while workloads run is put right within seconds.

use super::host::{Host, refuse};
use crate::record;
use crate::request::Refusal;
use crate::workload::Phase;

/// Looks at the private network, and repairs it; whether the next look will be cheap.
pub(super) fn tend(host: &Host) -> Result<bool, Refusal> {
    let mut running = Vec::new();
    for id in record::all(&host.layout).map_err(refuse("list the workloads"))? {
        if let Ok(state) = host.place(&id).state()
            && let Phase::Running { pid, .. } = state.phase
        {
            running.push((id, pid.cast_unsigned()));
        }
    }
    if running.is_empty() {
        return Ok(true);
    }
    let tended = host
        .network()?
        .tend(&running)
        .map_err(refuse("repair the private network"))?;
    for obstacle in &tended.obstacles {
        tracing::warn!(
            ?obstacle,
            "something on this host keeps packets from flowing"
        );
    }
    for workload in &tended.reconnected {
        tracing::warn!(%workload, "connected again: its link was gone");
    }
    Ok(tended.is_sealed)
}
