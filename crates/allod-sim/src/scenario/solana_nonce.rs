//! Solana, 1 June 2022: a transaction with a durable nonce failed, its nonce was not used up, and it was executed a
//! second time; the nodes disagreed, and the network stood for four and a half hours.
//!
//! Here a transaction fails, and its very bytes come again, to every machine and after restarts. It is in one block, it
//! has paid once, and its key's next transaction goes through.

use allod_state::Credits;
use allod_state::credit::Transfer;

use crate::mutation::Mutation;
use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "solana-nonce",
    happened: "a failed transaction kept its nonce and was executed twice (Solana, 1 June 2022)",
    holds: "a failed transaction is in one block, and never in another",
    planted: Some("what is in a block is applied a second time"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mutation = is_planted.then_some(Mutation::AppliedTwice);
    let mut stage = Stage::with(4, mutation);
    let transfer = Transfer {
        to: stage.account(2),
        amount: Credits::from_micro(1_000_000_000_000_000),
        memo: String::new(),
    };
    let failing = stage.sign(0, 1, stage.account(1), vec![transfer.into()])?;
    stage.send(0, &failing);
    let id = failing.id();
    stage.wait("the failing one is in a block", 20_000, |stage| {
        stage.receipt(0, &id).is_some()
    })?;
    if stage.receipt(0, &id).is_some_and(|one| one.outcome.is_ok()) {
        return Err("what nobody can pay was paid".into());
    }
    for at in [0, 1, 2, 3] {
        for other in 0..4 {
            stage.send(other, &failing);
        }
        stage.run_for(2_000);
        stage.kill(at);
        stage.start(at);
        for other in 0..4 {
            stage.send(other, &failing);
        }
        stage.pay_times(at, 2)?;
    }
    let (nonce, state) = (failing.transaction().body.nonce, stage.state(0)?);
    let body = &failing.transaction().body;
    let next = state.key(&body.account, &body.key).map(|key| key.nonce);
    if next != Some(nonce + 1) {
        return Err(format!("the key is at nonce {next:?} after {nonce}"));
    }
    stage.end()
}
