//! Wishes about apps and volumes.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::{
    Constraints, Delete, Demand, Deploy, Restart, RestartPolicy, Rollback, Scale, SealedManifest,
    Update,
};
use allod_state::node::{Isolation, Resources};
use allod_state::volume::DropVolume;
use allod_state::{AccountId, AppId, Digest, Label};

use crate::client::{Draft, Wish};

const APPS: &[&str] = &["blog", "shop", "wiki"];
const SERVICES: &[&str] = &["web", "db", "worker"];
const VOLUMES: &[&str] = &["data", "logs"];
const GIB: u64 = 1 << 30;

/// Whether several services of an app ask for the same volume. The law lets all of them write to it at once; this
/// becomes `true` with the law's correction.
const SERVICES_ASK_FOR_ONE_VOLUME: bool = true;

pub(super) fn deploy(draft: &mut Draft<'_>) -> Option<Wish> {
    let (_, account) = draft.founder();
    let signer = draft.signer_for(&account)?;
    let name = draft.random.pick(APPS)?;
    let label = Label::of(account.as_bytes(), name);
    let mut services = BTreeMap::new();
    for service in SERVICES {
        if services.is_empty() || draft.random.percent(40) {
            let service = Label::of(label.as_bytes(), service);
            let scope = if SERVICES_ASK_FOR_ONE_VOLUME {
                label
            } else {
                service
            };
            services.insert(service, demand(draft, &scope));
        }
    }
    let version = draft.random.bytes(4);
    let manifest = SealedManifest {
        ciphertext: Digest::of(&version),
        bytes: 1_000,
        wraps: Vec::new(),
    };
    let deploy = Deploy {
        label,
        services,
        manifest,
        plan: None,
    };
    Some(Wish {
        signer,
        account,
        actions: vec![deploy.into()],
    })
}

fn demand(draft: &mut Draft<'_>, scope: &Label) -> Demand {
    let random = &mut *draft.random;
    let mut volumes = BTreeMap::new();
    if random.percent(35) {
        for volume in VOLUMES {
            if random.percent(60) {
                let bytes = random.between(1, 4) * GIB;
                volumes.insert(Label::of(scope.as_bytes(), volume), bytes);
            }
        }
    }
    let update = match random.below(10) {
        0..=3 => Update::StartFirst,
        4..=7 => Update::StopFirst,
        _ => Update::Exclusive,
    };
    let replicas = if volumes.is_empty() && update != Update::Exclusive {
        random.between(0, 4)
    } else {
        random.between(0, 1)
    };
    let restarts = [
        RestartPolicy::Always,
        RestartPolicy::OnFailure,
        RestartPolicy::Never,
    ];
    let restart = *random.pick(&restarts).expect("the list is not empty");
    let replicas_per_node_max = random.percent(20).then_some(2);
    Demand {
        replicas: u32::try_from(replicas).expect("at most four"),
        resources: Resources {
            cpu_milli: random.between(1, 8) * 250,
            memory_bytes: random.between(1, 8) * (GIB / 4),
            storage_bytes: random.between(0, 2) * GIB,
        },
        isolation: if random.percent(95) {
            Isolation::Container
        } else {
            Isolation::Vm
        },
        ports: Vec::new(),
        volumes,
        constraints: Constraints {
            replicas_per_node_max,
            tags: BTreeSet::new(),
            ..Constraints::default()
        },
        update,
        restart,
        content: Digest::of(&[u8::try_from(random.between(0, 2)).expect("at most two")]),
    }
}

/// One of an account's apps, and someone who may sign for it.
fn some_app(draft: &mut Draft<'_>) -> Option<(usize, AccountId, AppId)> {
    let (_, account) = draft.founder();
    let apps: Vec<_> = draft.state.apps_of(&account).map(|(_, id)| id).collect();
    let app = *draft.random.pick(&apps)?;
    Some((draft.signer_for(&account)?, account, app))
}

fn some_service(draft: &mut Draft<'_>, app: &AppId) -> Option<Label> {
    let services = draft.state.app(app)?.services;
    let labels: Vec<Label> = services.into_keys().collect();
    draft.random.pick(&labels).copied()
}

pub(super) fn scale(draft: &mut Draft<'_>) -> Option<Wish> {
    let (signer, account, app) = some_app(draft)?;
    let service = some_service(draft, &app)?;
    let replicas = u32::try_from(draft.random.below(6)).ok()?;
    let scale = Scale {
        app,
        service,
        replicas,
    };
    Some(Wish {
        signer,
        account,
        actions: vec![scale.into()],
    })
}

pub(super) fn restart(draft: &mut Draft<'_>) -> Option<Wish> {
    let (signer, account, app) = some_app(draft)?;
    let service = if draft.random.percent(50) {
        some_service(draft, &app)
    } else {
        None
    };
    Some(Wish {
        signer,
        account,
        actions: vec![Restart { app, service }.into()],
    })
}

pub(super) fn rollback(draft: &mut Draft<'_>) -> Option<Wish> {
    let (signer, account, app) = some_app(draft)?;
    let to = draft.random.percent(30).then(|| draft.random.between(1, 4));
    Some(Wish {
        signer,
        account,
        actions: vec![Rollback { app, to }.into()],
    })
}

pub(super) fn delete(draft: &mut Draft<'_>) -> Option<Wish> {
    let (signer, account, app) = some_app(draft)?;
    let drops_volumes = draft.random.percent(40);
    let delete = Delete { app, drops_volumes };
    Some(Wish {
        signer,
        account,
        actions: vec![delete.into()],
    })
}

pub(super) fn drop_volume(draft: &mut Draft<'_>) -> Option<Wish> {
    let keys: Vec<_> = draft.state.volumes().map(|(key, _)| *key).collect();
    let (account, app, volume) = *draft.random.pick(&keys)?;
    let signer = draft.signer_for(&account)?;
    Some(Wish {
        signer,
        account,
        actions: vec![DropVolume { app, volume }.into()],
    })
}
