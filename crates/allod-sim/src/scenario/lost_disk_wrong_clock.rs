//! A machine that lost its disk comes back with a clock that is ten minutes behind, as one does whose battery is empty
//! too.
//!
//! It waits for a block that is younger than its loss before it votes again; by that clock every block of the last ten
//! minutes is, and some hold the reports of its earlier losses. It must not take them for that: what it signed before
//! lies above them.

use allod_ledger::disk::MemoryDisk;

use crate::network::stage::{Found, Stage};

use super::Scenario;

const FAR_MS: i64 = 600_000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-disk-wrong-clock",
    happened: "a disk is lost, and the clock of the new one is ten minutes behind",
    holds: "blocks that were there before the loss are not taken for younger ones, so nothing is signed twice",
    planted: Some("it takes its key for a new one"),
    play,
};

fn play(is_planted: bool) -> Found {
    for pause_ms in [20, 100, 600, 1_200] {
        let mut stage = Stage::new(4);
        // Blocks over more than a minute, all of them younger than the loss by the clock that it will have.
        for _ in 0..8 {
            stage.pay_times(0, 1)?;
            stage.run_for(10_000);
        }
        for cut in [[0, 1], [0, 2], [1, 2], [0, 1]] {
            // With two cut off nobody decides, and the last one votes in a round that is never finished.
            stage.wire().cut = cut.into();
            let _ = stage.pay(3, 1);
            stage.run_for(pause_ms);
            stage.replace_disk(3, MemoryDisk::default());
            stage.machine(3).forgets = is_planted;
            stage.machine(3).skew_ms = -FAR_MS;
            stage.start(3);
            stage.run_for(15_000);
            stage.well()?;
            stage.wire().heal();
            stage.run_for(15_000);
            stage.machine(3).skew_ms = 0;
            if !is_planted {
                stage.tell_of_loss(3)?;
            }
        }
        stage.end()?;
    }
    Ok(())
}
