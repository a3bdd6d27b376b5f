//! Plans by name: a deployment that names one comes to that or to nothing.

use allod_state::app::Deploy;
use allod_state::node::{CordonNode, PublishOffer};
use allod_state::{PlanId, Rejection, rehearse};

use crate::pool::Pool;
use crate::world::web;

/// The plan of a deployment as things stand.
fn planned(pool: &Pool, deploy: &Deploy) -> PlanId {
    let account = pool.world.owner.account;
    let actions = [deploy.clone().into()];
    rehearse(&pool.world.state, &account, &actions)
        .plan
        .unwrap()
}

fn pinned(deploy: &Deploy, plan: PlanId) -> Deploy {
    Deploy {
        plan: Some(plan),
        ..deploy.clone()
    }
}

#[test]
fn a_deployment_comes_to_its_plan() {
    let mut pool = Pool::of_owners(4);
    let deploy = pool.world.deploy("a", &[("web", web(3))], 1);
    let plan = planned(&pool, &deploy);
    // Whether it names the plan changes nothing else.
    assert_eq!(planned(&pool, &pinned(&deploy, plan)), plan);
    pool.world.run(vec![pinned(&deploy, plan).into()]);
    assert_eq!(pool.world.active("a").len(), 3);
    // And its next revision.
    let next = pool.world.deploy("a", &[("web", web(4))], 2);
    let plan = planned(&pool, &next);
    pool.world.run(vec![pinned(&next, plan).into()]);
}

#[test]
fn where_it_would_come_to_something_else_it_is_refused_and_nothing_is_changed() {
    let mut pool = Pool::of_owners(4);
    let deploy = pool.world.deploy("a", &[("web", web(1))], 1);
    let plan = planned(&pool, &deploy);
    let refused = Err(Rejection::PlanChanged);
    let mut draft = pool.world.clone();
    draft.run(vec![deploy.clone().into()]);
    let (_, lease) = draft.active("a")[0].clone();

    // Its machine takes nothing new any more.
    let number = pool.number_of(lease.node);
    let mut cordoned = pool.world.clone();
    let cordon = CordonNode {
        node: lease.node,
        is_cordoned: true,
    };
    let (_, owner) = pool.machines[number].clone();
    cordoned
        .try_as(&owner, owner.account, vec![cordon.into()])
        .unwrap();
    assert_eq!(
        cordoned.try_run(vec![pinned(&deploy, plan).into()]),
        refused
    );
    assert!(
        cordoned
            .state
            .app_by_label(&cordoned.owner.account, &deploy.label)
            .is_none()
    );

    // It has become dearer there.
    let mut dearer = pool.world.clone();
    for (machine, owner) in &pool.machines {
        let node = allod_state::NodeId::of_first_key(&machine.key);
        let mut offer = dearer.state.node(&node).unwrap().offer.unwrap();
        let price = &mut offer.prices.cpu_core_hour;
        *price = price.plus(*price).unwrap();
        let offer = PublishOffer { node, offer };
        dearer
            .try_as(owner, owner.account, vec![offer.into()])
            .unwrap();
    }
    assert_eq!(dearer.try_run(vec![pinned(&deploy, plan).into()]), refused);

    // Something else is deployed than was planned.
    let other = pool.world.deploy("a", &[("web", web(1))], 2);
    assert_eq!(
        pool.world.try_run(vec![pinned(&other, plan).into()]),
        refused
    );
    let more = pool.world.deploy("a", &[("web", web(2))], 1);
    assert_eq!(
        pool.world.try_run(vec![pinned(&more, plan).into()]),
        refused
    );
    pool.world.run(vec![pinned(&deploy, plan).into()]);
}
