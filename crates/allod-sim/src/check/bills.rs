//! The bill is a fold of the evidence: what leases are charged is computed here once more, from the blocks' evidence
//! and the reserved prices alone, by an arithmetic of its own.

use std::collections::BTreeMap;

use allod_state::event::Event;
use allod_state::evidence::Item;
use allod_state::lease::EndCause;
use allod_state::receipt::Receipt;
use allod_state::{AccountId, Action, LeaseId, State, bill};

use super::{Check, Found, Fresh};

#[derive(Default)]
struct Meter {
    until_ms: u64,
    items: u64,
    ready_ms: u64,
    charged: i128,
}

#[derive(Default)]
pub(super) struct Bills {
    meters: BTreeMap<LeaseId, Meter>,
    lines: BTreeMap<bill::LineKey, (u64, i128)>,
}

const HOUR_MS: i128 = 3_600_000;

impl Bills {
    fn place(&mut self, state: &State, id: LeaseId) -> Found {
        let lease = state.lease(&id).ok_or_else(|| format!("{id} is missing"))?;
        let meter = Meter {
            until_ms: lease.placed_ms,
            ..Meter::default()
        };
        self.meters.insert(id, meter);
        Ok(())
    }

    fn fold(&mut self, state: &State, item: &Item, receipt: &Receipt) -> Found {
        let id = item.lease;
        let lease = state.lease(&id).ok_or_else(|| format!("{id} is missing"))?;
        let meter = self
            .meters
            .get_mut(&id)
            .ok_or_else(|| format!("{id} was never placed"))?;
        if item.from_ms != meter.until_ms || item.until_ms - item.from_ms < item.ready_ms {
            return Err(format!("{id} accepted evidence that does not continue"));
        }
        meter.until_ms = item.until_ms;
        meter.items += 1;
        meter.ready_ms += item.ready_ms;
        let price = lease.price_per_hour.micro();
        let due = price * i128::from(meter.ready_ms) / HOUR_MS - meter.charged;
        let paid: i128 = receipt
            .events
            .iter()
            .map(|event| charge_of(event, id))
            .sum();
        let is_exhausted = lease.ending == Some(EndCause::CreditExhausted);
        let is_short =
            paid < due && (lease.is_active() && !is_exhausted || lease.payer == lease.payee);
        if paid > due || paid < 0 || is_short {
            return Err(format!(
                "{id} owed {due} micro-credits and was charged {paid}"
            ));
        }
        meter.charged += paid;
        let key = (lease.payer, bill::month_of(item.until_ms), id);
        let line = self.lines.entry(key).or_default();
        line.0 += item.ready_ms;
        line.1 += paid;
        Ok(())
    }

    fn compare(&self, state: &State) -> Found {
        for (id, lease) in state.leases() {
            let meter = self.meters.get(id);
            let meter = meter.ok_or_else(|| format!("{id} was never placed"))?;
            let own = (meter.until_ms, meter.items, meter.ready_ms, meter.charged);
            let law = &lease.meter;
            let laws = (law.until_ms, law.items, law.ready_ms, law.charged.micro());
            if own != laws {
                return Err(format!(
                    "{id} has the meter {laws:?}; its evidence says {own:?}"
                ));
            }
        }
        let mut pages: Vec<(AccountId, u32)> = self
            .lines
            .keys()
            .map(|(payer, month, _)| (*payer, *month))
            .collect();
        pages.dedup();
        for (payer, month) in pages {
            let laws = state.bill_of(&payer, month);
            let laws = laws.map(|(key, line)| (*key, (line.ready_ms, line.amount.micro())));
            let own = self
                .lines
                .iter()
                .filter(|(key, _)| (key.0, key.1) == (payer, month));
            if !laws.eq(own.map(|(key, line)| (*key, *line))) {
                return Err(format!(
                    "the bill of {payer} for {month} is not its evidence"
                ));
            }
        }
        Ok(())
    }
}

fn charge_of(event: &Event, id: LeaseId) -> i128 {
    match event {
        Event::LeaseCharged { lease, amount, .. } if *lease == id => amount.micro(),
        _ => 0,
    }
}

impl Check for Bills {
    fn name(&self) -> &'static str {
        "bills"
    }

    fn fresh(&mut self, fresh: &Fresh<'_>) -> Found {
        let told = fresh.told;
        for event in told.all_events() {
            if let Event::LeasePlaced { lease, .. } = event {
                self.place(&told.state, *lease)?;
            }
        }
        for (receipt, transaction) in told.receipts.iter().zip(&told.transactions) {
            if receipt.outcome.is_err() {
                continue;
            }
            for action in &transaction.body.actions {
                if let Action::SubmitEvidence(evidence) = action {
                    for item in &evidence.items {
                        self.fold(&told.state, item, receipt)?;
                    }
                }
            }
        }
        self.compare(&told.state)
    }
}
