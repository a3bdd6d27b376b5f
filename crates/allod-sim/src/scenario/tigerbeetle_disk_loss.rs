//! Jepsen, TigerBeetle 0.16.11: a replica that had lost its whole disk could not come back.
//!
//! Here one of four loses every file, and starts again from nothing with the key that it had. It takes all blocks from
//! the others, signs nothing that it may have signed otherwise before, and then votes like any other.

use allod_ledger::disk::MemoryDisk;

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tigerbeetle-disk-loss",
    happened: "there was no way back for a replica whose disk was lost (TigerBeetle 0.16.11, Jepsen)",
    holds: "a validator that lost every file takes all blocks from the others, and votes again later",
    planted: Some("two of four lose their disks, and the two others are not enough"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    stage.pay_times(0, 80)?;
    for at in [2, 3] {
        if at == 3 || is_planted {
            stage.replace_disk(at, MemoryDisk::default());
            stage.start(at);
        }
    }
    let target = stage.height(0);
    stage.wait("every block is there again", 60_000, |stage| {
        stage.height(3) >= target
    })?;
    if stage.replica(3).is_some_and(|replica| replica.is_voting()) {
        return Err("it votes though it cannot know what it signed".into());
    }
    stage.pay_times(0, 5)?;
    if !is_planted {
        stage.tell_of_loss(3)?;
    }
    stage.wait("it votes again", 60_000, |stage| {
        let replica = stage.replica(3);
        replica.is_some_and(|replica| replica.is_voting())
    })?;
    stage.kill(0);
    // The others cannot do without it now.
    stage.pay_times(1, 3)?;
    stage.start(0);
    stage.run_for(20_000);
    stage.end()
}
