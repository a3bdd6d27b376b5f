//! Who validates: elections, dismissals, and what no election does.

use allod_state::account::OpenAccount;
use allod_state::account::grant::{Grant, NodeSelector};
use allod_state::certificate::{VoteKind, proposal_bytes, vote_bytes};
use allod_state::node::RegisterNode;
use allod_state::validator::{Leave, ReportConflict, Said, Stand, Vote};
use allod_state::{BlockId, NodeId, Rejection};

use crate::world::{Person, World};

/// An operator with one machine.
struct Member {
    owner: Person,
    machine: Person,
    node: NodeId,
}

impl Member {
    fn stand(&self, world: &mut World) -> Result<(), Rejection> {
        let action = Stand { node: self.node };
        world.try_as(&self.owner, self.owner.account, vec![action.into()])
    }

    fn vote(&self, world: &mut World, node: NodeId, is_in: bool) -> Result<(), Rejection> {
        let action = Vote { node, is_in };
        world.try_as(&self.owner, self.owner.account, vec![action.into()])
    }

    fn leave(&self, world: &mut World) -> Result<(), Rejection> {
        let action = Leave { node: self.node };
        world.try_as(&self.owner, self.owner.account, vec![action.into()])
    }

    fn validates(&self, world: &World) -> bool {
        world.state.validators().power(&self.machine.key) > 0
    }
}

fn founder(world: &World) -> Member {
    Member {
        owner: world.owner.clone(),
        machine: world.machine.clone(),
        node: world.node,
    }
}

fn register(world: &mut World, owner: &Person, machine: Person) -> Member {
    let consent = RegisterNode::consent_bytes(&owner.account, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "attic".parse().unwrap(),
    };
    world
        .try_as(owner, owner.account, vec![register.into()])
        .unwrap();
    let node = NodeId::of_first_key(&machine.key);
    let owner = owner.clone();
    Member {
        owner,
        machine,
        node,
    }
}

fn newcomer(world: &mut World, seed: u8) -> Member {
    let owner = Person::new(seed);
    let key = owner.key;
    world.run(vec![OpenAccount { key }.into()]);
    register(world, &owner, Person::new(seed + 100))
}

/// The founder and so many others, all elected by all who had a vote.
fn network(others: u8) -> (World, Vec<Member>) {
    let mut world = World::new();
    let mut members = vec![founder(&world)];
    for seed in 10..10 + others {
        let member = newcomer(&mut world, seed);
        member.stand(&mut world).unwrap();
        let voters: Vec<&Member> = members.iter().filter(|it| it.validates(&world)).collect();
        for voter in voters {
            voter.vote(&mut world, member.node, true).unwrap();
        }
        members.push(member);
    }
    (world, members)
}

fn validating(world: &World, members: &[Member]) -> Vec<bool> {
    members
        .iter()
        .map(|member| member.validates(world))
        .collect()
}

#[test]
fn the_elected_wait_until_four_are_elected() {
    let (world, members) = network(2);
    assert_eq!(validating(&world, &members), [true, false, false]);
    assert_eq!(world.state.elected().count(), 3);
    let (world, members) = network(3);
    assert_eq!(validating(&world, &members), [true; 4]);
    let header = &world.last.as_ref().unwrap().block.header;
    assert_eq!(header.next_validators_hash, world.state.validators().hash());
    assert_ne!(header.validators_hash, header.next_validators_hash);
}

#[test]
fn nobody_validates_who_did_not_stand_or_was_not_elected_by_more_than_two_thirds() {
    let (mut world, members) = network(3);
    let fifth = newcomer(&mut world, 40);
    let node = fifth.node;
    assert_eq!(
        members[0].vote(&mut world, node, true),
        Err(Rejection::NotStanding { node })
    );
    fifth.stand(&mut world).unwrap();
    assert_eq!(
        fifth.vote(&mut world, node, true),
        Err(Rejection::NotAValidator)
    );
    for voter in &members[..2] {
        voter.vote(&mut world, node, true).unwrap();
        voter.vote(&mut world, node, true).unwrap();
        assert!(!fifth.validates(&world));
    }
    members[1].vote(&mut world, node, false).unwrap();
    members[2].vote(&mut world, node, true).unwrap();
    assert!(!fifth.validates(&world), "one took its vote back");
    members[1].vote(&mut world, node, true).unwrap();
    assert!(fifth.validates(&world));
}

#[test]
fn a_dead_validator_is_replaced() {
    let (mut world, members) = network(3);
    let fifth = newcomer(&mut world, 40);
    fifth.stand(&mut world).unwrap();
    for voter in &members[..3] {
        voter.vote(&mut world, fifth.node, true).unwrap();
    }
    let dead = members[3].node;
    for voter in [&members[0], &members[1], &members[2]] {
        voter.vote(&mut world, dead, false).unwrap();
        assert!(members[3].validates(&world), "three of five are no quorum");
    }
    fifth.vote(&mut world, dead, false).unwrap();
    assert!(!members[3].validates(&world));
    assert_eq!(world.state.validators().count(), 4);
    assert_eq!(world.state.seat(&dead), None);
}

#[test]
fn the_votes_of_those_who_left_do_not_count() {
    let (mut world, members) = network(4);
    let sixth = newcomer(&mut world, 40);
    sixth.stand(&mut world).unwrap();
    for voter in &members[..3] {
        voter.vote(&mut world, sixth.node, true).unwrap();
    }
    members[2].leave(&mut world).unwrap();
    assert!(!members[2].validates(&world));
    members[1].vote(&mut world, sixth.node, true).unwrap();
    assert!(
        !sixth.validates(&world),
        "two of four voters and one who left"
    );
    members[3].vote(&mut world, sixth.node, true).unwrap();
    assert!(sixth.validates(&world));
}

#[test]
fn no_election_gives_an_operator_a_third() {
    let (mut world, members) = network(3);
    let second = register(&mut world, &members[1].owner, Person::new(90));
    second.stand(&mut world).unwrap();
    for voter in &members[..2] {
        voter.vote(&mut world, second.node, true).unwrap();
    }
    let operator = members[1].owner.account;
    let refused = members[2].vote(&mut world, second.node, true);
    assert_eq!(refused, Err(Rejection::TooMuchPower { operator }));
    assert!(!second.validates(&world));
}

#[test]
fn before_there_are_four_nobody_collects_two_seats() {
    let (mut world, members) = network(1);
    let second = register(&mut world, &members[1].owner, Person::new(90));
    second.stand(&mut world).unwrap();
    let operator = members[1].owner.account;
    let refused = members[0].vote(&mut world, second.node, true);
    assert_eq!(refused, Err(Rejection::TooMuchPower { operator }));
}

#[test]
fn an_owner_of_everything_may_have_four_validators() {
    let mut world = World::new();
    let founder = founder(&world);
    let mut all = vec![];
    for seed in 70..73 {
        let owner = world.owner.clone();
        let member = register(&mut world, &owner, Person::new(seed));
        member.stand(&mut world).unwrap();
        founder.vote(&mut world, member.node, true).unwrap();
        all.push(member);
    }
    assert_eq!(validating(&world, &all), [true; 3]);
    founder.vote(&mut world, all[0].node, false).unwrap();
    assert_eq!(
        world.state.validators().count(),
        3,
        "one word of theirs is every vote"
    );
}

#[test]
fn whoever_leaves_is_out_and_the_last_stays() {
    let (mut world, members) = network(3);
    members[1].leave(&mut world).unwrap();
    members[2].leave(&mut world).unwrap();
    members[3].leave(&mut world).unwrap();
    assert_eq!(validating(&world, &members), [true, false, false, false]);
    assert_eq!(members[0].leave(&mut world), Err(Rejection::LastValidator));
    let node = members[1].node;
    assert_eq!(
        members[1].leave(&mut world),
        Err(Rejection::NotStanding { node })
    );
}

#[test]
fn the_founder_hands_over_to_whoever_waits() {
    let (mut world, members) = network(1);
    assert_eq!(validating(&world, &members), [true, false]);
    members[0].leave(&mut world).unwrap();
    assert_eq!(validating(&world, &members), [false, true]);
}

#[test]
fn a_key_votes_only_with_the_machines_that_it_covers() {
    let (mut world, members) = network(3);
    let limited = Person::new(95);
    let grant = Grant {
        nodes: NodeSelector::Only([NodeId([1; 32])].into()),
        ..Grant::full()
    };
    let key = limited.key;
    let add = allod_state::account::AddKey { key, grant };
    world.run(vec![add.into()]);
    let vote = Vote {
        node: members[1].node,
        is_in: false,
    };
    let account = world.owner.account;
    let refused = world.try_as(&limited, account, vec![vote.into()]);
    assert_eq!(refused, Err(Rejection::NotAValidator));
}

#[test]
fn elections_are_restored_from_their_rows() {
    let (mut world, members) = network(2);
    members[1].stand(&mut world).unwrap();
    world.wait(1);
    let header = &world.last.as_ref().unwrap().block.header;
    let mut rows = std::collections::BTreeMap::new();
    for (key, value) in &world.writes {
        match value {
            Some(value) => rows.insert(key.clone(), value.clone()),
            None => rows.remove(key),
        };
    }
    let again = allod_state::State::restore(header, rows).unwrap();
    assert_eq!(again.elected(), world.state.elected());
    assert_eq!(again.seats().count(), 2);
}

/// Two things that a machine signs for one round.
fn conflict(world: &World, by: &Member, of: &Member, one: Said, other: Said) -> ReportConflict {
    let (network, height, round) = (world.state.network(), 5, 2);
    let signed = |said: Said| {
        let bytes = match &said {
            Said::Vote(kind, block) => vote_bytes(&network, *kind, height, round, block.as_ref()),
            Said::Proposal(polka, block) => proposal_bytes(&network, height, round, *polka, block),
        };
        let signature = of.machine.sign(&bytes);
        (said, signature)
    };
    ReportConflict {
        node: by.node,
        validator: of.machine.key,
        height,
        round,
        one: signed(one),
        other: signed(other),
    }
}

fn shows(world: &mut World, by: &Member, report: ReportConflict) -> Result<(), Rejection> {
    world.try_as(&by.machine, by.owner.account, vec![report.into()])
}

const BLOCKS: [BlockId; 2] = [BlockId([1; 32]), BlockId([2; 32])];

#[test]
fn whoever_signs_two_things_that_conflict_decides_no_more_and_is_never_elected_again() {
    let [one, other] = BLOCKS;
    let vote = |block| Said::Vote(VoteKind::Precommit, block);
    let prevote = |block| Said::Vote(VoteKind::Prevote, block);
    for (said, besides) in [
        (vote(Some(one)), vote(Some(other))),
        (prevote(Some(one)), prevote(None)),
        (Said::Proposal(None, one), Said::Proposal(None, other)),
        (Said::Proposal(None, one), Said::Proposal(Some(1), one)),
    ] {
        let (mut world, members) = network(4);
        let false_one = &members[2];
        assert!(false_one.validates(&world));
        let report = conflict(&world, &members[1], false_one, said, besides);
        shows(&mut world, &members[1], report.clone()).unwrap();
        assert!(!false_one.validates(&world));
        assert_eq!(world.state.validators().count(), 4, "the others decide");
        let barred = Err(Rejection::ProvenFalse {
            node: false_one.node,
        });
        assert_eq!(false_one.stand(&mut world), barred);
        assert_eq!(false_one.leave(&mut world), barred, "its seat stays");
        for member in members
            .iter()
            .filter(|member| member.node != false_one.node)
        {
            assert_eq!(member.vote(&mut world, false_one.node, true), barred);
        }
        // Whoever shows it again changes nothing.
        let before = world.state.validators();
        shows(&mut world, &members[3], conflict_of(&report, &members[3])).unwrap();
        assert_eq!(world.state.validators(), before);
    }
}

fn conflict_of(report: &ReportConflict, by: &Member) -> ReportConflict {
    ReportConflict {
        node: by.node,
        ..report.clone()
    }
}

#[test]
fn nobody_is_barred_for_less_than_a_proof() {
    let [one, other] = BLOCKS;
    let vote = |block| Said::Vote(VoteKind::Precommit, Some(block));
    let (mut world, members) = network(4);
    let (by, of) = (&members[1], &members[2]);
    let refused = |outcome: Result<(), Rejection>| {
        assert!(
            matches!(outcome, Err(Rejection::BadField { .. })),
            "{outcome:?}"
        );
    };
    // The same twice, and two that may both be said.
    for (said, besides) in [
        (vote(one), vote(one)),
        (vote(one), Said::Vote(VoteKind::Prevote, Some(other))),
        (vote(one), Said::Proposal(None, other)),
    ] {
        let report = conflict(&world, by, of, said, besides);
        refused(shows(&mut world, by, report));
    }
    let good = conflict(&world, by, of, vote(one), vote(other));
    // Signed by somebody else, or for another round, height or network.
    let mut report = good.clone();
    report.other.1 = conflict(&world, by, by, vote(one), vote(other)).other.1;
    refused(shows(&mut world, by, report));
    for report in [
        ReportConflict {
            round: 3,
            ..good.clone()
        },
        ReportConflict {
            height: 6,
            ..good.clone()
        },
        ReportConflict {
            validator: by.machine.key,
            ..good.clone()
        },
    ] {
        refused(shows(&mut world, by, report));
    }
    assert!(of.validates(&world));
    // In another's name.
    let outcome = shows(&mut world, of, good.clone());
    assert_eq!(outcome, Err(Rejection::NotYourNode { node: by.node }));
    // The last one cannot go.
    let (mut alone, founder) = network(0);
    let report = conflict(&alone, &founder[0], &founder[0], vote(one), vote(other));
    let outcome = shows(&mut alone, &founder[0], report);
    assert_eq!(outcome, Err(Rejection::LastValidator));
    // And the good one is good.
    shows(&mut world, by, good).unwrap();
    assert!(!of.validates(&world));
}
