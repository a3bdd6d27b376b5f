//! The planner: from what the law wants of this machine and what this machine has, the next step of each workload.
//!
//! Rules:
//! 1. It is level-triggered: it looks at the whole of both sides each time and remembers nothing. A step that was lost
//!    is simply planned again.
//! 2. One step at a time for each workload.
//! 3. A workload is removed only when the law says in so many words that its lease has ended. A lease that is not in
//!    sight is left alone: absence of data never means delete.
//! 4. A replica with a volume, or an exclusive one, starts only when no earlier epoch of it is left on this machine, and
//!    nothing else that has the volume, or is of that service of an app of that name: one writer at a time, whatever the app
//!    was deployed as before.
//! 5. Nothing is planned before the runtime has said what is here: an agent that was started anew would take what it has
//!    not seen yet for absent, such as the earlier writer of a volume.
//! 6. A replica that the law has as ready and of which nothing is here, as after the machine was restarted, is told as
//!    lost. It comes back under a new epoch, and is not started again in silence. One that ran under this agent and is not
//!    seen any more is halted before.
//! 7. An exclusive replica starts only while its witnesses confirm it, and is ready only then: it stands still else.
//! 8. What is to end is removed, and then told to be gone. Of an exclusive replica no end is told while something of it
//!    runs: the law places the next one when it hears so.

use std::collections::{BTreeMap, BTreeSet};

use allod_runtime::WorkloadId;
use allod_state::app::SlotKey;
use allod_state::lease::{EndCause, Lease, Phase, Report};
use allod_state::volume::VolumeKey;
use allod_state::{AccountId, Label};

/// What only one replica on this machine may have at a time. It outlives the app, which may be deployed anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claim {
    /// A volume.
    Volume(VolumeKey),
    /// A service of an account's app of that name, where it is exclusive.
    Service(AccountId, Label, Label),
}

impl Claim {
    /// What replicas of a lease have.
    pub(crate) fn of(lease: &Lease) -> BTreeSet<Self> {
        let (owner, app) = (lease.payer, lease.app_label);
        let volumes = lease.volumes.iter();
        let volumes = volumes.map(|volume| Self::Volume((owner, app, *volume)));
        volumes
            .chain([Self::Service(owner, app, lease.service)])
            .collect()
    }

    /// Those that nothing else may have while a replica of the lease runs.
    pub(crate) fn alone(lease: &Lease) -> BTreeSet<Self> {
        let mut claims = Self::of(lease);
        claims.retain(|claim| lease.is_exclusive || matches!(claim, Self::Volume(_)));
        claims
    }
}

/// What the law wants: an active lease of this node.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its replica.
    pub(crate) slot: SlotKey,
    /// Where the law has it.
    pub(crate) phase: Phase,
    /// What nothing else may have while it runs.
    pub(crate) claims: BTreeSet<Claim>,
    /// Whether nothing else of its replica may run while it does.
    pub(crate) is_exclusive: bool,
    /// Whether the law has asked to end it.
    pub(crate) is_ending: bool,
    /// Whether its manifest could be opened.
    pub(crate) is_readable: bool,
    /// Whether its manifest is on its way from another machine.
    pub(crate) is_awaited: bool,
    /// Whether a service that it depends on has not come far enough yet.
    pub(crate) is_blocked: bool,
}

/// What this machine has of one workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Local {
    /// Its replica, where that is known.
    pub(crate) slot: Option<SlotKey>,
    /// What it has, where its replica is known.
    pub(crate) claims: BTreeSet<Claim>,
    /// How far it has come.
    pub(crate) stage: Stage,
    /// Whether it ran, and the runtime does not know of it any more.
    pub(crate) is_missing: bool,
    /// Whether a step of it is under way.
    pub(crate) is_busy: bool,
    /// Whether it may not run now, for want of those that watch it.
    pub(crate) is_unconfirmed: bool,
    /// Whether its probes call it ready, and it may run.
    pub(crate) is_ready: bool,
    /// Whether others are not to be sent to it yet, though it is ready: its app is moving here.
    pub(crate) is_held: bool,
    /// Whether others than its app ask it, where that is known.
    pub(crate) is_asked: bool,
    /// Why its probes give it up, where they do.
    pub(crate) verdict: Option<EndCause>,
}

/// How far a workload has come on this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its image may be missing.
    #[default]
    Unprepared,
    /// Its image and volumes are here.
    Prepared,
    /// Its process runs.
    Running,
    /// Its process ended; its remains are here.
    Exited(EndCause),
    /// It could not be prepared or started; nothing of it is here.
    Failed(EndCause),
}

impl Stage {
    /// Whether something of it is on the host.
    pub(crate) const fn is_on_host(self) -> bool {
        matches!(self, Self::Running | Self::Exited(_))
    }
}

/// One step for one workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fetch and unpack its image, make its volumes.
    Prepare,
    /// Make and start it.
    Start,
    /// Take it out of the routes, stop it, remove it.
    Remove,
    /// The same, for a reason that is to be told when nothing of it is left.
    Halt(EndCause),
    /// Forget it: nothing of it is left.
    Forget,
    /// Tell the law.
    Report(Report),
}

/// The next steps. `locals` is nothing until the runtime has said everything that is here; `ended` are workloads whose
/// lease the law has ended.
pub(crate) fn plan(
    wanted: &BTreeMap<WorkloadId, Wanted>,
    locals: Option<&BTreeMap<WorkloadId, Local>>,
    ended: &BTreeSet<WorkloadId>,
) -> Vec<(WorkloadId, Step)> {
    let Some(locals) = locals else {
        return Vec::new();
    };
    let nothing = Local::default();
    let wanted_steps = wanted.iter().filter_map(|(id, wanted)| {
        let local = locals.get(id).unwrap_or(&nothing);
        let step = if local.is_busy {
            None
        } else {
            toward(*id, wanted, local, locals)
        };
        let step = step.map(|step| match step {
            Step::Report(Report::Ended(cause))
                if wanted.is_exclusive && local.stage == Stage::Running =>
            {
                Step::Halt(cause)
            }
            step => step,
        });
        step.map(|step| (*id, step))
    });
    let removals = locals
        .iter()
        .filter(|(id, local)| ended.contains(id) && !local.is_busy)
        .map(|(id, local)| {
            let step = if local.stage.is_on_host() {
                Step::Remove
            } else {
                Step::Forget
            };
            (*id, step)
        });
    wanted_steps.chain(removals).collect()
}

fn toward(
    id: WorkloadId,
    wanted: &Wanted,
    local: &Local,
    locals: &BTreeMap<WorkloadId, Local>,
) -> Option<Step> {
    if wanted.is_ending {
        let is_here = local.stage.is_on_host();
        return Some(if is_here {
            Step::Remove
        } else {
            Step::Report(Report::Gone)
        });
    }
    if !wanted.is_readable && wanted.is_awaited {
        return None;
    }
    if !wanted.is_readable {
        return Some(Step::Report(Report::Ended(EndCause::ManifestUnreadable)));
    }
    match local.stage {
        Stage::Unprepared if matches!(wanted.phase, Phase::Ready { .. }) => {
            Some(Step::Report(Report::Ended(EndCause::Lost)))
        }
        Stage::Unprepared => Some(Step::Prepare),
        Stage::Prepared if wanted.is_blocked || local.is_unconfirmed => None,
        Stage::Prepared if has_other(id, wanted, locals) => None,
        Stage::Prepared => Some(Step::Start),
        Stage::Exited(cause) | Stage::Failed(cause) => Some(Step::Report(Report::Ended(cause))),
        // Nobody saw it end: it is not to be told before nothing of it can run.
        Stage::Running if local.is_missing => Some(Step::Halt(EndCause::Lost)),
        Stage::Running => match (local.verdict, local.is_ready, &wanted.phase) {
            (Some(cause), _, _) => Some(Step::Report(Report::Ended(cause))),
            (None, true, Phase::Placed) if !local.is_held => Some(Step::Report(Report::Ready)),
            (None, false, Phase::Ready { .. }) => Some(Step::Report(Report::NotReady)),
            _ => None,
        },
    }
}

/// Whether something is here that has what it must have alone.
fn has_other(id: WorkloadId, wanted: &Wanted, locals: &BTreeMap<WorkloadId, Local>) -> bool {
    if wanted.claims.is_empty() {
        return false;
    }
    let is_in_the_way = |local: &Local| {
        let is_its_own = local.slot.is_none_or(|slot| slot == wanted.slot);
        is_its_own || !local.claims.is_disjoint(&wanted.claims)
    };
    locals.iter().any(|(other, local)| {
        *other != id && is_in_the_way(local) && (local.stage.is_on_host() || local.is_busy)
    })
}

#[cfg(test)]
mod tests;
