//! A holder and its witnesses, each with a clock of its own.

use super::*;
use crate::limits::{RIGHT_MS, SILENCE_MS};
use std::collections::BTreeMap;

const HOLDER: NodeId = NodeId([1; 32]);
const LOOK_MS: u64 = 250;

/// A machine's watch over one lease, and its clock.
struct Stage {
    watch: Watch,
    watched: BTreeMap<Watched, Holder>,
    now_ms: u64,
}

impl Stage {
    fn new() -> Self {
        Self::over(false)
    }

    fn exclusive() -> Self {
        Self::over(true)
    }

    fn over(is_exclusive: bool) -> Self {
        let now_ms = 1_000_000;
        let node = HOLDER;
        Self {
            watch: Watch::new(BTreeSet::new(), now_ms),
            watched: [(lease(1), Holder { node, is_exclusive })].into(),
            now_ms,
        }
    }

    fn look(&mut self, has_company: bool) -> BTreeSet<Watched> {
        self.watch.look(&self.watched, has_company, self.now_ms)
    }

    /// A sign of the holder's comes, which names these; what is acknowledged.
    fn beats(&mut self, named: &[Watched]) -> BTreeSet<Watched> {
        let named = named.iter().copied().collect();
        self.watch.hear(HOLDER, &named, &self.watched, self.now_ms)
    }

    /// Looks for so long; whether anything was given up meanwhile.
    fn waits(
        &mut self,
        time_ms: u64,
        has_company: bool,
        named: Option<&[Watched]>,
    ) -> BTreeSet<Watched> {
        let until_ms = self.now_ms + time_ms;
        let mut gone = BTreeSet::new();
        while self.now_ms < until_ms {
            self.now_ms += LOOK_MS;
            if let Some(named) = named {
                self.beats(named);
            }
            gone.extend(self.look(has_company));
        }
        gone
    }

    fn silent(&mut self, seconds: u64) -> BTreeSet<Watched> {
        self.waits(seconds * 1_000, true, None)
    }

    fn hears(&mut self, seconds: u64) -> BTreeSet<Watched> {
        self.waits(seconds * 1_000, true, Some(&[lease(1)]))
    }
}

const fn lease(number: u8) -> Watched {
    (LeaseId([number; 32]), 1)
}

#[test]
fn whoever_is_silent_for_five_seconds_is_given_up_once() {
    for mut stage in [Stage::new(), Stage::exclusive()] {
        assert_eq!(stage.hears(60), [].into());
        assert_eq!(stage.silent(4), [].into());
        assert_eq!(stage.silent(2), [lease(1)].into());
        assert_eq!(stage.silent(60), [].into(), "it was said already");
    }
}

#[test]
fn a_silence_of_three_seconds_moves_nothing_however_often() {
    for mut stage in [Stage::new(), Stage::exclusive()] {
        for _ in 0..20 {
            assert_eq!(stage.silent(3), [].into());
            assert_eq!(stage.hears(1), [].into());
        }
    }
}

#[test]
fn a_lease_that_is_new_has_its_time() {
    let mut stage = Stage::new();
    stage.hears(60);
    let node = NodeId([2; 32]);
    let is_exclusive = false;
    stage.watched = [(lease(2), Holder { node, is_exclusive })].into();
    // Of a machine that was never heard: the way from there may still have to be found.
    assert_eq!(stage.silent(11), [].into());
    assert_eq!(stage.silent(2), [lease(2)].into());
}

#[test]
fn whoever_has_no_company_gives_nobody_up_and_begins_anew_with_it() {
    let mut stage = Stage::new();
    stage.hears(10);
    assert_eq!(stage.waits(600_000, false, None), [].into());
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(1)].into());
}

#[test]
fn whoever_stood_still_itself_begins_anew() {
    let mut stage = Stage::new();
    stage.hears(10);
    stage.now_ms += 600_000;
    assert_eq!(stage.look(true), [].into());
    assert_eq!(stage.silent(4), [].into());
    assert_eq!(stage.silent(2), [lease(1)].into());
}

#[test]
fn what_the_ledger_did_not_take_is_said_again_later_each_time() {
    let mut stage = Stage::new();
    stage.beats(&[]);
    let gone = stage.silent(6);
    assert_eq!(gone, [lease(1)].into());
    let mut pauses = Vec::new();
    for _ in 0..5 {
        stage.watch.told(&gone, false, stage.now_ms);
        let began = stage.now_ms;
        while stage.waits(LOOK_MS, true, None).is_empty() {}
        pauses.push((stage.now_ms - began) / 1_000);
    }
    assert_eq!(pauses, [10, 15, 25, 45, 65], "five more than the patience");
    // It is back meanwhile.
    stage.watch.told(&gone, false, stage.now_ms);
    assert_eq!(stage.hears(120), [].into());
}

#[test]
fn an_exclusive_lease_that_was_given_up_is_never_acknowledged_again() {
    let mut stage = Stage::exclusive();
    assert_eq!(stage.beats(&[lease(1)]), [lease(1)].into());
    let gone = stage.silent(6);
    assert_eq!(gone, [lease(1)].into());
    assert_eq!(stage.beats(&[lease(1)]), [].into());
    // Nor where the ledger did not take it; and it is given up again though it is heard.
    stage.watch.told(&gone, false, stage.now_ms);
    assert_eq!(stage.beats(&[lease(1)]), [].into());
    assert_eq!(stage.hears(11), [lease(1)].into());
    // Nor in another life of this witness.
    let promised = stage.watch.promised().clone();
    stage.watch = Watch::new(promised, stage.now_ms);
    assert_eq!(stage.beats(&[lease(1)]), [].into());
    // The next epoch is another matter.
    stage.watch.forget(|_| true);
    assert!(stage.watch.promised().is_empty());
}

#[test]
fn silence_counts_from_what_was_acknowledged_and_not_from_what_was_heard() {
    let mut stage = Stage::exclusive();
    stage.hears(10);
    // It lives, and does not know of its lease.
    assert_eq!(stage.waits(4_000, true, Some(&[])), [].into());
    assert_eq!(stage.waits(2_000, true, Some(&[])), [lease(1)].into());
}

#[test]
fn nothing_is_acknowledged_that_somebody_else_holds_or_nobody_watches() {
    let mut stage = Stage::exclusive();
    assert_eq!(stage.beats(&[lease(2)]), [].into());
    let named = [lease(1)].into();
    let other = NodeId([9; 32]);
    let heard = stage
        .watch
        .hear(other, &named, &stage.watched, stage.now_ms);
    assert_eq!(heard, [].into());
}

const fn witness(number: u8) -> NodeId {
    NodeId([100 + number; 32])
}

/// A holder of one lease with so many witnesses.
fn holder(count: u8) -> (Rights, BTreeSet<Watched>, BTreeSet<NodeId>) {
    let witnesses = (0..count).map(witness).collect();
    (Rights::new(7), [lease(1)].into(), witnesses)
}

#[test]
fn the_right_counts_from_the_sending_of_what_most_have_acknowledged() {
    let (mut rights, held, witnesses) = holder(3);
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), None);
    rights.begin(1_000);
    let first = rights.beat(held.clone());
    rights.begin(2_000);
    let second = rights.beat(held.clone());
    rights.hear(witness(0), &second, &held);
    rights.hear(witness(0), &first, &held);
    assert_eq!(
        rights.confirmed_ms(&lease(1), &witnesses),
        None,
        "one of three"
    );
    rights.hear(witness(7), &second, &held);
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), None, "nobody's");
    rights.hear(witness(1), &first, &held);
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), Some(1_000));
    rights.hear(witness(1), &second, &held);
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), Some(2_000));
    let two = (0..2).map(witness).collect();
    assert_eq!(rights.confirmed_ms(&lease(1), &two), Some(2_000));
    let four = (0..4).map(witness).collect();
    assert_eq!(
        rights.confirmed_ms(&lease(1), &four),
        None,
        "half is not most"
    );
}

#[test]
fn an_acknowledgement_of_another_life_of_what_is_not_held_or_of_long_ago_is_nothing() {
    let (mut rights, held, witnesses) = holder(1);
    rights.begin(1_000);
    let before = Rights::new(8).beat(held.clone());
    rights.hear(
        witness(0),
        &Named {
            number: 1,
            ..before
        },
        &held,
    );
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), None);
    let said = rights.beat(held.clone());
    rights.hear(witness(0), &said, &[lease(2)].into());
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), None);
    for second in 2..=20 {
        rights.begin(second * 1_000);
    }
    rights.hear(witness(0), &said, &held);
    assert_eq!(
        rights.confirmed_ms(&lease(1), &witnesses),
        None,
        "it gives nothing"
    );
    rights.hear(witness(0), &rights.beat(held.clone()), &held);
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), Some(20_000));
    rights.keep(&[].into());
    assert_eq!(rights.confirmed_ms(&lease(1), &witnesses), None);
}

/// What the argument at the top rests on, in whole numbers: a ninth is what clocks may be wrong by.
#[test]
fn clocks_that_are_wrong_by_a_ninth_are_good_enough() {
    let (part, whole) = (1, 9);
    let holder = RIGHT_MS * whole / (whole - part);
    let witness = SILENCE_MS * whole / (whole + part);
    assert!(holder <= witness, "{holder} {witness}");
}

#[test]
fn a_word_is_one_of_that_machine_for_this_one_in_this_network() {
    use ed25519_zebra::SigningKey;
    let secret = SigningKey::from([5; 32]);
    let key = PublicKey::Ed25519(ed25519_zebra::VerificationKey::from(&secret).into());
    let (network, own) = (NetworkId([3; 32]), NodeId([4; 32]));
    let named = Rights::new(9).beat([lease(1), lease(2)].into());
    let sealed = |word: &Word| {
        word.clone().seal(&network, &own, |bytes| {
            Signature::Ed25519(secret.sign(bytes).to_bytes())
        })
    };
    let beat = Word::Beat(named.clone());
    let bytes = sealed(&beat);
    assert_eq!(Word::open(&bytes, &network, &own, &key), Ok(beat));
    let unsigned = Err(NoWord::Unsigned(BadSignature));
    assert_eq!(
        Word::open(&bytes, &NetworkId([4; 32]), &own, &key),
        unsigned
    );
    assert_eq!(
        Word::open(&bytes, &network, &NodeId([5; 32]), &key),
        unsigned
    );
    let other = SigningKey::from([6; 32]);
    let other = PublicKey::Ed25519(ed25519_zebra::VerificationKey::from(&other).into());
    assert_eq!(Word::open(&bytes, &network, &own, &other), unsigned);
    for byte in 0..bytes.len() {
        let mut lie = bytes.clone();
        lie[byte] ^= 1;
        assert!(Word::open(&lie, &network, &own, &key).is_err(), "{byte}");
        assert!(Word::open(&bytes[..byte], &network, &own, &key).is_err());
    }
    // The most that a machine holds fits, and no more is read.
    let many = |count: usize| {
        let leases = (0..count).map(|number| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            (LeaseId(id), u64::MAX)
        });
        let leases = leases.collect();
        sealed(&Word::Acknowledged(Named {
            leases,
            ..named.clone()
        }))
    };
    let most = many(crate::limits::BEAT_LEASES_MAX);
    assert!(Word::open(&most, &network, &own, &key).is_ok());
    let more = many(crate::limits::BEAT_LEASES_MAX + 4);
    let refused = Word::open(&more, &network, &own, &key);
    assert!(matches!(refused, Err(NoWord::Unreadable(_))));
}
