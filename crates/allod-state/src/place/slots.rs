//! Filling replica slots: what an action adds at once, and what waits for the block's last steps.

use std::collections::BTreeSet;

use crate::app::{App, Demand, Service, Slot, SlotKey, Waiting};
use crate::apply::Context;
use crate::event::Event;
use crate::evidence::Meter;
use crate::id::{AppId, Label, LeaseId, NodeId};
use crate::lease::{self, EndCause, Lease, Phase, witness};
use crate::limits::{
    EFFORT_PER_LEASE, EFFORT_PER_ROW, EFFORT_PER_SLOT, PLACE_RETRY_MAX_MS, PLACE_RETRY_MS,
    PLACEMENT_EFFORT_MAX, PLACEMENTS_PER_BLOCK_MAX,
};
use crate::place::means::{credit_left, over_budget, within_budget};
use crate::place::{Failing, Found, Wanted, WhyNot, find};
use crate::reject::Rejection;
use crate::volume::{Standing, Volume};

/// Places every replica of a new app, or refuses.
pub(crate) fn place_app_whole(context: &mut Context<'_>, id: &AppId) -> Result<(), Rejection> {
    let app = context
        .state
        .app(id)
        .ok_or(Rejection::UnknownApp { app: *id })?;
    for (label, service) in &app.services {
        add_slots(context, id, &app, label, service)?;
    }
    Ok(())
}

/// Makes an app's slots match its services: slots too many end, missing ones are placed at once or the action is
/// refused, and of each service one replica that is out of date is set due.
pub(crate) fn refill(context: &mut Context<'_>, id: &AppId) -> Result<(), Rejection> {
    let Some(app) = context.state.app(id) else {
        return Ok(());
    };
    let slots = context.state.slots_of(id);
    drop_slots(context, &app, slots);
    for (label, service) in &app.services {
        add_slots(context, id, &app, label, service)?;
        roll_one(context, id, &app, label, service)?;
    }
    Ok(())
}

/// Makes one service's slots match it, as [`refill`] does for all.
pub(crate) fn refill_service(
    context: &mut Context<'_>,
    id: &AppId,
    label: &Label,
) -> Result<(), Rejection> {
    let Some(app) = context.state.app(id) else {
        return Ok(());
    };
    let Some(service) = app.services.get(label) else {
        return Ok(());
    };
    let slots = context.state.slots_of_service(id, label);
    drop_slots(context, &app, slots);
    add_slots(context, id, &app, label, service)?;
    roll_one(context, id, &app, label, service)
}

/// Goes on replacing a service's replicas, one of which has just become ready. Where the next one fits nowhere, it waits:
/// the report that this one is ready is true all the same.
pub(crate) fn roll_on(context: &mut Context<'_>, id: &AppId, label: &Label) {
    let app = context.state.app(id);
    let service = app.as_ref().and_then(|app| app.services.get(label));
    if let Some((key, slot)) = service.and_then(|wanted| next_stale(context, id, label, wanted)) {
        set_due(context, key, slot);
    }
}

/// Looks at the slots that are due, within the block's bounds. Those that fitted nowhere the last time come after all
/// others, so that they delay nobody, however many they are; and a quarter of a block is theirs whatever the others are.
pub(crate) fn fill_due(context: &mut Context<'_>) {
    let (due, again) = context
        .state
        .due_slots(context.now_ms, PLACEMENTS_PER_BLOCK_MAX);
    let is_shared = !again.is_empty();
    let share = |whole: u64| whole.saturating_sub(if is_shared { whole / 4 } else { 0 });
    let mut looked_at = 0_u64;
    let before = context.effort();
    let most = u64::try_from(PLACEMENTS_PER_BLOCK_MAX).unwrap_or(u64::MAX);
    for (keys, looks_max, effort_max) in [
        (due, share(most), share(PLACEMENT_EFFORT_MAX)),
        (again, most, PLACEMENT_EFFORT_MAX),
    ] {
        for key in keys {
            let effort = context.effort().saturating_sub(before);
            if looked_at >= looks_max || effort > effort_max {
                break;
            }
            looked_at = looked_at.saturating_add(1);
            context.toil(EFFORT_PER_ROW);
            fill(context, &key);
        }
    }
}

/// Drops those of `slots` that their services want no more.
fn drop_slots(context: &mut Context<'_>, app: &App, slots: Vec<SlotKey>) {
    for key in slots {
        context.toil(EFFORT_PER_SLOT);
        let service = app.services.get(&key.1);
        if key.2 >= service.map_or(0, |service| service.replicas) {
            drop_slot(context, &key);
        }
    }
}

fn drop_slot(context: &mut Context<'_>, key: &SlotKey) {
    context.toil(EFFORT_PER_ROW);
    let slot = context.state.slot(key).unwrap_or_default();
    let leases = [slot.current, slot.successor].into_iter().flatten();
    for id in leases.clone() {
        lease::ask_to_end(context, &id, EndCause::ScaledDown);
    }
    let is_active = |id: LeaseId| context.state.lease_row(&id).is_some_and(Lease::is_active);
    if leases.clone().any(is_active) {
        // It goes with the lease that has to be ended first.
        return;
    }
    context.state.remove_slot(key);
    if let Some(app) = context.state.app(&key.0) {
        let epoch_floor = app.epoch_floor.max(slot.epoch);
        context.state.put_app(key.0, App { epoch_floor, ..app });
    }
}

fn add_slots(
    context: &mut Context<'_>,
    id: &AppId,
    app: &App,
    label: &Label,
    service: &Service,
) -> Result<(), Rejection> {
    let demand = demand_of(context, id, label, service)?;
    let floor = context.state.app(id).map_or(0, |app| app.epoch_floor);
    let epoch = floor.saturating_add(1);
    for replica in 0..service.replicas {
        let key = (*id, *label, replica);
        context.toil(EFFORT_PER_SLOT);
        if context.state.slot_row(&key).is_some() {
            continue;
        }
        context.check_effort()?;
        let mut effort = 0;
        let wanted = Wanted {
            slot: &key,
            epoch,
            app,
            revision: service.revision,
            demand: &demand,
            freed: None,
            // What is added is asked for as a whole, when it is there: see `Context::check_promised`.
            strangers_max: None,
        };
        let found = find(context.state, &wanted, &mut effort);
        context.toil(effort);
        let found = found.map_err(|why| Rejection::NoPlacement { why })?;
        let lease = open(context, &wanted, service, &found);
        let slot = Slot {
            epoch,
            current: Some(lease),
            ..Slot::default()
        };
        context.state.put_slot(key, slot);
    }
    Ok(())
}

/// Sets one out-of-date replica of the service due, if none is being replaced already. Refuses when its replacement
/// would fit nowhere.
fn roll_one(
    context: &mut Context<'_>,
    id: &AppId,
    app: &App,
    label: &Label,
    service: &Service,
) -> Result<(), Rejection> {
    let Some((key, slot)) = next_stale(context, id, label, service) else {
        return Ok(());
    };
    let asked = demand_of(context, id, label, service)?;
    let demand = within_budget(context, app, &key, &slot, asked.clone());
    let freed = freed_by(context, &slot, &demand);
    let strangers_max = Some(credit_left(context, app, &slot));
    let mut search = |demand: &Demand| {
        let wanted = Wanted {
            slot: &key,
            epoch: slot.epoch.saturating_add(1),
            app,
            revision: service.revision,
            demand,
            freed,
            strangers_max,
        };
        let mut effort = 0;
        let found = find(context.state, &wanted, &mut effort);
        context.toil(effort);
        found
    };
    if let Err(why) = search(&demand) {
        // Where it is the budget alone that refuses, that is the answer.
        let dearer = (demand != asked).then(|| search(&asked).ok()).flatten();
        let over = dearer.and_then(|found| over_budget(context, app, &key, &slot, &found));
        return Err(over.unwrap_or(Rejection::NoPlacement { why }));
    }
    set_due(context, key, slot);
    Ok(())
}

fn set_due(context: &mut Context<'_>, key: SlotKey, slot: Slot) {
    let slot = Slot {
        failures: 0,
        refused: 0,
        due_ms: Some(context.now_ms),
        ..slot
    };
    context.state.put_slot(key, slot);
}

/// The first replica of the service that is out of date, unless one is being replaced already.
fn next_stale(
    context: &mut Context<'_>,
    id: &AppId,
    label: &Label,
    service: &Service,
) -> Option<(SlotKey, Slot)> {
    if service.is_halted {
        return None;
    }
    let demand = context.state.demand_row(id, service.revision, label)?;
    let per_slot = EFFORT_PER_SLOT.saturating_add(demand.effort_per_node());
    context.toil(per_slot.saturating_mul(u64::from(service.replicas)));
    let slots = (0..service.replicas).filter_map(|replica| {
        let key = (*id, *label, replica);
        context.state.slot_row(&key).map(|slot| (key, slot))
    });
    let mut stale = None;
    for (key, slot) in slots {
        if slot.successor.is_some() {
            return None;
        }
        if stale.is_none() && is_stale(context, &key, slot, service) {
            stale = Some((key, slot.clone()));
        }
    }
    stale
}

/// Whether the slot should get a lease of the wanted revision and generation, which it does not have. A slot that waits
/// starts over at once when more is wanted than its last lease was; otherwise it keeps waiting, or has completed.
fn is_stale(context: &Context<'_>, key: &SlotKey, slot: &Slot, service: &Service) -> bool {
    let last = slot.current.unwrap_or_else(|| LeaseId::of(key, slot.epoch));
    let is_due = slot.due_ms.is_some_and(|due| due <= context.now_ms);
    let is_outdated = context.state.lease_row(&last).is_none_or(|lease| {
        let is_to_go = slot.current.is_some() && context.state.is_draining(&lease.node);
        is_to_go || lease.generation != service.generation || !runs_wanted(context, lease, service)
    });
    is_outdated && (slot.current.is_some() || !is_due)
}

/// Whether the lease runs what the service's revision asks for, be it an earlier revision that asked for the same.
fn runs_wanted(context: &Context<'_>, lease: &Lease, service: &Service) -> bool {
    let demand = |revision| {
        context
            .state
            .demand_row(&lease.app, revision, &lease.service)
    };
    lease.revision == service.revision
        || demand(lease.revision)
            .zip(demand(service.revision))
            .is_some_and(|(runs, wanted)| runs.runs_the_same_as(wanted))
}

fn freed_by(
    context: &Context<'_>,
    slot: &Slot,
    demand: &Demand,
) -> Option<(crate::id::NodeId, crate::node::Resources)> {
    if starts_first(context, slot, demand) {
        return None;
    }
    let lease = slot.current.and_then(|id| context.state.lease_row(&id))?;
    Some((lease.node, lease.footprint))
}

/// Whether the slot's next lease becomes ready beside the one before.
fn starts_first(context: &Context<'_>, slot: &Slot, demand: &Demand) -> bool {
    demand.starts_first() && !has_exclusive(context, slot)
}

/// Whether what the slot has tolerates nothing beside it.
fn has_exclusive(context: &Context<'_>, slot: &Slot) -> bool {
    let lease = slot.current.and_then(|id| context.state.lease_row(&id));
    lease.is_some_and(|lease| lease.is_exclusive)
}

fn demand_of(
    context: &Context<'_>,
    id: &AppId,
    label: &Label,
    service: &Service,
) -> Result<Demand, Rejection> {
    context
        .state
        .demand(id, service.revision, label)
        .ok_or(Rejection::UnknownService)
}

fn fill(context: &mut Context<'_>, key: &SlotKey) {
    let (id, label, replica) = *key;
    let Some(slot) = context.state.slot(key) else {
        return;
    };
    let app = context.state.app(&id);
    let service = app.as_ref().and_then(|app| app.services.get(&label));
    if replica >= service.map_or(0, |service| service.replicas) && slot.current.is_none() {
        // It has waited for its last lease to end.
        return drop_slot(context, key);
    }
    let wanted = app.and_then(|app| {
        let service = app
            .services
            .get(&label)
            .filter(|service| replica < service.replicas)?
            .clone();
        let demand = context.state.demand(&id, service.revision, &label)?;
        Some((app, service, demand))
    });
    let Some((app, service, demand)) = wanted else {
        return context.state.put_slot(
            *key,
            Slot {
                due_ms: None,
                ..slot
            },
        );
    };
    let is_settled = slot.successor.is_some()
        || slot.current.is_some()
            && (service.is_halted || !is_stale(context, key, &slot, &service));
    if is_settled {
        return context.state.put_slot(
            *key,
            Slot {
                due_ms: None,
                refused: 0,
                waiting: None,
                ..slot
            },
        );
    }
    let demand = within_budget(context, &app, key, &slot, demand);
    let epoch = slot.epoch.saturating_add(1);
    let freed = freed_by(context, &slot, &demand);
    let wanted = Wanted {
        slot: key,
        epoch,
        app: &app,
        revision: service.revision,
        demand: &demand,
        freed,
        strangers_max: Some(credit_left(context, &app, &slot)),
    };
    let mut effort = 0;
    let found = find(context.state, &wanted, &mut effort);
    context.toil(effort);
    match found {
        Ok(found) => take(context, &wanted, &service, &found),
        Err(why) => {
            let waiting = waiting(context, key, service.revision, &why);
            wait(context, key, slot, why, waiting);
        }
    }
}

/// What a replica that no machine can run waits for.
fn waiting(context: &mut Context<'_>, key: &SlotKey, revision: u64, why: &WhyNot) -> Waiting {
    let state = &context.state;
    let is_gone = |node: &NodeId| state.node_row(node).is_none_or(|node| node.is_unreachable);
    let rules = why.refusals.iter().flat_map(|refusal| &refusal.failing);
    let data_on = rules.filter_map(|failing| match failing {
        Failing::VolumeElsewhere { node } => Some(*node),
        _ => None,
    });
    if let Some(node) = data_on.into_iter().find(is_gone) {
        return Waiting::ForVolume { node };
    }
    let readers = state.readers_of(&key.0, revision);
    if !readers.is_empty() && readers.iter().all(is_gone) {
        return Waiting::NeedsOwner;
    }
    Waiting::NoPlacement(why.clone())
}

/// Opens the slot's next lease: beside the current one where the service starts first, in its stead otherwise. One that
/// somebody has to end first is asked to, and the next one is opened once that is done.
fn take(context: &mut Context<'_>, wanted: &Wanted<'_>, service: &Service, found: &Found) {
    let Some(slot) = context.state.slot(wanted.slot) else {
        return;
    };
    let is_exclusive = wanted.demand.is_exclusive() || has_exclusive(context, &slot);
    let starts_first = starts_first(context, &slot, wanted.demand);
    if let Some(current) = slot.current.filter(|_| is_exclusive) {
        lease::ask(context, &current, EndCause::Superseded);
        let slot = Slot {
            due_ms: Some(context.now_ms.saturating_add(PLACE_RETRY_MS)),
            // Until then it is nothing that others would have to wait for.
            refused: slot.refused.max(1),
            ..slot
        };
        return context.state.put_slot(*wanted.slot, slot);
    }
    if let Some(current) = slot.current.filter(|_| !starts_first) {
        lease::end(context, &current, EndCause::Superseded);
    }
    let lease = open(context, wanted, service, found);
    let slot = Slot {
        epoch: wanted.epoch,
        due_ms: None,
        refused: 0,
        waiting: None,
        ..slot
    };
    let slot = match slot.current.filter(|_| starts_first) {
        Some(_) => Slot {
            successor: Some(lease),
            ..slot
        },
        None => Slot {
            current: Some(lease),
            ..slot
        },
    };
    context.state.put_slot(*wanted.slot, slot);
}

fn wait(context: &mut Context<'_>, key: &SlotKey, slot: Slot, why: WhyNot, waiting: Waiting) {
    let rules = why.refusals.iter().map(|refusal| refusal.failing.len());
    context.toil(u64::try_from(rules.sum::<usize>()).unwrap_or(u64::MAX));
    let waiting = Some(waiting);
    if slot.current.is_none() && slot.waiting != waiting {
        let (app, service, replica) = *key;
        context.emit(Event::PlacementRefused {
            app,
            service,
            replica,
            why,
        });
    }
    let waiting = waiting.filter(|_| slot.current.is_none());
    let pause_ms = lease::doubled(PLACE_RETRY_MS, slot.refused, PLACE_RETRY_MAX_MS);
    context.state.put_slot(
        *key,
        Slot {
            due_ms: Some(context.now_ms.saturating_add(pause_ms)),
            refused: slot.refused.saturating_add(1),
            waiting,
            ..slot
        },
    );
}

fn open(
    context: &mut Context<'_>,
    wanted: &Wanted<'_>,
    service: &Service,
    found: &Found,
) -> LeaseId {
    let (app, label, replica) = *wanted.slot;
    let id = LeaseId::of(wanted.slot, wanted.epoch);
    context.toil(EFFORT_PER_LEASE);
    let witnesses = witness::choose(context, &found.node);
    let manifest = context.state.manifest_of(&app, service.revision);
    let operator = context.state.operator_of(&found.node);
    let lease = Lease {
        app,
        app_label: wanted.app.label,
        service: label,
        replica,
        epoch: wanted.epoch,
        revision: service.revision,
        generation: service.generation,
        manifest: manifest.unwrap_or(crate::id::Digest([0; 32])),
        node: found.node,
        payer: wanted.app.owner,
        payee: operator.unwrap_or(wanted.app.owner),
        price_per_hour: found.price_per_hour,
        footprint: wanted.demand.footprint(),
        volumes: wanted.demand.volumes.keys().copied().collect(),
        placed_ms: context.now_ms,
        phase: Phase::Placed,
        meter: Meter::starting_at(context.now_ms),
        witnesses,
        given_up_by: BTreeSet::new(),
        doubted_ms: None,
        is_exclusive: wanted.demand.is_exclusive(),
        ending: None,
    };
    context.state.put_lease(id, lease);
    hold_volumes(context, wanted, found);
    let (epoch, node) = (wanted.epoch, found.node);
    context.emit(Event::LeasePlaced {
        app,
        service: label,
        replica,
        lease: id,
        epoch,
        node,
    });
    id
}

fn hold_volumes(context: &mut Context<'_>, wanted: &Wanted<'_>, found: &Found) {
    for (label, bytes) in &wanted.demand.volumes {
        let key = (wanted.app.owner, wanted.app.label, *label);
        let before = context.state.volume(&key);
        let before = before.filter(|volume| volume.standing != Standing::Dropped);
        let created_ms = before.map_or(context.now_ms, |volume| volume.created_ms);
        let volume = Volume {
            node: found.node,
            bytes: *bytes,
            created_ms,
            standing: Standing::Used,
        };
        context.state.put_volume(key, volume);
    }
}
