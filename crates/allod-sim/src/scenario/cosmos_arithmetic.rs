//! Cosmos SDK ASA-2025-003 (a division by zero in x/group), ISA-2025-005 (an overflow in rewards) and ISA-2025-002 (an
//! error in an EndBlocker): arithmetic at the edges, in code that runs at the end of a block, halted whole chains.
//!
//! Here everything that is multiplied or divided is given its least and its most: prices of nothing and of all there
//! is, no replicas and too many, an hour of evidence at the highest price. Each is answered, and the chain goes on.

use allod_state::app::Scale;
use allod_state::credit::Transfer;
use allod_state::node::PublishOffer;
use allod_state::{Action, Credits};

use crate::network::stage::{Found, Stage};

use super::{Scenario, town};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "cosmos-arithmetic",
    happened: "divisions by zero and overflows at the end of a block halted chains (ASA-2025-003, ISA-2025-005)",
    holds: "prices, counts and times at both edges are answered, and the chain goes on",
    planted: None,
    play,
};

/// Something is done, and answered, whatever the answer.
fn ask(stage: &mut Stage, signer: usize, account: usize, action: impl Into<Action>) -> Found {
    let account = stage.account(account);
    let verified = stage.sign(0, signer, account, vec![action.into()])?;
    stage.send(0, &verified);
    let id = verified.id();
    stage.wait("an answer", 20_000, |stage| stage.is_answered(0, &id))
}

fn play(_: bool) -> Found {
    let most = [
        0,
        1,
        i128::from(u64::MAX),
        1_000_000_000_000_000_000_000,
        i128::MAX,
    ];
    for price in most {
        let mut stage = Stage::new(1);
        town::settle(&mut stage, 0)?;
        let publish = PublishOffer {
            node: stage.node(town::MACHINE),
            offer: town::offer(price).ok_or("no offer")?,
        };
        ask(&mut stage, 0, 0, publish)?;
        // A new app, at the new price, with every count.
        for replicas in [0, 1, 16, 500, u32::MAX] {
            let app = town::active(&stage).ok_or("no lease")?.1.app;
            let scale = Scale {
                app,
                service: town::service(),
                replicas,
            };
            ask(&mut stage, town::OWNER, town::OWNER, scale)?;
            stage.run_for(6_000);
            if replicas == 0 {
                ask(&mut stage, town::OWNER, town::OWNER, town::deploy(1))?;
                stage.run_for(6_000);
            }
        }
        stage.run_for(3_600_000);
        let leases: Vec<_> = stage.state(0)?.leases().map(|(id, _)| *id).collect();
        for lease in leases {
            let evidence = town::evidence(&stage, lease)?;
            ask(&mut stage, town::MACHINE, 0, evidence)?;
        }
        for micro in [0, -1, i128::MIN, i128::MAX] {
            let transfer = Transfer {
                to: stage.account(2),
                amount: Credits::from_micro(micro),
                memo: String::new(),
            };
            ask(&mut stage, 0, 0, transfer)?;
        }
        stage.pay_times(0, 2)?;
        stage.end()?;
    }
    Ok(())
}
