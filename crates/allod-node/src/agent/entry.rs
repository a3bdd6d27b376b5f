//! What the agent knows of one workload.

use std::net::Ipv4Addr;

use allod_runtime::Image;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::health::Health;
use super::plan::Local;
use super::report::Telling;
use super::tally::Tally;
use crate::time::steady_ms;

/// What is known of one workload beyond what the planner needs.
#[derive(Default)]
pub(super) struct Entry {
    pub(super) local: Local,
    /// Since when it runs, and when it was removed last, as far as this agent saw it.
    pub(super) ran: Option<Instant>,
    pub(super) removed: Option<Instant>,
    pub(super) image: Option<Image>,
    pub(super) address: Option<Ipv4Addr>,
    pub(super) health: Health,
    pub(super) detail: Option<String>,
    pub(super) tally: Option<Tally>,
    pub(super) probes: Vec<AbortHandle>,
    pub(super) telling: Option<Telling>,
}

impl Entry {
    pub(super) fn set_ready(&mut self, is_ready: bool) {
        self.local.is_ready = is_ready;
        if let Some(tally) = &mut self.tally {
            tally.set_ready(is_ready, steady_ms());
        }
    }

    pub(super) fn stop_probes(&mut self) {
        for probe in self.probes.drain(..) {
            probe.abort();
        }
        self.set_ready(false);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for probe in &self.probes {
            probe.abort();
        }
    }
}
