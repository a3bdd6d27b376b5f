//! How much of the time a machine was there, as others saw it, and the reputation that comes of it.
//!
//! Rules:
//! 1. Time counts while somebody else watches: from the first lease on the machine with a witness of another operator
//!    until the last of them ends. What nobody else saw counts neither for the machine nor against it.
//! 2. A machine that most witnesses of a lease have given up counts as gone from that block until it says that it is back,
//!    though nothing of it is watched meanwhile. One witness alone changes nothing here either.
//! 3. Time is kept by days of block time, for [`UPTIME_DAYS`] days.
//! 4. The reputation is the share of the watched time in which it was there, after one more day in which it was there for
//!    half of the time. So a newcomer has one half, a day without a fault makes it three quarters, and nobody has all.
//!
//! An operator with a second account can have its machines watched by its own: this says what witnesses saw, and not who
//! they are.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::apply::Context;
use crate::id::NodeId;
use crate::lease::Lease;
use crate::limits::{EFFORT_PER_LEASE, EFFORT_PER_ROW, UPTIME_DAYS};
use crate::state::State;
use crate::table::Row;

/// Milliseconds of a day.
const DAY_MS: u64 = 86_400_000;
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

    /// The reputation at a block time, in parts of a million.
    #[must_use]
    pub fn reputation_ppm(&self, now_ms: u64) -> u32 {
        let days = self.until(now_ms).days;
        let sum = |of: fn(&Day) -> u32| {
            let all = days.values().map(|day| u64::from(of(day)));
            all.fold(0, u64::saturating_add)
        };
        let up = sum(|day| day.up_ms).saturating_add(DAY_MS / 2);
        let watched = sum(|day| day.watched_ms).saturating_add(DAY_MS);
        let share = u64::from(WHOLE_PPM).saturating_mul(up).checked_div(watched);
        share.map_or(0, |share| u32::try_from(share).unwrap_or(WHOLE_PPM))
    }
}

impl State {
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

fn counting(context: &Context<'_>, node: &NodeId) -> Option<Counting> {
    context.state.uptime_row(node)?.counting
}

/// Whether a machine of another operator watches the lease.
fn is_watched(state: &State, lease: &Lease) -> bool {
    let own = state.operator_of(&lease.node);
    lease
        .watchers()
        .any(|watcher| state.operator_of(watcher) != own)
}

/// A lease was opened on its machine.
pub(crate) fn opened(context: &mut Context<'_>, lease: &Lease) {
    if counting(context, &lease.node).is_none() && is_watched(context.state, lease) {
        count(context, &lease.node, Some(true));
    }
}

/// A lease on the machine has ended.
pub(crate) fn ended(context: &mut Context<'_>, node: &NodeId) {
    let was_up = counting(context, node).is_some_and(|counting| counting.is_up);
    if was_up && !is_watched_at_all(context, node) {
        count(context, node, None);
    }
}

/// Whether a machine of another operator watches any lease on this one.
fn is_watched_at_all(context: &mut Context<'_>, node: &NodeId) -> bool {
    for id in context.state.active_leases_on(node) {
        context.toil(EFFORT_PER_LEASE);
        let lease = context.state.lease_row(&id);
        if lease.is_some_and(|lease| is_watched(context.state, lease)) {
            return true;
        }
    }
    false
}

/// The machine was given up.
pub(crate) fn lost(context: &mut Context<'_>, node: &NodeId) {
    if counting(context, node).is_some() {
        count(context, node, Some(false));
    }
}

/// The machine is back.
pub(crate) fn back(context: &mut Context<'_>, node: &NodeId) {
    if counting(context, node).is_some() {
        let is_up = is_watched_at_all(context, node).then_some(true);
        count(context, node, is_up);
    }
}
