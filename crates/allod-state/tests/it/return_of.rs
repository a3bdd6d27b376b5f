//! What comes back after it was gone: a slot, a key, a volume's writer. Nothing of the first life may fit the second.

use std::collections::BTreeMap;

use allod_state::account::grant::Grant;
use allod_state::account::{AddKey, RevokeKey};
use allod_state::app::Scale;
use allod_state::credit::Transfer;
use allod_state::{InvalidBlock, Label, Rejection};

use crate::world::{GIB, Person, World, credits, web};

#[test]
fn a_slot_that_comes_back_goes_on_above_its_epoch() {
    let mut world = World::new();
    world.run(vec![world.deploy("shop", &[("web", web(2))], 1).into()]);
    let (first, _) = world.active("shop")[1];
    let app = world.app("shop");
    let service = Label::of(world.app_label("shop").as_bytes(), "web");
    for replicas in [1, 2] {
        let scale = Scale {
            app,
            service,
            replicas,
        };
        world.run(vec![scale.into()]);
    }
    let (second, lease) = world.active("shop")[1].clone();
    assert_eq!(lease.epoch, 2);
    assert_ne!(first, second);
    assert!(
        world.state.lease(&first).is_some(),
        "its bill is still open"
    );
}

#[test]
fn a_key_that_comes_back_replays_nothing() {
    let mut world = World::new();
    let (owner, agent) = (world.owner.clone(), Person::new(9));
    let add = AddKey {
        key: agent.key,
        grant: Grant::full(),
    };
    let send = Transfer {
        to: Person::new(7).account,
        amount: credits("1"),
        memo: String::new(),
    };
    world.run(vec![add.clone().into()]);
    let sent = world.signed(&agent, owner.account, vec![send.into()]);
    world.block(vec![sent.clone()], 1).unwrap();
    world.run(vec![RevokeKey { key: agent.key }.into()]);
    world.run(vec![add.into()]);
    let again = world.block(vec![sent], 1);
    let Err(InvalidBlock::Inadmissible { rejection, .. }) = again else {
        panic!("the transfer was paid twice: {again:?}");
    };
    assert!(matches!(rejection, Rejection::WrongNonce { .. }));
}

#[test]
fn two_services_never_write_to_one_volume() {
    let mut world = World::new();
    let data = Label::of(world.app_label("shop").as_bytes(), "data");
    let mut writer = web(1);
    writer.volumes = BTreeMap::from([(data, GIB)]);
    let both = [("web", writer.clone()), ("db", writer.clone())];
    let refused = world.try_run(vec![world.deploy("shop", &both, 1).into()]);
    assert!(matches!(refused, Err(Rejection::NoPlacement { .. })));
    let one = [("web", writer.clone()), ("db", web(1))];
    world.run(vec![world.deploy("shop", &one, 1).into()]);
    // A new revision that gives the volume to another service while the first still writes to it.
    let other = [("web", web(1)), ("other", writer)];
    let refused = world.try_run(vec![world.deploy("shop", &other, 2).into()]);
    assert!(matches!(refused, Err(Rejection::NoPlacement { .. })));
}
