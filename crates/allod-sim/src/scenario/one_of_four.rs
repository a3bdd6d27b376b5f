//! One of four is dead, slow, silent or false in whatever way: clients see nothing of it.
//!
//! Payments come twice a second to the three others. Each is made, and within a bound that a person does not mind.

use crate::network::stage::{Found, Stage};

use super::Scenario;

/// The longest that a payment may take: one failed round, and one more.
const WAIT_MS: u64 = 6_000;

/// How long nobody wants anything, and how many blocks may come meanwhile.
const REST_MS: u64 = 45_000;
const REST_BLOCKS_MAX: u64 = 4;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "one-of-four",
    happened: "one of four is dead, slow, equivocating, withholding, or lying about the state",
    holds: "every payment at the others is made within six seconds, and old words begin no block",
    planted: Some("two of four are that"),
    play,
};

const KINDS: &[&str] = &[
    "dead",
    "amnesiac",
    "deceiver",
    "equivocator",
    "fabricator",
    "flooder",
    "forger",
    "laggard",
    "withholder",
];

/// Whoever is late, or says old things again, begins nothing: a network at rest decides at the slow tick alone.
fn rest(stage: &mut Stage, kind: &str) -> Found {
    if !["amnesiac", "laggard"].contains(&kind) {
        return Ok(());
    }
    let before = stage.height(0);
    stage.run_for(REST_MS);
    let decided = stage.height(0) - before;
    if decided > REST_BLOCKS_MAX {
        return Err(format!(
            "one of four is {kind}: {decided} blocks in {REST_MS} ms of rest"
        ));
    }
    Ok(())
}

fn play(is_planted: bool) -> Found {
    for kind in KINDS {
        let mut stage = Stage::new(4);
        stage.pay_times(0, 2)?;
        for at in [2, 3] {
            let is_struck = at == 3 || is_planted;
            match *kind {
                "dead" if is_struck => stage.kill(at),
                _ if is_struck => stage.corrupt(at, kind),
                _ => {}
            }
        }
        for number in 0..30 {
            let at = number % 2;
            let id = stage.pay(at, 1)?;
            stage
                .wait("a payment is made", WAIT_MS, |stage| {
                    stage.receipt(at, &id).is_some()
                })
                .map_err(|what| format!("one of four is {kind}: {what}"))?;
            stage.run_for(500);
        }
        for at in [2, 3] {
            stage.start(at);
        }
        stage.run_for(20_000);
        rest(&mut stage, kind)?;
        stage.end()?;
    }
    Ok(())
}
