//! What a certificate must be to prove that a block was decided.

use allod_state::block::Header;
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};
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
