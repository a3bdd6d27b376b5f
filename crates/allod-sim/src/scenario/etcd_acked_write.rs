//! etcd #14370: a network of one answered a write before it was on disk, and lost it in a crash.
//!
//! Here the power of a network of one fails after the first, the second, the third … change of its disk while payments
//! are under way. Whatever was answered is there afterwards.

use crate::network::stage::{Found, Stage};

use super::Scenario;

/// How many changes a payment makes at most, with room to spare.
const CHANGES: u64 = 60;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd-acked-write",
    happened: "a single node answered a write before it was on disk, and lost it (etcd #14370)",
    holds: "whatever was answered is there after a power cut at any change of the disk",
    planted: Some("syncs do nothing"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(1);
    if is_planted {
        stage.machine(0).disk().ignore_syncs();
    }
    for changes in 0..CHANGES {
        stage.pay_times(0, 1)?;
        stage.machine(0).disk().die_after(changes);
        // Its answer may never come; what counts is what was told.
        let _ = stage.pay(0, 1)?;
        stage.run_for(3_000);
        stage.kill(0);
        stage.start(0);
        stage.well()?;
    }
    stage.pay_times(0, 2)?;
    stage.end()
}
