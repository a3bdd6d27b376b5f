//! Leases: one replica on one node, for one epoch.
//!
//! Rules:
//! 1. A slot's epoch only rises; every lease has its own epoch, which fences the lease before it.
//! 2. A lease ends once, with a cause out of a closed list. What it may still be charged is time before its end.
//! 3. When a successor reports ready it becomes current, and the lease before it ends as superseded.
//! 4. A failure makes its slot wait, twice as long after each failure in a row; a lease that was ready for a minute
//!    forgives the failures before it.
//! 5. A new revision that fails three times in a row while an old lease serves stops trying: the old one stays.
//! 6. What becomes of a lease whose machine is gone, its witnesses say: [`witness`].
//! 7. An exclusive lease is not ended over its holder's head: it is asked to end, and is active until its holder says
//!    that nothing of it runs, or most of its witnesses have given it up. So no two leases of its slot are active at
//!    once, and what is active is all that may run: [`right`] says why that holds for machines that nobody reaches.

pub mod right;
pub mod witness;

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::account::grant::Verb;
use crate::app::{RestartPolicy, Slot, SlotKey, Waiting};
use crate::apply::Context;
use crate::codec::Domain;
use crate::event::Event;
use crate::evidence::Meter;
use crate::id::{AccountId, AppId, Digest, Label, LeaseId, NodeId};
use crate::limits::{
    BACKOFF_FIRST_MS, BACKOFF_MAX_MS, EFFORT_PER_LEASE, FAILURES_FORGIVEN_AFTER_MS, PLACE_RETRY_MS,
    ROLLOUT_FAILURES_MAX,
};
use crate::money::Credits;
use crate::node::{self, Resources};
use crate::place;
use crate::reject::Rejection;
use crate::table::Row;
use crate::transaction::Apply;

static ID: Domain = Domain::new("allod lease v1");

/// One replica on one node, for one epoch.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Lease {
    /// The app.
    pub app: AppId,
    /// The app's blinded name; volumes outlive the app under it.
    pub app_label: Label,
    /// The service.
    pub service: Label,
    /// The replica's index.
    pub replica: u32,
    /// The fencing token.
    pub epoch: u64,
    /// The revision it runs.
    pub revision: u64,
    /// The generation it runs.
    pub generation: u64,
    /// The revision's sealed manifest.
    pub manifest: Digest,
    /// The machine.
    pub node: NodeId,
    /// Who pays.
    pub payer: AccountId,
    /// Who is paid.
    pub payee: AccountId,
    /// The price reserved when it was placed.
    pub price_per_hour: Credits,
    /// What it takes from the node.
    pub footprint: Resources,
    /// Its volumes.
    pub volumes: BTreeSet<Label>,
    /// Block time of its placement.
    pub placed_ms: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// What it used and was charged.
    pub meter: Meter,
    /// The nodes that watch its holder. On a network of one this is the node itself, and evidence says so.
    pub witnesses: BTreeSet<NodeId>,
    /// Those of them that have given it up.
    pub given_up_by: BTreeSet<NodeId>,
    /// Block time at which the first of them gave it up, until more are asked whether it is so; so long before one at
    /// which it is to be seen who watches it.
    pub doubted_ms: Option<u64>,
    /// Whether nothing else of its slot may run while it does.
    pub is_exclusive: bool,
    /// Why it is to end, once its holder has said that nothing of it runs any more.
    pub ending: Option<EndCause>,
}

/// Where a lease is in its life.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Phase {
    /// On its way, or alive but not ready.
    Placed,
    /// Ready to serve.
    Ready {
        /// Block time since when.
        since_ms: u64,
    },
    /// Over.
    Ended {
        /// Why.
        cause: EndCause,
        /// Block time at which it ended.
        at_ms: u64,
    },
}

/// Why a lease ended. The list is closed: each cause has its consequence below.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "kebab-case", tag = "cause")]
#[repr(u8)]
pub enum EndCause {
    /// A newer epoch of the replica took over.
    Superseded = 0,
    /// The owner wants fewer replicas.
    ScaledDown = 1,
    /// The owner ended the app.
    Deleted = 2,
    /// The payer's balance and line were used up.
    CreditExhausted = 3,
    /// The process ended by itself.
    Exited {
        /// Its exit code.
        code: i32,
    } = 4,
    /// The process was ended by a signal that the node did not send.
    Signaled {
        /// The signal's number.
        signal: i32,
    } = 5,
    /// The replica went over its memory.
    OutOfMemory = 6,
    /// The registry refused the image.
    PullDenied = 7,
    /// The registry does not have the image.
    ImageNotFound = 8,
    /// The registry could not be reached.
    RegistryUnreachable = 9,
    /// The image's bytes are not what their digest says.
    BadDigest = 10,
    /// The process could not be started.
    StartFailed = 11,
    /// Its health check failed.
    ProbeFailed = 12,
    /// Nothing listened on its port in time.
    PortNotListening = 13,
    /// It did not become ready in time.
    NotReady = 14,
    /// It was gone when the node looked.
    Lost = 15,
    /// The node could not open the sealed manifest.
    ManifestUnreadable = 16,
    /// A volume could not be mounted.
    VolumeFailed = 17,
    /// The replica wrote more than its storage.
    OutOfStorage = 18,
    /// The node's disk was nearly full, and the replica was who wrote most.
    DiskFull = 19,
    /// Most of its witnesses have heard nothing of its node.
    Unreachable = 20,
}

/// What an end means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consequence {
    /// Somebody wanted it; it is billed to its end.
    Wanted,
    /// The replica failed; ready time until the failure is billed, and the slot waits before the next try.
    Failure,
    /// Its machine is gone; what it has not been billed for by then it never is, and the slot is filled again at once.
    Displaced,
}

impl EndCause {
    /// What it means. Money is charged by evidence alone: ready time before the end.
    #[must_use]
    pub const fn consequence(self) -> Consequence {
        match self {
            Self::Superseded | Self::ScaledDown | Self::Deleted | Self::CreditExhausted => {
                Consequence::Wanted
            }
            Self::Unreachable => Consequence::Displaced,
            _ => Consequence::Failure,
        }
    }

    /// Whether a node may report it; the others are the law's own.
    #[must_use]
    pub const fn is_reportable(self) -> bool {
        matches!(self.consequence(), Consequence::Failure)
    }
}

impl std::fmt::Display for EndCause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Superseded => f.write_str("a newer epoch took over"),
            Self::ScaledDown => f.write_str("scaled down"),
            Self::Deleted => f.write_str("deleted"),
            Self::CreditExhausted => f.write_str("credits used up"),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signaled { signal } => write!(f, "killed by signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::PullDenied => f.write_str("the registry refused the image"),
            Self::ImageNotFound => f.write_str("the registry does not have the image"),
            Self::RegistryUnreachable => f.write_str("the registry could not be reached"),
            Self::BadDigest => f.write_str("the image does not match its digest"),
            Self::StartFailed => f.write_str("the process could not be started"),
            Self::ProbeFailed => f.write_str("the health check failed"),
            Self::PortNotListening => f.write_str("nothing listened on the port in time"),
            Self::NotReady => f.write_str("not ready in time"),
            Self::Lost => f.write_str("gone when the node looked"),
            Self::ManifestUnreadable => f.write_str("the sealed manifest could not be opened"),
            Self::VolumeFailed => f.write_str("a volume could not be mounted"),
            Self::OutOfStorage => f.write_str("out of storage"),
            Self::DiskFull => f.write_str("the machine's disk was nearly full"),
            Self::Unreachable => f.write_str("its machine is not reached any more"),
        }
    }
}

impl Row for Lease {
    type Key = LeaseId;
    const TAG: u8 = 7;
}

impl LeaseId {
    /// The lease of a slot's epoch.
    #[must_use]
    pub fn of(slot: &SlotKey, epoch: u64) -> Self {
        Self(ID.hash(&(slot, epoch)))
    }
}

impl Lease {
    /// The replica slot it belongs to.
    #[must_use]
    pub const fn slot(&self) -> SlotKey {
        (self.app, self.service, self.replica)
    }

    /// Whether it has not ended.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        !matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether it ended because its machine was gone.
    #[must_use]
    pub fn is_displaced(&self) -> bool {
        let Phase::Ended { cause, .. } = self.phase else {
            return false;
        };
        cause.consequence() == Consequence::Displaced
    }

    /// What its payer has promised to another for an hour of it.
    #[must_use]
    pub fn promised_to_others(&self) -> Credits {
        if self.is_active() && self.payer != self.payee {
            self.price_per_hour
        } else {
            Credits::ZERO
        }
    }

    /// Those of its witnesses that are not its holder.
    pub fn watchers(&self) -> impl Iterator<Item = &NodeId> {
        let witnesses = self.witnesses.iter();
        witnesses.filter(|witness| **witness != self.node)
    }

    /// Block time of its end, where it has ended.
    #[must_use]
    pub const fn ended_ms(&self) -> Option<u64> {
        match self.phase {
            Phase::Ended { at_ms, .. } => Some(at_ms),
            _ => None,
        }
    }
}

/// Tells what became of a lease. Only the lease's own node can.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReportLease {
    /// The lease.
    pub lease: LeaseId,
    /// Its epoch.
    pub epoch: u64,
    /// What became of it.
    pub report: Report,
}

/// What a node tells of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Report {
    /// It is ready to serve.
    Ready,
    /// It is alive but not ready any more.
    NotReady,
    /// It is over.
    Ended(EndCause),
    /// Nothing of it runs any more: it was asked to end.
    Gone,
}

impl Apply for ReportLease {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let unknown = Rejection::UnknownLease { lease: self.lease };
        let lease = context.state.lease(&self.lease).ok_or(unknown)?;
        context.own_node(&lease.node)?;
        if lease.epoch != self.epoch || !lease.is_active() {
            return Err(Rejection::StaleLease { lease: self.lease });
        }
        match self.report {
            Report::Ready => {
                become_ready(context, self.lease, lease);
                Ok(())
            }
            Report::NotReady => {
                if matches!(lease.phase, Phase::Ready { .. }) {
                    let app = lease.app;
                    context.state.put_lease(
                        self.lease,
                        Lease {
                            phase: Phase::Placed,
                            ..lease
                        },
                    );
                    context.emit(Event::LeaseReadiness {
                        app,
                        lease: self.lease,
                        is_ready: false,
                    });
                }
                Ok(())
            }
            Report::Ended(cause) if cause.is_reportable() => {
                end(context, &self.lease, lease.ending.unwrap_or(cause));
                Ok(())
            }
            Report::Gone => {
                let cause = lease.ending;
                let cause = cause.ok_or(Rejection::field("nobody has asked this lease to end"))?;
                end(context, &self.lease, cause);
                Ok(())
            }
            Report::Ended(_) => Err(Rejection::field("a node cannot report this cause")),
        }
    }
}

fn become_ready(context: &mut Context<'_>, id: LeaseId, lease: Lease) {
    if matches!(lease.phase, Phase::Ready { .. }) {
        return;
    }
    let (app, key) = (lease.app, lease.slot());
    let phase = Phase::Ready {
        since_ms: context.now_ms,
    };
    context.state.put_lease(id, Lease { phase, ..lease });
    context.emit(Event::LeaseReadiness {
        app,
        lease: id,
        is_ready: true,
    });
    let Some(slot) = context.state.slot(&key) else {
        return;
    };
    if slot.successor == Some(id) {
        let before = slot.current;
        let slot = Slot {
            current: Some(id),
            successor: None,
            failures: 0,
            ..slot
        };
        context.state.put_slot(key, slot);
        if let Some(before) = before {
            end(context, &before, EndCause::Superseded);
        }
    }
    place::roll_on(context, &app, &key.1);
}

/// Ends an active lease, or asks its holder to: an exclusive one is active for as long as it may run.
pub(crate) fn ask_to_end(context: &mut Context<'_>, id: &LeaseId, cause: EndCause) {
    let Some(lease) = context.state.lease(id).filter(Lease::is_active) else {
        return;
    };
    if lease.is_exclusive {
        ask(context, id, cause);
    } else {
        end(context, id, cause);
    }
}

/// Asks the holder of an active lease to end it.
pub(crate) fn ask(context: &mut Context<'_>, id: &LeaseId, cause: EndCause) {
    let Some(lease) = context.state.lease(id).filter(Lease::is_active) else {
        return;
    };
    context.toil(EFFORT_PER_LEASE);
    // That it could not be paid for is what explains its bill.
    let exhausted = lease.ending.filter(|it| *it == EndCause::CreditExhausted);
    let ending = exhausted.or(Some(cause));
    context.state.put_lease(*id, Lease { ending, ..lease });
}

/// Ends an active lease and settles what its slot does next.
pub(crate) fn end(context: &mut Context<'_>, id: &LeaseId, cause: EndCause) {
    let Some(lease) = context.state.lease(id).filter(Lease::is_active) else {
        return;
    };
    context.toil(EFFORT_PER_LEASE);
    let key = lease.slot();
    let was_ready_ms = match lease.phase {
        Phase::Ready { since_ms } => context.now_ms.saturating_sub(since_ms),
        _ => 0,
    };
    let phase = Phase::Ended {
        cause,
        at_ms: context.now_ms,
    };
    context.emit(Event::LeaseEnded {
        app: lease.app,
        lease: *id,
        cause,
    });
    let (node, was_asked) = (lease.node, lease.ending.is_some());
    context.count_untold(&lease);
    context.state.put_lease(*id, Lease { phase, ..lease });
    node::ended(context, &node);
    if let Some(slot) = context.state.slot(&key) {
        let slot = without(slot, id);
        let slot = match cause.consequence() {
            // It goes on where it can be paid, or costs nothing: placement asks that each time.
            Consequence::Wanted if cause == EndCause::CreditExhausted => Slot {
                due_ms: Some(context.now_ms.saturating_add(PLACE_RETRY_MS)),
                refused: 1,
                ..slot
            },
            // What was to come after it waited for this.
            Consequence::Wanted if was_asked => Slot {
                due_ms: Some(context.now_ms),
                ..slot
            },
            Consequence::Wanted => slot,
            Consequence::Failure => after_failure(context, &key, slot, cause, was_ready_ms),
            Consequence::Displaced => Slot {
                due_ms: Some(context.now_ms),
                ..slot
            },
        };
        context.state.put_slot(key, slot);
    }
}

fn without(slot: Slot, id: &LeaseId) -> Slot {
    // What was found for it before, or was not, is of another time.
    let refused = 0;
    if slot.current == Some(*id) {
        Slot {
            current: slot.successor,
            successor: None,
            refused,
            ..slot
        }
    } else if slot.successor == Some(*id) {
        Slot {
            successor: None,
            refused,
            ..slot
        }
    } else {
        slot
    }
}

fn after_failure(
    context: &mut Context<'_>,
    key: &SlotKey,
    slot: Slot,
    cause: EndCause,
    was_ready_ms: u64,
) -> Slot {
    let forgiven = was_ready_ms >= FAILURES_FORGIVEN_AFTER_MS;
    let failures = if forgiven {
        1
    } else {
        slot.failures.saturating_add(1)
    };
    let is_serving = slot.current.is_some();
    if is_serving && failures >= ROLLOUT_FAILURES_MAX {
        halt_rollout(context, key, cause);
        return Slot {
            failures,
            due_ms: None,
            ..slot
        };
    }
    if !is_serving && completes(context, key, cause) {
        return Slot {
            failures,
            due_ms: None,
            waiting: Some(Waiting::Completed(cause)),
            ..slot
        };
    }
    let wait = doubled(BACKOFF_FIRST_MS, failures.saturating_sub(1), BACKOFF_MAX_MS);
    let waiting = (!is_serving).then_some(Waiting::BackingOff(cause));
    Slot {
        failures,
        due_ms: Some(context.now_ms.saturating_add(wait)),
        waiting,
        ..slot
    }
}

/// A pause that doubles so many times, up to the longest.
pub(crate) fn doubled(first_ms: u64, times: u32, max_ms: u64) -> u64 {
    let doubled = first_ms.checked_shl(times.min(16));
    doubled.unwrap_or(max_ms).min(max_ms)
}

fn completes(context: &Context<'_>, key: &SlotKey, cause: EndCause) -> bool {
    let EndCause::Exited { code } = cause else {
        return false;
    };
    let (app, service, _) = key;
    let revision = context
        .state
        .app(app)
        .and_then(|app| app.services.get(service).map(|s| s.revision));
    let demand = revision.and_then(|revision| context.state.demand(app, revision, service));
    match demand.map(|demand| demand.restart) {
        Some(RestartPolicy::Never) => true,
        Some(RestartPolicy::OnFailure) => code == 0,
        _ => false,
    }
}

fn halt_rollout(context: &mut Context<'_>, key: &SlotKey, cause: EndCause) {
    let (id, label, _) = key;
    let Some(mut app) = context.state.app(id) else {
        return;
    };
    if let Some(service) = app.services.get_mut(label) {
        service.is_halted = true;
        let revision = service.revision;
        context.emit(Event::RolloutFailed {
            app: *id,
            service: *label,
            revision,
            cause,
        });
    }
    context.state.put_app(*id, app);
}
