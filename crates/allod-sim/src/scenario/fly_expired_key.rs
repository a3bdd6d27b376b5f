//! Fly.io, October 2024: one certificate ran out, and with it went the orchestration of everything for six hours.
//!
//! Here a key that acts every second expires in the middle of its work. What runs goes on, validators decide as before,
//! and the owner's other key gives the work to a new one.

use allod_state::account::AddKey;
use allod_state::account::grant::{AppSelector, Grant, NodeSelector, Verb};
use allod_state::lease::{Report, ReportLease};

use crate::network::stage::{Found, Stage};
use crate::person::SPARE;

use super::{Scenario, town};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fly-expired-key",
    happened: "one expired certificate stopped all orchestration for six hours (Fly.io, October 2024)",
    holds: "an expired key stops nothing but itself, and the owner replaces it",
    planted: Some("nobody gives the work to another key"),
    play,
};

fn give(stage: &mut Stage, number: usize, expires_ms: Option<u64>) -> Found {
    let grant = Grant {
        verbs: Verb::ALL.iter().copied().collect(),
        apps: AppSelector::All,
        nodes: NodeSelector::All,
        budget: None,
        expires_ms,
    };
    let key = stage.person(number).key;
    stage.done(0, stage.account(0), vec![AddKey { key, grant }.into()])
}

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    let lease = town::settle(&mut stage, 1_000_000)?;
    let (first, second) = (SPARE.start, SPARE.start + 1);
    let expires_ms = stage.wall_ms() + 20_000;
    give(&mut stage, first, Some(expires_ms))?;
    let epoch = stage.state(0)?.lease(&lease).ok_or("no lease")?.epoch;
    let says = |report| ReportLease {
        lease,
        epoch,
        report,
    };
    stage.done(first, stage.account(0), vec![says(Report::NotReady).into()])?;
    stage.run_for(40_000);
    // It is out of time, and so is what it signs.
    let late = stage.sign(0, first, stage.account(0), vec![says(Report::Ready).into()])?;
    stage.send(0, &late);
    stage.run_for(5_000);
    if stage.receipt(0, &late.id()).is_some() {
        return Err("an expired key acted".into());
    }
    stage.pay_times(1, 3)?;
    if town::active(&stage).map(|(id, _)| id) != Some(lease) {
        return Err("the lease ended with the key".into());
    }
    if !is_planted {
        give(&mut stage, second, None)?;
    }
    stage.done(second, stage.account(0), vec![says(Report::Ready).into()])?;
    stage.end()
}
