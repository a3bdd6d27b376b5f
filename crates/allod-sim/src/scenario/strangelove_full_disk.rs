//! Strangelove: a validator's disk was full; it stood, was slashed, and had to be brought back by hand.
//!
//! Here one of four has no room for another byte in the middle of its work. The others go on, it signs nothing that
//! conflicts, and once there is room it goes on by itself.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "strangelove-full-disk",
    happened: "a validator with a full disk stood, and was punished for it (Strangelove)",
    holds: "one full disk of four stops nobody, and that machine goes on by itself when there is room",
    planted: Some("two disks of four are full"),
    play,
};

fn play(is_planted: bool) -> Found {
    for room in [0, 100, 1_000, 5_000] {
        let mut stage = Stage::new(4);
        stage.pay_times(0, 3)?;
        stage.machine(3).fill_disk(room);
        if is_planted {
            stage.machine(2).fill_disk(room);
        }
        stage.pay_times(0, 12)?;
        stage.machine(3).heal();
        stage.wait("it catches up by itself", 60_000, |stage| {
            stage.height(3) >= stage.height(0)
        })?;
        stage.kill(1);
        // The others cannot do without it now.
        stage.pay_times(0, 2)?;
        stage.start(1);
        stage.run_for(20_000);
        stage.end()?;
    }
    Ok(())
}
