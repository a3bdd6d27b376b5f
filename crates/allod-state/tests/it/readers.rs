//! For whom an app is sealed once it runs: whoever can read it may add those whom the law names, and nobody else.

use std::collections::BTreeSet;

use allod_state::app::reader::{AddReaders, lacking, readers};
use allod_state::app::{Waiting, Wrap};
use allod_state::lease::Lease;
use allod_state::limits::{STANDBYS, WRAPS_PER_MANIFEST_MAX};
use allod_state::node::WithdrawOffer;
use allod_state::{AppId, Label, LeaseId, NodeId, Rejection};

use crate::pool::Pool;
use crate::world::web;

/// A pool in which an app runs on one machine, sealed as the law says.
struct Sealed {
    pool: Pool,
    id: AppId,
}

fn wrap(node: NodeId) -> Wrap {
    Wrap {
        holder: node.0,
        key: vec![1],
    }
}

impl Sealed {
    fn among(others: u8) -> Self {
        let mut pool = Pool::of_owners(others);
        // The founder's machine offers nothing: what runs here runs with others.
        let node = pool.node(0);
        pool.world.run(vec![WithdrawOffer { node }.into()]);
        let deploy = pool.world.deploy("a", &[("web", web(1))], 1);
        let mut draft = pool.world.clone();
        draft.run(vec![deploy.clone().into()]);
        let planned = draft
            .state
            .app_by_label(&draft.owner.account, &deploy.label);
        let mut deploy = deploy;
        let all = readers(&draft.state, &planned.unwrap());
        deploy.manifest.wraps = all.into_iter().map(wrap).collect();
        let owner = pool.world.owner.account.0;
        deploy.manifest.wraps.push(Wrap {
            holder: owner,
            key: vec![1],
        });
        let label = deploy.label;
        pool.world.run(vec![deploy.into()]);
        let id = pool
            .world
            .state
            .app_by_label(&pool.world.owner.account, &label);
        Self {
            pool,
            id: id.unwrap(),
        }
    }

    fn holders(&self) -> BTreeSet<[u8; 32]> {
        let row = self.pool.world.state.revision(&(self.id, 1)).unwrap();
        row.manifest.wraps.iter().map(|wrap| wrap.holder).collect()
    }

    /// The machines that can read it, without its owner's.
    fn machines(&self) -> BTreeSet<NodeId> {
        let own = self.pool.node(0);
        let nodes = self.holders().into_iter().map(NodeId);
        nodes
            .filter(|node| self.pool.world.state.node(node).is_some() && *node != own)
            .collect()
    }

    fn lacking(&self) -> BTreeSet<NodeId> {
        lacking(&self.pool.world.state, &self.id, 1, &mut 0)
    }

    fn lease(&self) -> Option<(LeaseId, Lease)> {
        self.pool.world.active("a").first().cloned()
    }

    fn adds(&mut self, by: NodeId, nodes: &[NodeId]) -> Result<(), Rejection> {
        let add = AddReaders {
            node: by,
            app: self.id,
            revision: 1,
            wraps: nodes.iter().copied().map(wrap).collect(),
        };
        self.pool.says(self.pool.number_of(by), add)
    }
}

#[test]
fn whoever_takes_over_names_another_standby_and_the_one_that_is_gone_reads_no_more() {
    let mut sealed = Sealed::among(6);
    assert_eq!(sealed.machines().len(), 1 + STANDBYS);
    assert_eq!(sealed.lacking(), BTreeSet::new(), "two stand by");
    let (first, was) = sealed.lease().unwrap();
    sealed.pool.lose(first, &was);
    sealed.pool.world.wait(1);
    let (_, row) = sealed.lease().expect("a standby has taken over");
    assert_ne!(row.node, was.node);
    let lacking: Vec<NodeId> = sealed.lacking().into_iter().collect();
    assert_eq!(lacking.len(), 1, "one of two stands by");
    sealed.adds(row.node, &lacking).unwrap();
    assert_eq!(sealed.lacking(), BTreeSet::new());
    let machines = sealed.machines();
    assert!(machines.contains(&lacking[0]) && machines.contains(&row.node));
    assert!(!machines.contains(&was.node), "it is gone");
    assert_eq!(machines.len(), 1 + STANDBYS);
    let owner = sealed.pool.world.owner.account.0;
    assert!(sealed.holders().contains(&owner), "its owner's wrap stays");
    let own = sealed.pool.node(0).0;
    assert!(
        sealed.holders().contains(&own),
        "and that of the owner's machine"
    );
    // Whoever comes second changes nothing.
    let standby = *machines.iter().find(|node| **node != row.node).unwrap();
    sealed.adds(standby, &lacking).unwrap();
    assert_eq!(sealed.machines(), machines);
}

#[test]
fn nobody_adds_whom_the_law_does_not_name_nor_without_reading_it() {
    let mut sealed = Sealed::among(6);
    let (first, was) = sealed.lease().unwrap();
    let machines = sealed.machines();
    let mut stranger = (1..7).map(|number| sealed.pool.node(number));
    let stranger = stranger.rfind(|node| !machines.contains(node)).unwrap();
    // Two stand by already.
    let outcome = sealed.adds(was.node, &[stranger]);
    assert_eq!(outcome, Err(Rejection::NotAReader { node: stranger }));
    sealed.pool.lose(first, &was);
    sealed.pool.world.wait(1);
    let (_, row) = sealed.lease().unwrap();
    let lacking: Vec<NodeId> = sealed.lacking().into_iter().collect();
    let mut outsider = (1..7).map(|number| sealed.pool.node(number));
    let outsider = outsider
        .rfind(|node| !sealed.machines().contains(node) && !lacking.contains(node))
        .unwrap();
    let outcome = sealed.adds(outsider, &lacking);
    assert_eq!(outcome, Err(Rejection::NotAReader { node: outsider }));
    let outcome = sealed.adds(row.node, &[lacking[0], outsider]);
    assert_eq!(outcome, Err(Rejection::NotAReader { node: outsider }));
    assert_eq!(sealed.lacking().len(), 1, "nothing was applied by half");
    let many = vec![lacking[0]; WRAPS_PER_MANIFEST_MAX + 1];
    let outcome = sealed.adds(row.node, &many);
    assert!(matches!(outcome, Err(Rejection::TooMany { .. })));
    let outcome = sealed.adds(row.node, &[]);
    assert!(matches!(outcome, Err(Rejection::TooMany { .. })));
    // In the name of another's machine.
    let add = AddReaders {
        node: row.node,
        app: sealed.id,
        revision: 1,
        wraps: vec![wrap(lacking[0])],
    };
    let number = sealed.pool.number_of(outsider);
    let outcome = sealed.pool.says(number, add);
    assert_eq!(outcome, Err(Rejection::NotYourNode { node: row.node }));
}

#[test]
fn an_app_outlives_all_its_first_readers_one_after_the_other() {
    let mut sealed = Sealed::among(8);
    let first = sealed.machines();
    let mut been = BTreeSet::new();
    for _ in 0..5 {
        let (id, row) = sealed.lease().expect("it runs");
        assert!(been.insert(row.node), "on another machine each time");
        sealed.pool.lose_without(id, &row, &been);
        sealed.pool.world.wait(1);
        let (_, row) = sealed.lease().expect("another one has taken over");
        let lacking: Vec<NodeId> = sealed.lacking().into_iter().collect();
        if !lacking.is_empty() {
            sealed.adds(row.node, &lacking).unwrap();
        }
    }
    assert!(been.len() > first.len(), "further than its first readers");
}

#[test]
fn an_app_whose_readers_are_all_gone_needs_its_owner_and_says_so() {
    let mut sealed = Sealed::among(6);
    // Its owner's machine is not for this: the app is sealed again without it.
    let deploy = sealed.pool.world.deploy("b", &[("web", web(1))], 1);
    let runner = sealed.pool.node(3);
    let mut deploy = deploy;
    deploy.manifest.wraps = vec![wrap(runner)];
    sealed.pool.world.run(vec![deploy.into()]);
    let (id, row) = sealed.pool.world.active("b")[0].clone();
    assert_eq!(row.node, runner);
    sealed.pool.lose(id, &row);
    sealed.pool.world.wait(1);
    let slot = sealed.pool.world.state.slot(&row.slot()).unwrap();
    assert_eq!(slot.current, None);
    assert_eq!(slot.waiting, Some(Waiting::NeedsOwner));
}

#[test]
fn whoever_keeps_the_data_stays_a_reader_while_it_is_gone() {
    let mut pool = Pool::of_owners(6);
    let mut data = web(1);
    data.volumes = [(Label([1; 32]), 1)].into();
    let mut deploy = pool.world.deploy("a", &[("db", data), ("web", web(1))], 1);
    let label = deploy.label;
    let all = (1..4).map(|number| wrap(pool.node(number)));
    deploy.manifest.wraps = all.collect();
    pool.world.run(vec![deploy.into()]);
    let id = pool
        .world
        .state
        .app_by_label(&pool.world.owner.account, &label);
    let mut sealed = Sealed {
        pool,
        id: id.unwrap(),
    };
    let leases = sealed.pool.world.active("a");
    let (_, keeper) = leases
        .iter()
        .find(|(_, lease)| !lease.volumes.is_empty())
        .unwrap();
    let node = keeper.node;
    for (lease, row) in leases.iter().filter(|(_, lease)| lease.node == node) {
        sealed.pool.lose(*lease, row);
    }
    sealed.pool.world.wait(1);
    let (_, row) = sealed.lease().expect("what has no data goes on");
    let lacking: Vec<NodeId> = sealed.lacking().into_iter().collect();
    assert!(!lacking.is_empty() && !lacking.contains(&node));
    sealed.adds(row.node, &lacking).unwrap();
    assert!(sealed.machines().contains(&node), "its data are there");
}
