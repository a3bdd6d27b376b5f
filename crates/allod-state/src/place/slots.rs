//! Filling replica slots: what an action adds at once, and what waits for the block's last steps.

use crate::app::{App, Demand, Service, Slot, SlotKey, Waiting};
use crate::apply::Context;
use crate::event::Event;
use crate::evidence::Meter;
use crate::id::{AppId, Label, LeaseId};
use crate::lease::{self, EndCause, Lease, Phase};
use crate::limits::{NODES_EXAMINED_PER_BLOCK_MAX, PLACE_RETRY_MS, PLACEMENTS_PER_BLOCK_MAX};
use crate::place::{Found, Wanted, WhyNot, find};
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
    for key in context.state.slots_of(id) {
        let wanted = app
            .services
            .get(&key.1)
            .map_or(0, |service| service.replicas);
        if key.2 >= wanted {
            drop_slot(context, &key);
        }
    }
    for (label, service) in &app.services {
        add_slots(context, id, &app, label, service)?;
        roll_one(context, id, &app, label, service)?;
    }
    Ok(())
}

/// Looks at the slots that are due, within the block's bounds.
pub(crate) fn fill_due(context: &mut Context<'_>) {
    let mut examined = 0;
    for key in context
        .state
        .due_slots(context.now_ms, PLACEMENTS_PER_BLOCK_MAX)
    {
        if examined > NODES_EXAMINED_PER_BLOCK_MAX {
            return;
        }
        fill(context, &key, &mut examined);
    }
}

fn drop_slot(context: &mut Context<'_>, key: &SlotKey) {
    let slot = context.state.slot(key).unwrap_or_default();
    for id in [slot.current, slot.successor].into_iter().flatten() {
        lease::end(context, &id, EndCause::ScaledDown);
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
        if context.state.slot(&key).is_some() {
            continue;
        }
        let mut examined = 0;
        let wanted = Wanted {
            slot: &key,
            epoch,
            app,
            demand: &demand,
            freed: None,
        };
        let found = find(context.state, &wanted, &mut examined)
            .map_err(|why| Rejection::NoPlacement { why })?;
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
    if service.is_halted {
        return Ok(());
    }
    let slots = (0..service.replicas).map(|replica| (*id, *label, replica));
    let slots: Vec<(SlotKey, Slot)> = slots
        .filter_map(|key| context.state.slot(&key).map(|slot| (key, slot)))
        .collect();
    if slots.iter().any(|(_, slot)| slot.successor.is_some()) {
        return Ok(());
    }
    let stale = slots
        .into_iter()
        .find(|(_, slot)| is_stale(context, slot, service));
    let Some((key, slot)) = stale else {
        return Ok(());
    };
    let demand = demand_of(context, id, label, service)?;
    let epoch = slot.epoch.saturating_add(1);
    let freed = freed_by(context, &slot, &demand);
    let wanted = Wanted {
        slot: &key,
        epoch,
        app,
        demand: &demand,
        freed,
    };
    find(context.state, &wanted, &mut 0).map_err(|why| Rejection::NoPlacement { why })?;
    context.state.put_slot(
        key,
        Slot {
            failures: 0,
            due_ms: Some(context.now_ms),
            ..slot
        },
    );
    Ok(())
}

/// Whether the slot should get a lease of the wanted revision and generation, which it does not have.
fn is_stale(context: &Context<'_>, slot: &Slot, service: &Service) -> bool {
    match slot.current.and_then(|id| context.state.lease(&id)) {
        Some(lease) => {
            lease.generation != service.generation || !runs_wanted(context, &lease, service)
        }
        // A slot that waits starts over under the new revision at once.
        None => slot.due_ms.is_none_or(|due| due > context.now_ms),
    }
}

/// Whether the lease runs what the service's revision asks for, be it an earlier revision that asked for the same.
fn runs_wanted(context: &Context<'_>, lease: &Lease, service: &Service) -> bool {
    let demand = |revision| context.state.demand(&lease.app, revision, &lease.service);
    lease.revision == service.revision
        || demand(lease.revision)
            .zip(demand(service.revision))
            .is_some_and(|(runs, wanted)| runs.runs_the_same_as(&wanted))
}

fn freed_by(
    context: &Context<'_>,
    slot: &Slot,
    demand: &Demand,
) -> Option<(crate::id::NodeId, crate::node::Resources)> {
    if demand.starts_first() {
        return None;
    }
    let lease = slot.current.and_then(|id| context.state.lease(&id))?;
    Some((lease.node, lease.footprint))
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

fn fill(context: &mut Context<'_>, key: &SlotKey, examined: &mut u64) {
    let (id, label, replica) = *key;
    let Some(slot) = context.state.slot(key) else {
        return;
    };
    let wanted = context.state.app(&id).and_then(|app| {
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
        || slot.current.is_some() && (service.is_halted || !is_stale(context, &slot, &service));
    if is_settled {
        return context.state.put_slot(
            *key,
            Slot {
                due_ms: None,
                waiting: None,
                ..slot
            },
        );
    }
    let epoch = slot.epoch.saturating_add(1);
    let freed = freed_by(context, &slot, &demand);
    let wanted = Wanted {
        slot: key,
        epoch,
        app: &app,
        demand: &demand,
        freed,
    };
    match find(context.state, &wanted, examined) {
        Ok(found) => take(context, &wanted, &service, &found),
        Err(why) => wait(context, key, slot, why),
    }
}

/// Opens the slot's next lease: beside the current one where the service starts first, in its stead otherwise.
fn take(context: &mut Context<'_>, wanted: &Wanted<'_>, service: &Service, found: &Found) {
    let Some(slot) = context.state.slot(wanted.slot) else {
        return;
    };
    let starts_first = wanted.demand.starts_first();
    if let Some(current) = slot.current.filter(|_| !starts_first) {
        lease::end(context, &current, EndCause::Superseded);
    }
    let lease = open(context, wanted, service, found);
    let slot = Slot {
        epoch: wanted.epoch,
        due_ms: None,
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

fn wait(context: &mut Context<'_>, key: &SlotKey, slot: Slot, why: WhyNot) {
    let waiting = Some(Waiting::NoPlacement(why.clone()));
    if slot.current.is_none() && slot.waiting != waiting {
        let (app, service, replica) = *key;
        context.emit(Event::PlacementRefused {
            app,
            service,
            replica,
            why,
        });
    }
    let waiting = if slot.current.is_none() {
        waiting
    } else {
        None
    };
    let due_ms = Some(context.now_ms.saturating_add(PLACE_RETRY_MS));
    context.state.put_slot(
        *key,
        Slot {
            due_ms,
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
    let manifest = context
        .state
        .revision(&(app, service.revision))
        .map(|r| r.manifest.ciphertext);
    let operator = context.state.node(&found.node).map(|node| node.operator);
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
        witnesses: [found.node].into(),
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
        let created_ms = context
            .state
            .volume(&key)
            .map_or(context.now_ms, |volume| volume.created_ms);
        let volume = Volume {
            node: found.node,
            bytes: *bytes,
            created_ms,
            standing: Standing::Used,
        };
        context.state.put_volume(key, volume);
    }
}
