//! Persistence: after a halt, validators were started again without priv_validator_state.json, and signed twice.
//!
//! Here one of four votes for a block that only it was shown, and loses power, its log and its sign-state. Asked for the
//! same round again, by an operator who brings back the rest of its disk, it must not answer.

use allod_ledger::disk::Disk;

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "persistence-sign-state",
    happened: "validators that were restarted without their sign-state signed twice (Persistence)",
    holds: "a validator that lost its log and sign-state signs nothing until a block is younger than its loss",
    planted: Some("it takes its key for a new one"),
    play,
};

fn play(is_planted: bool) -> Found {
    for cut in [[0, 1], [0, 2], [1, 2]] {
        let mut stage = Stage::new(4);
        stage.pay_times(0, 6)?;
        stage.run_for(2_000);
        lose(&mut stage, &cut, is_planted)?;
        stage.wire().heal();
        stage.pay_times(0, 6)?;
        // It is a validator like any other once that cannot hurt.
        if !is_planted {
            stage.tell_of_loss(3)?;
        }
        stage.kill(0);
        stage.pay_times(1, 2)?;
        stage.start(0);
        stage.run_for(20_000);
        stage.end()?;
    }
    Ok(())
}

/// The last one votes in a round that nobody finishes, forgets it, and is asked for it again.
fn lose(stage: &mut Stage, cut: &[usize], is_planted: bool) -> Found {
    for round in 0..4 {
        // With two cut off, nobody decides; in each height another one proposes.
        stage.wire().cut = cut.iter().copied().collect();
        let _ = stage.pay(3, 1)?;
        stage.run_for(100 + round * 200);
        stage.kill(3);
        let disk = stage.machine(3).disk().clone();
        for name in disk.list().map_err(|error| error.to_string())? {
            if name.starts_with("wal-") || name == "sign-state" {
                disk.remove(&name).map_err(|error| error.to_string())?;
            }
        }
        stage.machine(3).forgets = is_planted;
        stage.start(3);
        let _ = stage.pay(3, 1);
        stage.run_for(4_000);
        stage.well()?;
        stage.wire().heal();
        stage.run_for(10_000);
    }
    stage.well()
}
