//! Machines: how operators list them, and what their agents report.

use std::collections::BTreeSet;

use allod_ledger::bft::Signer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::lease::{EndCause, Lease, Phase, Report, ReportLease};
use allod_state::limits::EVIDENCE_SPAN_MS_MAX;
use allod_state::node::{
    CordonNode, DrainNode, Isolation, Offer, Prices, PublishOffer, RegisterNode, ReportGone,
    Resources, WithdrawOffer,
};
use allod_state::volume::{ReportVolume, Standing};
use allod_state::{Action, Credits, LeaseId, NodeId};

use crate::client::{Draft, Wish};
use crate::person::{MACHINES, People, VALIDATORS, operator_of_validator, validator};

const GIB: u64 = 1 << 30;

pub(super) fn register(draft: &mut Draft<'_>) -> Option<Wish> {
    let machine = MACHINES.start + draft.random.index(MACHINES.len());
    let operator = draft.people.operator_of(machine).account;
    if draft.state.node(&draft.people.node(machine)).is_some() && draft.random.percent(90) {
        return None;
    }
    let signer = draft.signer_for(&operator)?;
    let person = draft.people.get(machine);
    let register = RegisterNode {
        key: person.key,
        consent: person.sign(&RegisterNode::consent_bytes(&operator, &[3; 32])),
        sealing_key: [3; 32],
        name: "machine".parse().ok()?,
    };
    let offer = PublishOffer {
        node: draft.people.node(machine),
        offer: an_offer(draft)?,
    };
    Some(Wish {
        signer,
        account: operator,
        actions: vec![register.into(), offer.into()],
    })
}

/// Lists a validator's machine, so that the law can bar it; it offers nothing.
pub(super) fn enlist(draft: &mut Draft<'_>) -> Option<Wish> {
    let keys: Vec<_> = draft
        .state
        .validators()
        .iter()
        .map(|(key, _)| *key)
        .collect();
    let key = *draft.random.pick(&keys)?;
    if draft.state.node(&NodeId::of_first_key(&key)).is_some() {
        return None;
    }
    let mut numbers = VALIDATORS;
    let number = numbers.find(|number| validator(*number).public_key() == key)?;
    Some(Wish {
        signer: operator_of_validator(number),
        account: draft.people.operator_of_validator(number).account,
        actions: vec![registration(draft.people, number)?.into()],
    })
}

/// What lists a validator's machine as its operator's.
pub(crate) fn registration(people: &People, number: usize) -> Option<RegisterNode> {
    let operator = people.operator_of_validator(number).account;
    let signer = validator(number);
    Some(RegisterNode {
        key: signer.public_key(),
        consent: signer.sign(&RegisterNode::consent_bytes(&operator, &[3; 32])),
        sealing_key: [3; 32],
        name: "validator".parse().ok()?,
    })
}

fn some_node(draft: &mut Draft<'_>) -> Option<(usize, NodeId)> {
    let machine = MACHINES.start + draft.random.index(MACHINES.len());
    let node = draft.people.node(machine);
    draft.state.node(&node).map(|_| (machine, node))
}

pub(super) fn offer(draft: &mut Draft<'_>) -> Option<Wish> {
    let (machine, node) = some_node(draft)?;
    let account = draft.people.operator_of(machine).account;
    let signer = draft.signer_for(&account)?;
    let offer = an_offer(draft)?;
    Some(Wish {
        signer,
        account,
        actions: vec![PublishOffer { node, offer }.into()],
    })
}

fn an_offer(draft: &mut Draft<'_>) -> Option<Offer> {
    let random = &mut *draft.random;
    // From next to nothing to so much that a minute empties an account.
    let mut price = || {
        let most = [1_000, 100_000, 30_000_000];
        let most = most.get(random.index(most.len())).copied().unwrap_or(1);
        Credits::from_micro(i128::from(random.below(most)))
    };
    let prices = Prices {
        cpu_core_hour: price(),
        memory_gib_hour: price(),
        storage_gib_hour: price(),
    };
    Some(Offer {
        capacity: Resources {
            cpu_milli: random.between(1, 16) * 1_000,
            memory_bytes: random.between(1, 32) * GIB,
            storage_bytes: random.between(10, 100) * GIB,
        },
        prices,
        isolation: BTreeSet::from([Isolation::Container]),
        region: "here".parse().ok()?,
        tags: BTreeSet::new(),
    })
}

pub(super) fn cordon(draft: &mut Draft<'_>) -> Option<Wish> {
    let (machine, node) = some_node(draft)?;
    let account = draft.people.operator_of(machine).account;
    let signer = draft.signer_for(&account)?;
    let is_cordoned = draft.random.percent(40);
    let action = match draft.random.below(10) {
        0 => WithdrawOffer { node }.into(),
        1 | 2 => DrainNode { node }.into(),
        _ => CordonNode { node, is_cordoned }.into(),
    };
    Some(Wish {
        signer,
        account,
        actions: vec![action],
    })
}

/// What a machine's agent reports when it looks at its leases and volumes.
pub(crate) fn look(draft: &mut Draft<'_>) -> Option<Wish> {
    let (machine, node) = some_node(draft)?;
    let mut actions: Vec<Action> = Vec::new();
    let mut items = Vec::new();
    for (id, lease) in draft.state.leases().filter(|(_, lease)| lease.node == node) {
        if lease.is_active() && draft.random.percent(60) {
            let report = some_report(draft.random.below(100), lease);
            actions.extend(report.map(|report| {
                Action::from(ReportLease {
                    lease: *id,
                    epoch: lease.epoch,
                    report,
                })
            }));
        }
        if !lease.is_displaced() && draft.random.percent(50) {
            items.extend(evidence(draft, id, lease));
        }
    }
    actions.truncate(8);
    items.truncate(32);
    if !items.is_empty() {
        // Before the reports, so that an end in the same transaction cuts nothing off.
        actions.insert(0, SubmitEvidence { node, items }.into());
    }
    actions.extend(watch(draft, node));
    for ((owner, app, volume), row) in draft.state.volumes() {
        if row.node == node && row.standing == Standing::Dropped {
            let (owner, app, volume) = (*owner, *app, *volume);
            actions.push(ReportVolume { owner, app, volume }.into());
        }
    }
    if actions.is_empty() {
        return None;
    }
    let account = draft.people.operator_of(machine).account;
    Some(Wish {
        signer: machine,
        account,
        actions,
    })
}

/// What a machine says as a witness, and of itself where others have given it up. Some hear nothing of anybody.
fn watch(draft: &mut Draft<'_>, node: NodeId) -> Option<Action> {
    let is_gone = draft.state.node(&node)?.is_unreachable;
    if is_gone && draft.random.percent(50) {
        return Some(ReportBack { node }.into());
    }
    let witness = node;
    match draft.random.below(100) {
        0..=14 => {
            let watched = draft.state.active_leases_watched_by(&node).take(8);
            let named = |id| Some((id, draft.state.lease(&id)?.epoch));
            let leases: BTreeSet<_> = watched.filter_map(named).collect();
            (!leases.is_empty()).then(|| ReportDeaths { witness, leases }.into())
        }
        15..=21 => {
            let machines = draft.state.machines_watched_by(&node).into_iter();
            let machines: BTreeSet<_> = machines.take(2).collect();
            (!machines.is_empty()).then(|| ReportGone { witness, machines }.into())
        }
        _ => None,
    }
}

fn some_report(draw: u64, lease: &Lease) -> Option<Report> {
    let is_ready = matches!(lease.phase, Phase::Ready { .. });
    match draw {
        0..=60 if lease.ending.is_some() => Some(Report::Gone),
        0..=4 => Some(Report::Ended(EndCause::Exited { code: 1 })),
        5..=8 => Some(Report::Ended(EndCause::Exited { code: 0 })),
        9..=11 => Some(Report::Ended(EndCause::OutOfMemory)),
        12 => Some(Report::Ended(EndCause::OutOfStorage)),
        13..=14 => Some(Report::Ended(EndCause::ProbeFailed)),
        15..=20 => Some(Report::NotReady),
        _ if is_ready => None,
        _ => Some(Report::Ready),
    }
}

fn evidence(draft: &mut Draft<'_>, id: &LeaseId, lease: &Lease) -> Option<Item> {
    let from_ms = lease.meter.until_ms;
    let now_ms = draft.state.tip().time_ms;
    let latest_ms = lease.ended_ms().map_or(now_ms, |ended| ended.min(now_ms));
    let span_ms = latest_ms
        .checked_sub(from_ms)
        .filter(|span| *span > 0)?
        .min(EVIDENCE_SPAN_MS_MAX);
    let ready_ms = draft.random.between(0, span_ms);
    Some(Item {
        lease: *id,
        epoch: lease.epoch,
        from_ms,
        until_ms: from_ms + span_ms,
        ready_ms,
        usage: Usage {
            cpu_ms: draft.random.below(span_ms),
            ..Usage::default()
        },
    })
}
