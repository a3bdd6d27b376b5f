//! Jepsen, Tendermint 0.10.2: agreement held, and the storage under it did not: a crash while the log was being replayed
//! ended every later start, a store of one node was damaged, and the log lost data.
//!
//! Here a machine loses power at each change of its disk while it comes back from having lost power, and again. It comes
//! back in the end, with all that it told.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "tendermint-recovery",
    happened: "a crash while the log was replayed ended every later start (Tendermint 0.10.2, Jepsen)",
    holds: "a machine that loses power while it recovers recovers, however often",
    planted: Some("syncs do nothing"),
    play,
};

fn play(is_planted: bool) -> Found {
    for validators in [1, 4] {
        let mut stage = Stage::new(validators);
        let last = validators - 1;
        if is_planted {
            stage.machine(last).disk().ignore_syncs();
        }
        for changes in 0..24 {
            stage.pay_times(last, 3)?;
            stage.kill(last);
            for deeper in 0..3 {
                stage.machine(last).disk().die_after(changes + deeper * 5);
                stage.start(last);
                stage.run_for(20);
                stage.kill(last);
            }
            stage.start(last);
            stage.run_for(6_000);
            stage.well()?;
        }
        stage.pay_times(0, 2)?;
        stage.end()?;
    }
    Ok(())
}
