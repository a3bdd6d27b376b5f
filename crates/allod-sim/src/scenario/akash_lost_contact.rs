//! Akash provider #17, #1245, #1233 and #14: a provider that lost contact with its chain, or was started again, took
//! what it could not see for gone, and closed all of its leases.
//!
//! Here the only validator is away for a day. Nobody says anything in that time, and so nothing has ended and nothing is
//! owed: absence of data never means delete.

use allod_state::lease::{EndCause, Report, ReportLease};

use crate::network::stage::{Found, Stage};

use super::{Scenario, town};

const DAY_MS: u64 = 24 * 3_600_000;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "akash-lost-contact",
    happened: "providers that lost contact closed all of their leases (Akash #17, #233, #1245)",
    holds: "after a day of silence the lease is what it was, and the silence costs nothing",
    planted: Some("the machine reports as ended what it has not seen"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(1);
    let lease = town::settle(&mut stage, 1_000_000)?;
    let before = stage.state(0)?;
    stage.kill(0);
    stage.sleep(DAY_MS);
    stage.start(0);
    if is_planted {
        let report = ReportLease {
            lease,
            epoch: before.lease(&lease).ok_or("the lease is unknown")?.epoch,
            report: Report::Ended(EndCause::Lost),
        };
        stage.done(town::MACHINE, stage.account(0), vec![report.into()])?;
    }
    // Several blocks, so that the law's own steps see the gap.
    stage.pay_times(0, 3)?;
    stage.run_for(40_000);
    let after = stage.state(0)?;
    if after.lease(&lease) != before.lease(&lease) {
        return Err(format!("the lease is now {:?}", after.lease(&lease)));
    }
    if after.tip().time_ms < before.tip().time_ms + DAY_MS {
        return Err("the blocks know nothing of the day that went by".into());
    }
    stage.end()
}
