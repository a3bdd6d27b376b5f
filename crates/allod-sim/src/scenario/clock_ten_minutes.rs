//! A machine whose clock is ten minutes wrong, as after a battery has died or a time server lied.
//!
//! Here one of four is that, in either direction: the others go on at their usual pace, and it follows with a clock
//! that is still wrong, and votes again when it is put right.

use crate::network::stage::{Found, Stage};

use super::Scenario;

const FAR_MS: i64 = 600_000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "clock-ten-minutes",
    happened: "a validator's clock is ten minutes behind, or ahead",
    holds: "the others go on, and it follows them all the while",
    planted: None,
    play,
};

fn play(_: bool) -> Found {
    for skew_ms in [-FAR_MS, FAR_MS] {
        let mut stage = Stage::new(4);
        stage.machine(3).skew_ms = skew_ms;
        // Now and then it hears of a block only after it was decided.
        for round in 0..20 {
            if round % 2 == 0 {
                stage.wire().cut = [3].into();
            }
            stage.pay_times(0, 1)?;
            stage.wire().heal();
        }
        stage.wire().heal();
        let target = stage.height(0);
        stage.wait("the one with the wrong clock follows", 30_000, |stage| {
            stage.height(3) >= target
        })?;
        stage.machine(3).skew_ms = 0;
        stage.kill(1);
        // Now the others cannot do without it.
        stage.pay_times(0, 3)?;
        stage.start(1);
        stage.run_for(20_000);
        stage.end()?;
    }
    Ok(())
}
