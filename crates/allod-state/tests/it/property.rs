//! What holds for any input: nothing panics, encodings are the only ones, failed transactions leave only their nonce
//! and fee, and credits are conserved whatever is done in whatever order.

use allod_state::block::{Block, Header};
use allod_state::certificate::Certificate;
use allod_state::credit::Transfer;
use allod_state::genesis::Genesis;
use allod_state::proof::Proof;
use allod_state::receipt::Receipt;
use allod_state::transaction::Body;
use allod_state::{Action, Credits, Rejection, State, Transaction, codec};
use borsh::{BorshDeserialize, BorshSerialize};
use proptest::prelude::*;

use crate::samples::one_of_each;
use crate::world::{Person, World, credits, web};

/// Bytes of one kind: what decodes must encode to the same bytes, and one more or one less byte is refused.
fn is_canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) {
    if let Ok(value) = codec::decode::<T>("value", usize::MAX, bytes) {
        assert_eq!(codec::encode(&value), bytes, "two encodings of one value");
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(codec::decode::<T>("value", usize::MAX, &longer).is_err());
        let shorter = bytes.split_last().map_or(&[][..], |(_, rest)| rest);
        let is_refused = codec::decode::<T>("value", usize::MAX, shorter).is_err();
        assert!(is_refused || bytes.is_empty());
    }
}

fn all_kinds(bytes: &[u8]) {
    is_canonical::<Transaction>(bytes);
    is_canonical::<Body>(bytes);
    is_canonical::<Action>(bytes);
    is_canonical::<Block>(bytes);
    is_canonical::<Header>(bytes);
    is_canonical::<Certificate>(bytes);
    is_canonical::<Receipt>(bytes);
    is_canonical::<Rejection>(bytes);
    is_canonical::<Proof>(bytes);
    is_canonical::<Genesis>(bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn any_bytes_are_read_canonically_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        all_kinds(&bytes);
    }

    /// Good bytes with a few changed: far more of these decode than of random ones.
    #[test]
    fn nearly_good_bytes_are_read_canonically_or_refused(
        kind in 0..16_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = codec::encode(&one_of_each()[kind]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        is_canonical::<Action>(&bytes);
    }
}

#[test]
fn maps_out_of_order_or_with_a_key_twice_are_refused() {
    type Map = std::collections::BTreeMap<u8, u8>;
    let good = codec::encode(&Map::from([(1, 0), (2, 0)]));
    is_canonical::<Map>(&good);
    for (first, second) in [(2, 1), (1, 1)] {
        let bad = [2, 0, 0, 0, first, 0, second, 0];
        assert!(codec::decode::<Map>("map", 100, &bad).is_err());
    }
}

/// An action that fits the world better or worse: real ids where a choice says so.
fn action(world: &World, kind: usize, choice: u64) -> Action {
    let mut action = one_of_each().swap_remove(kind % 16);
    let app = world.state.apps_of(&world.owner.account).next();
    let leases: Vec<_> = world.state.leases().collect();
    let at = usize::try_from(choice).unwrap() % leases.len().max(1);
    match &mut action {
        Action::Transfer(send) => {
            let micro = i128::from(choice) * i128::from(choice) * i128::from(choice) - 1_000;
            send.amount = Credits::from_micro(micro);
        }
        Action::Deploy(deploy) => {
            let names = ["shop", "blog"];
            let name = names[usize::try_from(choice % 2).unwrap()];
            let demand = web(u32::try_from(choice % 5).unwrap());
            *deploy = world.deploy(name, &[("web", demand)], 1);
        }
        Action::Scale(scale) => {
            if let Some((label, id)) = app {
                scale.app = id;
                scale.service = allod_state::Label::of(label.as_bytes(), "web");
                scale.replicas = u32::try_from(choice % 7).unwrap();
            }
        }
        Action::Restart(restart) => {
            restart.app = app.map_or(restart.app, |(_, id)| id);
            restart.service = None;
        }
        Action::Rollback(back) => {
            back.app = app.map_or(back.app, |(_, id)| id);
            back.to = choice.is_multiple_of(2).then_some(1);
        }
        Action::Delete(delete) => delete.app = app.map_or(delete.app, |(_, id)| id),
        Action::ReportLease(report) => {
            if let Some((id, lease)) = leases.get(at) {
                (report.lease, report.epoch) = (**id, lease.epoch);
            }
        }
        Action::SubmitEvidence(evidence) => {
            evidence.node = world.node;
            if let (Some((id, lease)), Some(item)) = (leases.get(at), evidence.items.first_mut()) {
                (item.lease, item.epoch) = (**id, lease.epoch);
                item.from_ms = lease.meter.until_ms;
                item.until_ms = item.from_ms.saturating_add(choice);
                item.ready_ms = choice / 2;
            }
        }
        _ => {}
    }
    action
}

/// What the owner's account and key are, apart from nonce and fee.
fn rest_of(state: &State, owner: &Person) -> (Vec<u8>, Vec<u8>) {
    let account = state.account(&owner.account);
    let mut key = state.key(&owner.account, &owner.key);
    if let Some(record) = &mut key {
        record.nonce = 0;
    }
    (codec::encode(&account), codec::encode(&key))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Any actions by the owner's full key and by the machine's key, in any order: blocks execute (the world checks
    /// after each that credits are conserved), and what fails leaves the state as an empty block would.
    #[test]
    fn any_actions_in_any_order_conserve_and_fail_clean(
        acts in prop::collection::vec((0..16_usize, 0..2_000_u64, any::<bool>()), 1..24),
    ) {
        let mut world = World::new();
        let (owner, machine) = (world.owner.clone(), world.machine.clone());
        for (kind, choice, by_machine) in acts {
            let action = action(&world, kind, choice);
            let signer = if by_machine { &machine } else { &owner };
            if world.state.key(&owner.account, &signer.key).is_none() {
                break;
            }
            let before = world.state.clone();
            let outcome = world.try_as(signer, owner.account, vec![action]);
            let last = world.last.as_ref().unwrap();
            if outcome.is_err() {
                prop_assert_eq!(rest_of(&before, &owner), rest_of(&world.state, &owner));
                prop_assert!(last.receipts[0].events.is_empty());
                // The nonce, and nothing else unless a step of the law itself was due.
                if last.events.is_empty() && before.next_due_ms().is_none() {
                    prop_assert_eq!(last.writes.len(), 1, "{:?}", outcome);
                }
            }
        }
    }
}

#[test]
fn a_failed_transaction_pays_its_fee_all_the_same() {
    let (owner, machine) = (Person::new(1), Person::new(2));
    let mut genesis = Genesis::of_one(owner.key, machine.key, 1_000_000, [9; 32]);
    genesis.fee_per_work = Credits::from_micro(3);
    let mut world = World::new();
    world.state = genesis.state().0;
    let to = owner.account;
    let (amount, memo) = (credits("1"), String::new());
    let itself = Transfer { to, amount, memo };
    assert!(world.try_run(vec![itself.into()]).is_err());
    let balance = world.state.account(&owner.account).unwrap().balance;
    assert_eq!(
        balance,
        Credits::from_micro(-30),
        "ten work units at three each"
    );
    let nonce = world.state.key(&owner.account, &owner.key).unwrap().nonce;
    assert_eq!(nonce, 1);
}
