//! What several scenarios begin with: a machine with an offer, an app on it, and a lease that is ready.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::{Constraints, Demand, Deploy, RestartPolicy, SealedManifest, Update};
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{Lease, Report, ReportLease};
use allod_state::node::{Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources};
use allod_state::{Credits, Digest, Label, LeaseId};

use crate::network::stage::{Found, Stage};
use crate::person::MACHINES;

const GIB: u64 = 1 << 30;

/// The machine that runs the app; founder 0 operates it.
pub(super) const MACHINE: usize = MACHINES.start;
/// The founder that the app belongs to.
pub(super) const OWNER: usize = 1;

/// The app's one service.
pub(super) fn service() -> Label {
    Label::of(&[7; 32], "web")
}

/// An offer at so many micro-credits for an hour of a core.
pub(super) fn offer(core_hour_micro: i128) -> Option<Offer> {
    Some(Offer {
        capacity: Resources {
            cpu_milli: 16_000,
            memory_bytes: 32 * GIB,
            storage_bytes: 100 * GIB,
        },
        prices: Prices {
            cpu_core_hour: Credits::from_micro(core_hour_micro),
            memory_gib_hour: Credits::ZERO,
            storage_gib_hour: Credits::ZERO,
        },
        isolation: BTreeSet::from([Isolation::Container]),
        region: "here".parse().ok()?,
        tags: BTreeSet::new(),
    })
}

/// One core of one service, so many times.
pub(super) fn deploy(replicas: u32) -> Deploy {
    let demand = Demand {
        replicas,
        resources: Resources {
            cpu_milli: 1_000,
            memory_bytes: GIB,
            storage_bytes: 0,
        },
        isolation: Isolation::Container,
        ports: Vec::new(),
        volumes: BTreeMap::new(),
        constraints: Constraints::default(),
        update: Update::StopFirst,
        restart: RestartPolicy::Always,
        content: Digest::of(&[1]),
    };
    Deploy {
        label: Label::of(&[7; 32], "app"),
        services: BTreeMap::from([(service(), demand)]),
        manifest: SealedManifest {
            ciphertext: Digest::of(&[1]),
            bytes: 1_000,
            wraps: Vec::new(),
        },
        plan: None,
    }
}

/// Lists the machine with its offer.
pub(super) fn open(stage: &mut Stage, core_hour_micro: i128) -> Found {
    let operator = stage.account(0);
    let machine = stage.person(MACHINE);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&RegisterNode::consent_bytes(&operator, &[3; 32])),
        sealing_key: [3; 32],
        name: "machine".parse().map_err(|_| "no name")?,
    };
    let publish = PublishOffer {
        node: stage.node(MACHINE),
        offer: offer(core_hour_micro).ok_or("no offer")?,
    };
    stage.done(0, operator, vec![register.into(), publish.into()])
}

/// The machine, and the owner's app on it: its lease is ready.
pub(super) fn settle(stage: &mut Stage, core_hour_micro: i128) -> Result<LeaseId, String> {
    open(stage, core_hour_micro)?;
    let owner = stage.account(OWNER);
    stage.done(OWNER, owner, vec![deploy(1).into()])?;
    stage.wait("the app has a lease", 30_000, |stage| {
        active(stage).is_some()
    })?;
    let (id, lease) = active(stage).ok_or("the lease is gone")?;
    let ready = ReportLease {
        lease: id,
        epoch: lease.epoch,
        report: Report::Ready,
    };
    let operator = stage.account(0);
    stage.done(MACHINE, operator, vec![ready.into()])?;
    Ok(id)
}

/// The active lease, as the first validator knows it.
pub(super) fn active(stage: &Stage) -> Option<(LeaseId, Lease)> {
    let state = stage.state(0).ok()?;
    let mut leases = state.leases().filter(|(_, lease)| lease.is_active());
    leases.next().map(|(id, lease)| (*id, lease.clone()))
}

/// The machine's word that the lease was ready since it was last billed.
pub(super) fn evidence(stage: &Stage, id: LeaseId) -> Result<SubmitEvidence, String> {
    let state = stage.state(0)?;
    let lease = state.lease(&id).ok_or("the lease is unknown")?;
    let from_ms = lease.meter.until_ms;
    let until_ms = state.tip().time_ms.min(from_ms + 3_600_000);
    Ok(SubmitEvidence {
        node: stage.node(MACHINE),
        items: vec![Item {
            lease: id,
            epoch: lease.epoch,
            from_ms,
            until_ms,
            ready_ms: until_ms.saturating_sub(from_ms),
            usage: Usage::default(),
        }],
    })
}
