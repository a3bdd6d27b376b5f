//! What is somebody else's, what was not agreed to, and what comes at the wrong time: each is refused by its own name.

use std::collections::BTreeSet;

use allod_state::account::grant::{AppSelector, Grant, Verb};
use allod_state::account::{AddKey, RevokeKey};
use allod_state::app::{Delete, Scale};
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::limits::LEASE_RETENTION_MS;
use allod_state::money::Credits;
use allod_state::node::{CordonNode, RegisterNode};
use allod_state::{Action, InvalidBlock, Label, Rejection};

use crate::world::{Person, World, credits, web};

fn send(to: &Person, amount: &str) -> Transfer {
    Transfer {
        to: to.account,
        amount: credits(amount),
        memo: String::new(),
    }
}

/// A network with one app and somebody with credits of their own.
fn with_neighbour() -> (World, Person) {
    let mut world = World::new();
    let neighbour = Person::new(7);
    let gift = send(&neighbour, "100");
    world.run(vec![
        gift.into(),
        world.deploy("shop", &[("web", web(2))], 1).into(),
    ]);
    (world, neighbour)
}

#[test]
fn nobody_acts_on_what_is_somebody_elses() {
    let (mut world, neighbour) = with_neighbour();
    let (app, node, (lease, row)) = (
        world.app("shop"),
        world.node,
        world.active("shop")[0].clone(),
    );
    let service = Label::of(world.app_label("shop").as_bytes(), "web");
    let replicas = 5;
    let drops_volumes = true;
    let report = Report::Ended(EndCause::ProbeFailed);
    let epoch = row.epoch;
    let is_cordoned = true;
    let (from_ms, until_ms) = (row.meter.until_ms, row.meter.until_ms + 1);
    let usage = Usage::default();
    let ready_ms = 1;
    let item = Item {
        lease,
        epoch,
        from_ms,
        until_ms,
        ready_ms,
        usage,
    };
    let items = vec![item];
    let acts: [Action; 5] = [
        Scale {
            app,
            service,
            replicas,
        }
        .into(),
        Delete { app, drops_volumes }.into(),
        ReportLease {
            lease,
            epoch,
            report,
        }
        .into(),
        SubmitEvidence { node, items }.into(),
        CordonNode { node, is_cordoned }.into(),
    ];
    for act in acts {
        let name = act.name();
        let refused = world.try_as(&neighbour, neighbour.account, vec![act]);
        let is_right = matches!(
            refused,
            Err(Rejection::NotYourApp { .. } | Rejection::NotYourNode { .. })
        );
        assert!(is_right, "{name}: {refused:?}");
    }
}

#[test]
fn a_key_for_one_app_scales_no_other() {
    let mut world = World::new();
    world.run(vec![
        world.deploy("shop", &[("web", web(1))], 1).into(),
        world.deploy("bank", &[("web", web(1))], 1).into(),
    ]);
    let (owner, agent) = (world.owner.account, Person::new(9));
    let grant = Grant {
        verbs: BTreeSet::from([Verb::Scale, Verb::Delete]),
        apps: AppSelector::Only(BTreeSet::from([world.app_label("shop")])),
        ..Grant::full()
    };
    let key = agent.key;
    world.run(vec![AddKey { key, grant }.into()]);
    let scale = |world: &World, name| Scale {
        app: world.app(name),
        service: Label::of(world.app_label(name).as_bytes(), "web"),
        replicas: 2,
    };
    let (shop, bank) = (scale(&world, "shop"), scale(&world, "bank"));
    world.try_as(&agent, owner, vec![shop.into()]).unwrap();
    let refused = world.try_as(&agent, owner, vec![bank.into()]);
    assert_eq!(refused, Err(Rejection::ResourceNotGranted));
}

#[test]
fn a_revoked_key_does_nothing() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.account, Person::new(9));
    let (key, grant) = (agent.key, Grant::full());
    world.run(vec![AddKey { key, grant }.into()]);
    world.run(vec![RevokeKey { key }.into()]);
    let late = world.signed(&agent, owner, vec![send(&agent, "1").into()]);
    let refused = world.block(vec![late], 1);
    let Err(InvalidBlock::Inadmissible { rejection, .. }) = refused else {
        panic!("the key was revoked: {refused:?}");
    };
    assert_eq!(rejection, Rejection::UnknownKey);
}

#[test]
fn a_nonce_ahead_of_its_turn_enters_no_block() {
    let mut world = World::new();
    let owner = world.owner.clone();
    let mut early = world.signed(
        &owner,
        owner.account,
        vec![send(&Person::new(7), "1").into()],
    );
    early.body.nonce += 1;
    early.signature = owner.sign(&early.body.sign_bytes());
    let refused = world.block(vec![early], 1);
    let Err(InvalidBlock::Inadmissible { rejection, .. }) = refused else {
        panic!("a gap in the nonces: {refused:?}");
    };
    assert!(matches!(rejection, Rejection::WrongNonce { .. }));
}

#[test]
fn nobody_lists_a_machine_that_did_not_agree() {
    let (mut world, neighbour) = with_neighbour();
    let machine = Person::new(12);
    let consent = RegisterNode::consent_bytes(&world.owner.account, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "taken".parse().unwrap(),
    };
    let refused = world.try_as(&neighbour, neighbour.account, vec![register.into()]);
    assert!(
        matches!(refused, Err(Rejection::BadField { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_report_for_another_epoch_is_refused() {
    let (mut world, _) = with_neighbour();
    let (lease, row) = world.active("shop")[0].clone();
    for epoch in [row.epoch - 1, row.epoch + 1] {
        let report = Report::Ended(EndCause::ProbeFailed);
        let refused = world.report(ReportLease {
            lease,
            epoch,
            report,
        });
        assert_eq!(refused, Err(Rejection::StaleLease { lease }));
    }
}

#[test]
fn an_ended_lease_stays_for_its_bill_and_no_longer() {
    let (mut world, _) = with_neighbour();
    let (lease, _) = world.active("shop")[0];
    world.report_lease(lease, Report::Ended(EndCause::ProbeFailed));
    world.wait(LEASE_RETENTION_MS - 1_000);
    assert!(world.state.lease(&lease).is_some());
    world.wait(2_000);
    assert!(world.state.lease(&lease).is_none());
}

#[test]
fn sums_that_leave_the_range_are_refused() {
    let most = Credits::from_micro(i128::MAX);
    let one = Credits::from_micro(1);
    assert!(most.plus(one).is_err());
    assert!(Credits::from_micro(i128::MIN).minus(one).is_err());
    assert!(most.mul_div_floor(2, 2).is_err(), "multiplied first");
    assert!(one.mul_div_floor(1, 0).is_err());
}
