//! etcd 3.5: what was applied and how far had been applied were saved apart, so that a crash between the two made a
//! member apply changes twice, or never, and differ in silence from the others.
//!
//! Here the store and the log are on disk apart, too. The power fails at every change of the disk around the block at
//! which the store is put on disk and the log begun anew; after each, the machine has to be the very state that the
//! blocks give.

use crate::network::stage::{Found, Stage};

use super::Scenario;

/// The replicas of the simulator cut their log after so many blocks.
const CHECKPOINT: u64 = 64;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd-index",
    happened: "data and how far they had been applied were saved apart; after a crash members differed (etcd 3.5)",
    holds: "store and log fit together after a power cut at any change around a checkpoint",
    planted: Some("the store that comes back is older than the log"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(1);
    stage.pay_times(0, CHECKPOINT + 4)?;
    let (before, first_logs) = (stage.machine(0).disk().fork(), stage.logs(0));
    for changes in (0..120).step_by(2) {
        // What the store did not sync comes back from the log, and then the next block makes a checkpoint.
        stage.pay_times(0, 2)?;
        stage.kill(0);
        stage.start(0);
        stage.machine(0).disk().die_after(changes);
        // Its answer may never come.
        let _ = stage.pay(0, 1);
        stage.run_for(50);
        stage.kill(0);
        stage.start(0);
        stage.well()?;
    }
    if !stage.logs(0).is_disjoint(&first_logs) {
        return Err("the log was never begun anew".into());
    }
    if is_planted {
        stage.kill(0);
        stage.machine(0).put_disk(before);
        stage.start(0);
    }
    stage.pay_times(0, 2)?;
    stage.end()
}
