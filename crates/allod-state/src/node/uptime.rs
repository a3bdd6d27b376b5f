//! How much of the time a machine was there, as others saw it, and the reputation that comes of it.
//!
//! Rules:
//! 1. Time counts while a machine offers something, or holds a lease, and a machine of another operator is among those that
//!    watch it. What nobody else saw counts neither for the machine nor against it.
//! 2. A machine that was given up, be it with a lease or by itself, counts as gone from that block until it says that it
//!    is back. One witness alone changes nothing here either.
//! 3. A ledger that stood still, for longer than [`STANDSTILL_MS`] between two blocks, saw nobody: that time counts neither
//!    as there nor as gone.
//! 4. Time is kept by days of block time, for [`UPTIME_DAYS`] days.
//! 5. What others have attested is the time in which they saw it there; a newcomer has none.
//! 6. The reputation is the share of the watched time in which it was there, after one more day in which it was there for
//!    half of the time. So a newcomer has one half, a day without a fault makes it three quarters, and nobody has all.
//!
//! An operator with a second account can have its machines watched by its own: this says what witnesses saw, and not who
//! they are.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::apply::Context;
use crate::id::NodeId;
use crate::limits::{EFFORT_PER_ROW, EFFORT_PER_SLOT, STANDSTILL_MS, UPTIME_DAYS};
use crate::state::State;
use crate::table::Row;

/// Milliseconds of a day.
pub(crate) const DAY_MS: u64 = 86_400_000;
/// All of something, in parts of a million.
pub const WHOLE_PPM: u32 = 1_000_000;

/// How long a machine was watched, and how long of that it was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Uptime {
    /// By days since 1970, in block time; the last [`UPTIME_DAYS`] of them.
    pub days: BTreeMap<u32, Day>,
    /// What counts now, and since when; nothing where nobody watches.
    pub counting: Option<Counting>,
}

/// What was seen in a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Day {
    /// Milliseconds in which others watched it, or it was given up.
    pub watched_ms: u32,
    /// Of these, the milliseconds in which it was there.
    pub up_ms: u32,
}

/// What counts at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Counting {
    /// Block time from which it is not in a day yet.
    pub since_ms: u64,
    /// Whether the machine is there.
    pub is_up: bool,
}

impl Row for Uptime {
    type Key = NodeId;
    const TAG: u8 = 14;
}

impl Uptime {
    /// The same with everything in its day up to a block time, and nothing from before the days that are kept.
    #[must_use]
    pub fn until(&self, now_ms: u64) -> Self {
        let mut days = self.days.clone();
        let today = now_ms / DAY_MS;
        let first = today.saturating_add(1).saturating_sub(UPTIME_DAYS);
        days.retain(|day, _| u64::from(*day) >= first);
        let Some(counting) = self.counting else {
            return Self {
                days,
                counting: None,
            };
        };
        for day in first.max(counting.since_ms / DAY_MS)..=today {
            let begin = counting.since_ms.max(day.saturating_mul(DAY_MS));
            let end = now_ms.min(day.saturating_add(1).saturating_mul(DAY_MS));
            let passed = u32::try_from(end.saturating_sub(begin)).unwrap_or(u32::MAX);
            let kept = days
                .entry(u32::try_from(day).unwrap_or(u32::MAX))
                .or_default();
            kept.watched_ms = kept.watched_ms.saturating_add(passed);
            kept.up_ms = kept
                .up_ms
                .saturating_add(if counting.is_up { passed } else { 0 });
        }
        let since_ms = now_ms.max(counting.since_ms);
        Self {
            days,
            counting: Some(Counting {
                since_ms,
                ..counting
            }),
        }
    }

    /// For how many milliseconds of the days that are kept others had seen it there, at a block time.
    #[must_use]
    pub fn attested_ms(&self, now_ms: u64) -> u64 {
        sum(&self.until(now_ms).days, |day| day.up_ms)
    }

    /// The reputation at a block time, in parts of a million.
    #[must_use]
    pub fn reputation_ppm(&self, now_ms: u64) -> u32 {
        let days = self.until(now_ms).days;
        let up = sum(&days, |day| day.up_ms).saturating_add(DAY_MS / 2);
        let watched = sum(&days, |day| day.watched_ms).saturating_add(DAY_MS);
        let share = u64::from(WHOLE_PPM).saturating_mul(up).checked_div(watched);
        share.map_or(0, |share| u32::try_from(share).unwrap_or(WHOLE_PPM))
    }
}

fn sum(days: &BTreeMap<u32, Day>, of: fn(&Day) -> u32) -> u64 {
    let all = days.values().map(|day| u64::from(of(day)));
    all.fold(0, u64::saturating_add)
}

impl State {
    /// For how many milliseconds of the last [`UPTIME_DAYS`] days machines of other operators had seen a machine there, at
    /// this state's block time.
    #[must_use]
    pub fn attested_ms(&self, node: &NodeId) -> u64 {
        self.uptime(node)
            .unwrap_or_default()
            .attested_ms(self.tip().time_ms)
    }

    /// A machine's reputation at this state's block time, in parts of a million.
    #[must_use]
    pub fn reputation_ppm(&self, node: &NodeId) -> u32 {
        self.uptime(node)
            .unwrap_or_default()
            .reputation_ppm(self.tip().time_ms)
    }
}

/// Goes on with `counting` from now on.
fn count(context: &mut Context<'_>, node: &NodeId, is_up: Option<bool>) {
    context.toil(EFFORT_PER_ROW);
    let now_ms = context.now_ms;
    let before = context.state.uptime(node).unwrap_or_default().until(now_ms);
    let counting = is_up.map(|is_up| Counting {
        since_ms: now_ms,
        is_up,
    });
    context
        .state
        .put_uptime(*node, Uptime { counting, ..before });
}

/// What follows from the state now: whether a machine's time counts, and as what.
pub(crate) fn settle(context: &mut Context<'_>, id: &NodeId) {
    let is_up = context.state.uptime_row(id).and_then(|row| row.counting);
    let is_up = is_up.map(|counting| counting.is_up);
    let Some(node) = context.state.node_row(id) else {
        return;
    };
    let becomes = if node.is_unreachable {
        is_up.map(|_| false)
    } else {
        let is_counted = holds_or_offers(context.state, id) && is_watched(context.state, id);
        is_counted.then_some(true)
    };
    if becomes != is_up {
        count(context, id, becomes);
    }
}

fn holds_or_offers(state: &State, id: &NodeId) -> bool {
    let offers = state.node_row(id).is_some_and(|node| node.offer.is_some());
    offers || state.leases_on(id).next().is_some()
}

/// Whether a machine of another operator watches it.
fn is_watched(state: &State, id: &NodeId) -> bool {
    let own = state.operator_of(id);
    let watchers = state.watchers_of(id);
    watchers.iter().any(|it| state.operator_of(it) != own)
}

/// A lease on the machine has ended.
pub(crate) fn ended(context: &mut Context<'_>, id: &NodeId) {
    // Where it offers something, its time counts without leases too.
    let node = context.state.node_row(id);
    if node.is_some_and(|node| node.offer.is_none()) {
        context.toil(EFFORT_PER_SLOT);
        settle(context, id);
    }
}

/// A block comes so long after the one before that nobody knows who was there meanwhile.
pub(crate) fn stood_still(state: &mut State, now_ms: u64) {
    let before_ms = state.tip().time_ms;
    if now_ms.saturating_sub(before_ms) <= STANDSTILL_MS {
        return;
    }
    for (id, uptime) in state.counted() {
        let before = uptime.until(before_ms);
        let counting = before.counting.map(|counting| Counting {
            since_ms: now_ms,
            ..counting
        });
        state.put_uptime(id, Uptime { counting, ..before });
    }
}
