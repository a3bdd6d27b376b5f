//! Two services that stay together, of which the law has a successor each on this machine.

use std::sync::Arc;

use allod_state::Digest;
use allod_state::app::{
    Constraints, Demand, RestartPolicy, Revision, SealedManifest, Slot, Update,
};
use allod_state::node::{Isolation, Resources};

use super::*;
use crate::agent::{Scene, watched};
use crate::agent::{service_label, workload_of};
use crate::ledger::tests::restored;
use crate::manifest::tests::guestbook;

const LEFT: NodeId = NodeId([1; 32]);

/// Everything of the two as the ledger has it; nothing is known of the machine that they leave but that they are there.
struct Moving {
    scene: Scene,
    web: Lease,
    worker: Lease,
}

impl Moving {
    /// The first is asked by the world, and ready here; the other is not yet.
    async fn begin() -> Self {
        let mut scene = Scene::set().await;
        let web = watched();
        let mut worker = web.clone();
        worker.service = service_label(&worker.app_label, "worker");
        worker.is_exclusive = false;
        let mut manifest = guestbook();
        let mut service = manifest.services["web"].clone();
        (service.ports, service.ingress) = (vec![], vec![]);
        manifest.services.insert("worker".into(), service);
        let manifest = Some(Arc::new(manifest));
        for (number, lease) in [(7, &web), (8, &worker)] {
            let id = LeaseId([number; 32]);
            let of_lease = (id, lease.clone(), manifest.clone());
            scene.leases.insert(workload_of(&id, lease), of_lease);
        }
        scene.agent.watch_over(&scene.leases);
        scene.ready(7, true);
        Self { scene, web, worker }
    }

    /// Whether others are sent to the first, where both are as given on the machine that they leave.
    fn is_held(&mut self, phases: [Phase; 2]) -> bool {
        let state = self.state(phases);
        self.scene.agent.hold(&state, &self.scene.leases);
        let id = workload_of(&LeaseId([7; 32]), &self.web);
        self.scene.agent.entries[&id].local.is_held
    }

    fn state(&self, phases: [Phase; 2]) -> State {
        let mut rows = Vec::new();
        let mut row = |tag: u8, key: Vec<u8>, value: Vec<u8>| {
            rows.push(([vec![tag], key].concat(), value));
        };
        let lease_tag = State::lease_key(&LeaseId([0; 32]))[0];
        let services = [(1, 7, &self.web), (2, 8, &self.worker)];
        for ((there, here, lease), phase) in services.into_iter().zip(phases) {
            let left = Lease {
                node: LEFT,
                phase,
                ..lease.clone()
            };
            for (number, lease) in [(there, &left), (here, lease)] {
                let key = borsh::to_vec(&LeaseId([number; 32])).unwrap();
                row(lease_tag, key, borsh::to_vec(lease).unwrap());
            }
            let slot = Slot {
                epoch: 1,
                current: Some(LeaseId([there; 32])),
                successor: Some(LeaseId([here; 32])),
                ..Slot::default()
            };
            let key = borsh::to_vec(&lease.slot()).unwrap();
            row(lease_tag - 1, key, borsh::to_vec(&slot).unwrap());
        }
        let revision = Revision {
            services: services.map(|(_, _, it)| (it.service, together())).into(),
            manifest: SealedManifest {
                ciphertext: self.web.manifest,
                bytes: 1,
                wraps: vec![],
            },
            created_ms: 1,
            rolled_back_to: None,
        };
        let key = borsh::to_vec(&(self.web.app, self.web.revision)).unwrap();
        row(lease_tag - 2, key, borsh::to_vec(&revision).unwrap());
        restored(rows)
    }
}

fn together() -> Demand {
    Demand {
        replicas: 1,
        resources: Resources::default(),
        isolation: Isolation::Container,
        ports: vec![],
        volumes: [].into(),
        constraints: Constraints {
            is_together: true,
            ..Constraints::default()
        },
        update: Update::StartFirst,
        restart: RestartPolicy::Always,
        content: Digest([0; 32]),
    }
}

impl Scene {
    fn ready(&mut self, number: u8, is_ready: bool) {
        let mut entries = self.agent.entries.iter_mut();
        let found = entries.find(|(id, _)| id.lease == [number; 32]);
        found.unwrap().1.local.is_ready = is_ready;
    }
}

const READY: Phase = Phase::Ready { since_ms: 1 };

#[tokio::test]
async fn an_app_moves_as_one_whether_its_machine_is_drained_still_or_not() {
    let mut moving = Moving::begin().await;
    assert!(moving.is_held([READY, READY]), "the other is missing here");
    moving.scene.ready(8, true);
    assert!(!moving.is_held([READY, READY]), "both are here");
    moving.scene.node.stop().await;
}

#[tokio::test]
async fn what_is_broken_where_it_is_left_is_waited_for_by_nobody() {
    let mut moving = Moving::begin().await;
    assert!(!moving.is_held([READY, Phase::Placed]));
    moving.scene.node.stop().await;
}
