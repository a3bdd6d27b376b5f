//! A pool of machines of several owners.

use std::collections::BTreeSet;

use allod_state::account::grant::Grant;
use allod_state::account::{AddKey, OpenAccount};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::lease::{Lease, Report, ReportLease};
use allod_state::limits::STANDSTILL_MS;
use allod_state::node::{Life, PublishOffer, RegisterNode, ReportGone};
use allod_state::{Action, LeaseId, NodeId, Rejection};

use crate::world::{Person, World, web};

/// A network of machines: the founder's, and one of each of some others, who are as many as `others`; all offer the same.
pub(crate) struct Pool {
    pub(crate) world: World,
    /// The machines' keys with their owners, the founder's first.
    pub(crate) machines: Vec<(Person, Person)>,
}

impl Pool {
    pub(crate) fn of_owners(others: u8) -> Self {
        let world = World::new();
        let machines = vec![(world.machine.clone(), world.owner.clone())];
        let mut pool = Self { world, machines };
        for number in 0..others {
            pool.join(number);
        }
        pool
    }

    /// Another owner joins with a machine.
    pub(crate) fn join(&mut self, number: u8) {
        let world = &mut self.world;
        let (owner, invite) = (Person::new(100 + number), Person::new(130 + number));
        let grant = Grant::of_invite(world.now_ms() + 60_000);
        let (key, founder) = (invite.key, world.owner.account);
        world.run(vec![AddKey { key, grant }.into()]);
        let key = owner.key;
        world
            .try_as(&invite, founder, vec![OpenAccount { key }.into()])
            .unwrap();
        let machine = Person::new(160 + number);
        list(world, &machine, &owner);
        self.machines.push((machine, owner));
    }

    pub(crate) fn node(&self, number: usize) -> NodeId {
        NodeId::of_first_key(&self.machines[number].0.key)
    }

    pub(crate) fn number_of(&self, node: NodeId) -> usize {
        let mut numbers = 0..self.machines.len();
        numbers.find(|number| self.node(*number) == node).unwrap()
    }

    /// A transaction of a machine's.
    pub(crate) fn says(
        &mut self,
        number: usize,
        action: impl Into<Action>,
    ) -> Result<(), Rejection> {
        let (machine, owner) = self.machines[number].clone();
        self.world
            .try_as(&machine, owner.account, vec![action.into()])
    }

    /// A witness gives leases up.
    pub(crate) fn gives_up(
        &mut self,
        number: usize,
        leases: &[(LeaseId, u64)],
    ) -> Result<(), Rejection> {
        let witness = self.node(number);
        let leases = leases.iter().copied().collect();
        self.says(number, ReportDeaths { witness, leases })
    }

    /// Whoever watches machines says that these lives of them are gone.
    pub(crate) fn misses(&mut self, number: usize, machines: &[Life]) -> Result<(), Rejection> {
        let witness = self.node(number);
        let machines = machines.iter().copied().collect();
        self.says(number, ReportGone { witness, machines })
    }

    /// The numbers of those that watch a machine.
    pub(crate) fn watchers(&self, node: NodeId) -> Vec<usize> {
        let watchers = self.world.state.watchers_of(&node).into_iter();
        watchers.map(|node| self.number_of(node)).collect()
    }

    /// Most of those that watch a machine say that it is gone.
    pub(crate) fn give_up(&mut self, node: NodeId) {
        let life = self.world.state.node(&node).unwrap().life;
        let watchers = self.watchers(node);
        for number in &watchers[..watchers.len() / 2 + 1] {
            self.misses(*number, &[(node, life)]).unwrap();
        }
    }

    /// A machine says that it is back.
    pub(crate) fn returns(&mut self, node: NodeId) {
        self.says(self.number_of(node), ReportBack { node })
            .unwrap();
    }

    pub(crate) fn is_gone(&self, node: NodeId) -> bool {
        self.world.state.node(&node).unwrap().is_unreachable
    }

    /// Time passes, and the ledger goes on.
    pub(crate) fn pass(&mut self, ms: u64) {
        for _ in 0..ms / STANDSTILL_MS {
            self.world.wait(STANDSTILL_MS);
        }
        if !ms.is_multiple_of(STANDSTILL_MS) {
            self.world.wait(ms % STANDSTILL_MS);
        }
    }

    /// Most witnesses of a lease, none of them on a machine of `gone`, give it up.
    pub(crate) fn lose_without(&mut self, id: LeaseId, lease: &Lease, gone: &BTreeSet<NodeId>) {
        let most = lease.witnesses.len() / 2 + 1;
        let witnesses = lease.witnesses.iter().filter(|node| !gone.contains(*node));
        let witnesses: Vec<usize> = witnesses
            .take(most)
            .map(|node| self.number_of(*node))
            .collect();
        for witness in witnesses {
            self.gives_up(witness, &[(id, lease.epoch)]).unwrap();
        }
    }

    /// Most witnesses of a lease give it up.
    pub(crate) fn lose(&mut self, id: LeaseId, lease: &Lease) {
        self.lose_without(id, lease, &BTreeSet::new());
    }

    /// An app with one replica, which is ready.
    pub(crate) fn app(&mut self, name: &str) -> (LeaseId, Lease) {
        let deploy = self.world.deploy(name, &[("web", web(1))], 1);
        self.world.run(vec![deploy.into()]);
        let (lease, row) = self.world.active(name)[0].clone();
        let (epoch, report) = (row.epoch, Report::Ready);
        let report = ReportLease {
            lease,
            epoch,
            report,
        };
        self.says(self.number_of(row.node), report).unwrap();
        (lease, row)
    }

    /// The numbers of a lease's witnesses.
    pub(crate) fn witnesses(&self, lease: &Lease) -> Vec<usize> {
        let witnesses = lease.witnesses.iter();
        witnesses.map(|node| self.number_of(*node)).collect()
    }
}

pub(crate) fn list(world: &mut World, machine: &Person, owner: &Person) {
    let consent = RegisterNode::consent_bytes(&owner.account, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "other".parse().unwrap(),
    };
    let node = NodeId::of_first_key(&machine.key);
    let offer = world.state.node(&world.node).unwrap().offer.unwrap();
    let offer = PublishOffer { node, offer };
    world
        .try_as(owner, owner.account, vec![register.into(), offer.into()])
        .unwrap();
}
