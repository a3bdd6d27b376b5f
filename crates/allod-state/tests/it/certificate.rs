//! What a certificate must be to prove that a block was decided.

use allod_state::block::Header;
use allod_state::certificate::{Certificate, Handover, VoteKind, successors, vote_bytes};
use allod_state::validator::ValidatorSet;
use allod_state::{NetworkId, PublicKey, Signature};

use crate::world::{Person, World};

struct Decided {
    people: Vec<Person>,
    validators: ValidatorSet,
    header: Header,
}

impl Decided {
    fn new() -> Self {
        let mut world = World::new();
        world.wait(1);
        let people: Vec<Person> = (40..45).map(Person::new).collect();
        let validators = ValidatorSet::new(people[..4].iter().map(|one| (one.key, 1)));
        let mut header = world.last.unwrap().block.header;
        header.validators_hash = validators.hash();
        Self {
            people,
            validators,
            header,
        }
    }

    fn vote(&self, who: usize, kind: VoteKind, at: &NetworkId) -> (PublicKey, Signature) {
        let block = self.header.id();
        let bytes = vote_bytes(at, kind, self.header.height, 0, Some(&block));
        (self.people[who].key, self.people[who].sign(&bytes))
    }

    fn is_proved(&self, signatures: Vec<(PublicKey, Signature)>) -> bool {
        let certificate = Certificate {
            height: self.header.height,
            round: 0,
            block: self.header.id(),
            signatures,
        };
        let network = self.header.network;
        let verified = certificate.verify(&network, &self.validators, &self.header);
        verified.is_ok()
    }

    fn precommits(&self, who: &[usize]) -> Vec<(PublicKey, Signature)> {
        let network = self.header.network;
        let vote = |who: &usize| self.vote(*who, VoteKind::Precommit, &network);
        who.iter().map(vote).collect()
    }
}

#[test]
fn more_than_two_thirds_of_distinct_validators_decide() {
    let decided = Decided::new();
    assert!(decided.is_proved(decided.precommits(&[0, 1, 2])));
    assert!(decided.is_proved(decided.precommits(&[0, 1, 2, 3])));
    for too_few in [&[][..], &[0], &[0, 1], &[0, 0, 0], &[0, 1, 1], &[0, 1, 4]] {
        let votes = decided.precommits(too_few);
        assert!(!decided.is_proved(votes), "{too_few:?}");
    }
}

#[test]
fn votes_of_another_kind_or_network_decide_nothing() {
    let decided = Decided::new();
    let network = decided.header.network;
    let prevotes = (0..4).map(|who| decided.vote(who, VoteKind::Prevote, &network));
    assert!(!decided.is_proved(prevotes.collect()));
    let elsewhere = NetworkId([9; 32]);
    let foreign = (0..4).map(|who| decided.vote(who, VoteKind::Precommit, &elsewhere));
    assert!(!decided.is_proved(foreign.collect()));
}

/// A set of four, of people from this number on.
fn set_from(first: u8) -> (Vec<Person>, ValidatorSet) {
    let people: Vec<Person> = (first..first + 4).map(Person::new).collect();
    let set = ValidatorSet::new(people.iter().map(|one| (one.key, 1)));
    (people, set)
}

/// A handover at a height, decided by all of `before`.
fn handover(
    height: u64,
    before: &(Vec<Person>, ValidatorSet),
    next: &ValidatorSet,
) -> (NetworkId, Handover) {
    let mut world = World::new();
    world.wait(1);
    let mut header = world.last.unwrap().block.header;
    header.height = height;
    header.validators_hash = before.1.hash();
    header.next_validators_hash = next.hash();
    let (network, block) = (header.network, header.id());
    let vote = vote_bytes(&network, VoteKind::Precommit, height, 0, Some(&block));
    let mut people: Vec<&Person> = before.0.iter().collect();
    people.sort_by_key(|one| one.key);
    let signatures = people.iter().map(|one| (one.key, one.sign(&vote)));
    let certificate = Certificate {
        height,
        round: 0,
        block,
        signatures: signatures.collect(),
    };
    let next = next.clone();
    let handover = Handover {
        header,
        certificate,
        next,
    };
    (network, handover)
}

#[test]
fn validators_hand_over_one_set_after_the_other_and_nobody_steps_in() {
    let [one, two, three, four] = [10, 20, 30, 40].map(set_from);
    let (network, first) = handover(5, &one, &two.1);
    let (_, second) = handover(9, &two, &three.1);
    let follow = |handovers: &[Handover]| successors(&network, one.1.clone(), handovers);
    assert_eq!(follow(&[]), Ok(one.1.clone()));
    let both = [first.clone(), second.clone()];
    assert_eq!(follow(&both), Ok(three.1.clone()));
    let stranger = handover(9, &four, &three.1).1;
    let earlier = handover(5, &two, &three.1).1;
    let others = Handover {
        next: four.1,
        ..second.clone()
    };
    let skipped = second.clone();
    let mut unsigned = second;
    unsigned.certificate.signatures.truncate(2);
    for wrong in [stranger, earlier, others, unsigned] {
        assert!(follow(&[first.clone(), wrong]).is_err());
    }
    assert!(follow(&[skipped]).is_err());
    assert!(successors(&NetworkId([1; 32]), one.1.clone(), &both).is_err());
}
