//! CometBFT, April 2026: a peer could stall nodes that were catching up by what it answered.
//!
//! Here one of four is behind by forty blocks, and the peer that says it has the most answers with blocks that nobody
//! decided: cut, altered, under another height, with one signature, or of its own making.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cometbft-stalled-sync",
    happened: "a peer could stall nodes that were catching up (CometBFT, April 2026)",
    holds: "false answers cost one question each, and the true blocks come from others",
    planted: Some("only the false one is heard"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    stage.corrupt(0, "deceiver");
    stage.kill(3);
    stage.pay_times(1, 40)?;
    if is_planted {
        stage.kill(1);
        stage.kill(2);
    }
    stage.start(3);
    let target = stage.height(1).max(40);
    stage.wait("the one behind catches up", 120_000, |stage| {
        stage.height(3) >= target
    })?;
    stage.end()
}
