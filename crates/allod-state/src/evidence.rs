//! Evidence: what leases used and for how long they were ready. The bill is a fold over it.
//!
//! Rules:
//! 1. Each item begins where the lease's last item ended, so that no time is counted twice and a repeated
//!    submission is refused.
//! 2. Ready time is at most the item's span, and nothing after the lease's end counts.
//! 3. The charge is `floor(price × all ready time / hour) − charged before`: rounding never adds up.
//! 4. Each item is chained into the lease's accumulator, which is under the state root. Whoever keeps the raw items
//!    can therefore show, after blocks are pruned, that exactly these items made the bill.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::bill;
use crate::codec::Domain;
use crate::credit::move_credits;
use crate::event::Event;
use crate::id::{LeaseId, NodeId};
use crate::lease::{self, EndCause, Lease};
use crate::limits::{EVIDENCE_AHEAD_MS_MAX, EVIDENCE_ITEMS_MAX, EVIDENCE_SPAN_MS_MAX};
use crate::money::{Credits, OutOfRange};
use crate::reject::Rejection;
use crate::transaction::Apply;

static CHAIN: Domain = Domain::new("allod evidence v1");
/// What prices are for.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// What a lease used.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Usage {
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Memory in use, summed over time, in MiB-seconds.
    pub memory_mib_seconds: u64,
    /// Disk in use, summed over time, in MiB-seconds.
    pub storage_mib_seconds: u64,
    /// Bytes received.
    pub network_received_bytes: u64,
    /// Bytes sent.
    pub network_sent_bytes: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.saturating_add(other.cpu_ms),
            memory_mib_seconds: self
                .memory_mib_seconds
                .saturating_add(other.memory_mib_seconds),
            storage_mib_seconds: self
                .storage_mib_seconds
                .saturating_add(other.storage_mib_seconds),
            network_received_bytes: self
                .network_received_bytes
                .saturating_add(other.network_received_bytes),
            network_sent_bytes: self
                .network_sent_bytes
                .saturating_add(other.network_sent_bytes),
        }
    }
}

/// One stretch of one lease's life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Item {
    /// The lease.
    pub lease: LeaseId,
    /// Its epoch.
    pub epoch: u64,
    /// Where the stretch begins: the lease's placement, or the end of its last item.
    pub from_ms: u64,
    /// Where it ends.
    pub until_ms: u64,
    /// For how long of it the replica was ready.
    pub ready_ms: u64,
    /// What was used in it.
    pub usage: Usage,
}

/// The sum of a lease's evidence.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Meter {
    /// Where the last item ended; the lease's placement before the first.
    pub until_ms: u64,
    /// How many items.
    pub items: u64,
    /// Ready time of all items together.
    pub ready_ms: u64,
    /// What was used in all items together.
    pub usage: Usage,
    /// What was charged.
    pub charged: Credits,
    /// The chain over all items.
    pub accumulator: [u8; 32],
}

impl Meter {
    /// The meter of a lease placed at `placed_ms`.
    #[must_use]
    pub fn starting_at(placed_ms: u64) -> Self {
        Self {
            until_ms: placed_ms,
            ..Self::default()
        }
    }

    /// The meter after one more item, at `price_per_hour`. This is the whole arithmetic of a bill, and
    /// `allod bill verify` calls this very function.
    ///
    /// # Errors
    /// Where the charge leaves the range of credits.
    pub fn fold(&self, item: &Item, price_per_hour: Credits) -> Result<Self, OutOfRange> {
        let ready_ms = self.ready_ms.saturating_add(item.ready_ms);
        Ok(Self {
            until_ms: item.until_ms,
            items: self.items.saturating_add(1),
            ready_ms,
            usage: self.usage.plus(item.usage),
            charged: price_per_hour.mul_div_floor(ready_ms, HOUR_MS)?,
            accumulator: chain(&self.accumulator, item),
        })
    }
}

fn chain(accumulator: &[u8; 32], item: &Item) -> [u8; 32] {
    CHAIN.hash(&(accumulator, item))
}

/// Tells what some leases of one node used.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SubmitEvidence {
    /// The node.
    pub node: NodeId,
    /// At most one item for each of its leases.
    pub items: Vec<Item>,
}

impl Apply for SubmitEvidence {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        u64::try_from(self.items.len())
            .unwrap_or(u64::MAX)
            .saturating_mul(20)
            .saturating_add(20)
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        if self.items.is_empty() || self.items.len() > EVIDENCE_ITEMS_MAX {
            return Err(Rejection::too_many("evidence items (1 to 500 are allowed)"));
        }
        for item in &self.items {
            let unknown = Rejection::UnknownLease { lease: item.lease };
            let lease = context.state.lease(&item.lease).ok_or(unknown)?;
            if lease.node != self.node || lease.epoch != item.epoch {
                return Err(Rejection::StaleLease { lease: item.lease });
            }
            check(item, &lease, context.now_ms).map_err(|what| Rejection::BadEvidence {
                what: format!("{what} (lease {})", item.lease.short()),
            })?;
            charge(context, item, lease)?;
        }
        Ok(())
    }
}

fn check(item: &Item, lease: &Lease, now_ms: u64) -> Result<(), &'static str> {
    let span = item
        .until_ms
        .checked_sub(item.from_ms)
        .ok_or("it ends before it begins")?;
    if item.from_ms != lease.meter.until_ms {
        return Err("it does not begin where the last item ended");
    }
    if span == 0 || span > EVIDENCE_SPAN_MS_MAX {
        return Err("it spans nothing or more than an hour");
    }
    if item.ready_ms > span {
        return Err("it claims more ready time than it spans");
    }
    if item.until_ms > now_ms.saturating_add(EVIDENCE_AHEAD_MS_MAX) {
        return Err("it ends in the future");
    }
    if lease.ended_ms().is_some_and(|ended| item.until_ms > ended) {
        return Err("it goes past the end of the lease");
    }
    if lease.is_displaced() {
        return Err("its witnesses had given it up before it was told");
    }
    Ok(())
}

fn charge(context: &mut Context<'_>, item: &Item, lease: Lease) -> Result<(), Rejection> {
    let before = lease.meter.charged;
    let mut meter = lease.meter.fold(item, lease.price_per_hour)?;
    let due = meter.charged.minus(before)?;
    let (payer, payee) = (lease.payer, lease.payee);
    let mut paid = due;
    if payer != payee {
        let available = context.state.account_or_reject(&payer)?.available();
        paid = due.min(available.max(Credits::ZERO));
        move_credits(context.state, payer, payee, paid)?;
    }
    meter.charged = before.plus(paid)?;
    let month = bill::month_of(item.until_ms);
    bill::add(
        context.state,
        (payer, month, item.lease),
        item.ready_ms,
        paid,
    )?;
    if lease.is_active() {
        context.count_cost(&lease.app, (item.from_ms, item.until_ms), paid)?;
    }
    // That it could not be paid for is what explains its bill, also where it has ended for another reason.
    let is_short = paid < due && !lease.is_active();
    let exhausted = is_short.then_some(EndCause::CreditExhausted);
    let ending = exhausted.or(lease.ending);
    let lease = Lease {
        meter,
        ending,
        ..lease
    };
    context.state.put_lease(item.lease, lease);
    if paid > Credits::ZERO {
        context.emit(Event::LeaseCharged {
            lease: item.lease,
            payer,
            payee,
            amount: paid,
        });
    }
    if paid < due {
        lease::ask_to_end(context, &item.lease, EndCause::CreditExhausted);
    }
    Ok(())
}
