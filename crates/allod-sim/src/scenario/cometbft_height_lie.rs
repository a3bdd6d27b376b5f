//! CVE-2025-24371 (CometBFT): a peer reported a high height, then a lower one, and whoever was catching up asked for
//! blocks that nobody has, for ever.
//!
//! Here one of four is behind by forty blocks, and one peer does just that, ten times a second, and answers nothing.

use allod_ledger::bft::Message;

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cometbft-height-lie",
    happened: "a peer that reported a high height and then a lower one kept others from catching up (CVE-2025-24371)",
    holds: "whoever is behind catches up from those who tell the truth",
    planted: Some("nobody tells the truth"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    stage.kill(3);
    stage.pay_times(0, 40)?;
    if is_planted {
        stage.wire().cut = [3].into();
    }
    // The liar itself answers nothing.
    if !is_planted {
        stage.wire().cut = [0].into();
        stage.wire().is_one_way = true;
    }
    stage.start(3);
    let target = stage.height(0);
    for _ in 0..300 {
        for height in [u64::MAX, 1_000_000, 1] {
            stage.throw(0, 3, &Message::Status(height));
        }
        stage.run_for(100);
        if stage.height(3) >= target {
            return stage.end();
        }
    }
    Err(format!(
        "still at {} of {target} after half a minute of lies",
        stage.height(3)
    ))
}
