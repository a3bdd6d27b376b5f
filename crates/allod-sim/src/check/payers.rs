//! Nobody's machine works for nothing again and again: what the law opens by itself on a stranger's machine, its payer's
//! credits bear for five minutes, with everything else that strangers run for that payer.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::event::Event;
use allod_state::lease::Lease;
use allod_state::limits::CREDIT_AHEAD_MS;
use allod_state::{AccountId, Credits, LeaseId, State};

use super::{Check, Found, Fresh};

const HOUR_MS: u64 = 3_600_000;

pub(super) struct Payers;

impl Check for Payers {
    fn name(&self) -> &'static str {
        "payers"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let state = &fresh.told.state;
        let opened = fresh.told.events.iter().filter_map(|event| match event {
            Event::LeasePlaced { lease, .. } => state.lease(lease),
            _ => None,
        });
        let costs = |lease: &Lease| lease.payer != lease.payee && lease.price_per_hour.micro() > 0;
        let payers: BTreeSet<AccountId> = opened.filter(costs).map(|lease| lease.payer).collect();
        if payers.is_empty() {
            return Ok(());
        }
        let (before, promised) = (promised(fresh.before), promised(state));
        for payer in payers {
            let account = state.account(&payer).ok_or("a payer is gone")?;
            let per_hour = promised.get(&payer).copied().unwrap_or(0);
            // What takes the place of something else adds nothing.
            if per_hour <= before.get(&payer).copied().unwrap_or(0) {
                continue;
            }
            let needed = per_hour * i128::from(CREDIT_AHEAD_MS) / i128::from(HOUR_MS);
            let available = account.available();
            if needed > available.micro() {
                let needed = Credits::from_micro(needed);
                return Err(format!(
                    "{payer} has {available}, and strangers who just took more of it on are to get {needed} of that"
                ));
            }
        }
        Ok(())
    }
}

/// What each account's leases on the machines of others cost in an hour, in micro-credits, but for those that go when
/// the one that takes their place is ready.
fn promised(state: &State) -> BTreeMap<AccountId, i128> {
    let is_going = |id: &LeaseId, lease: &Lease| {
        let slot = state.slot(&(lease.app, lease.service, lease.replica));
        slot.is_some_and(|slot| slot.current == Some(*id) && slot.successor.is_some())
    };
    let mut promised = BTreeMap::new();
    for (id, lease) in state.leases() {
        if lease.is_active() && lease.payer != lease.payee && !is_going(id, lease) {
            *promised.entry(lease.payer).or_default() += lease.price_per_hour.micro();
        }
    }
    promised
}
