//! Found by the simulator (seed 1796021759179 of seven validators, begun alone): machines that are elected, and do not
//! decide yet, lose their disks.
//!
//! They are shown every block and see none being decided. They waited for one that they had not been shown, which would
//! only come once they decide; those who were to be elected next waited for them.

use allod_ledger::disk::MemoryDisk;
use allod_ledger::replica::Replica;
use allod_state::validator::{Stand, Vote};

use crate::network::stage::{Found, Stage};
use crate::person::operator_of_validator;

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-before-deciding",
    happened: "two who are elected lose their disks before there are enough to decide (our simulator)",
    holds: "they are as good as new before they decide, so that four decide with one of them down",
    planted: Some("they do not tell of their loss"),
    play,
};

/// Lists a machine and elects it, as the one that decides alone.
fn elect(stage: &mut Stage, number: usize) -> Found {
    let node = stage.seat(number);
    let person = operator_of_validator(number);
    let listing = vec![stage.registration(number)?.into(), Stand { node }.into()];
    stage.done(person, stage.account(person), listing)?;
    let first = operator_of_validator(0);
    let vote = Vote { node, is_in: true };
    stage.done(first, stage.account(first), vec![vote.into()])
}

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(1);
    let first = operator_of_validator(0);
    let listing = vec![stage.registration(0)?.into()];
    stage.done(first, stage.account(first), listing)?;
    for number in [1, 2] {
        stage.add_machine(None);
        elect(&mut stage, number)?;
    }
    for at in [1, 2] {
        stage.replace_disk(at, MemoryDisk::default());
        stage.start(at);
    }
    let height = stage.height(0);
    stage.wait("they know every block again", 60_000, |stage| {
        [1, 2].iter().all(|at| stage.height(*at) >= height)
    })?;
    let is_whole = |stage: &Stage, at: usize| {
        let replica = stage.replica(at);
        replica.is_some_and(|replica| replica.quarantine().is_none())
    };
    if [1, 2].iter().any(|at| is_whole(&stage, *at)) {
        return Err("they do not know what they signed, and would sign".into());
    }
    if !is_planted {
        stage.tell_of_loss(1)?;
        stage.tell_of_loss(2)?;
    }
    stage.add_machine(None);
    elect(&mut stage, 3)?;
    // Four decide now; with one that is down, the three others have to.
    stage.kill(0);
    let is_voting = |stage: &Stage| {
        [1, 2, 3]
            .iter()
            .all(|at| stage.replica(*at).is_some_and(Replica::is_voting))
    };
    stage.wait("three of four vote", 60_000, is_voting)?;
    stage.pay_times(1, 3)?;
    stage.start(0);
    stage.run_for(20_000);
    stage.end()
}
