//! FoundationDB's commit_unknown_result, and CockroachDB's own retries: a client that cannot know whether its change was
//! made tries again, and the change is made twice.
//!
//! Here a machine dies at every change of its disk while it takes a payment, and the client gives the very same bytes to
//! all the others, again and again. Everything is paid once.

use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "fdb-unknown-result",
    happened: "a client that did not know tried again, and the change was made twice (FoundationDB, CockroachDB)",
    holds: "the same bytes, sent again to everybody, are applied once",
    planted: Some("the client signs its payment anew before it tries again"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    let (payee, rounds, micro) = (stage.account(1), 24, 1_000);
    let balance = |stage: &Stage| {
        let state = stage.state(1).ok()?;
        Some(state.account(&payee)?.balance.micro())
    };
    let before = balance(&stage).ok_or("no account")?;
    for changes in 0..rounds {
        let payment = stage.payment(1, micro)?;
        let dies = usize::try_from(changes % 4).unwrap_or(0);
        stage.machine(dies).disk().die_after(changes);
        stage.send(dies, &payment);
        stage.run_for(300);
        for at in 0..4 {
            stage.send(at, &payment);
        }
        stage.run_for(8_000);
        let again = if is_planted {
            stage.payment(1, micro)?
        } else {
            payment.clone()
        };
        for at in 0..4 {
            stage.send(at, &again);
        }
        let id = again.id();
        stage.wait("the payment is made", 60_000, |stage| {
            stage.receipt(1, &id).is_some()
        })?;
        stage.machine(dies).heal();
        stage.run_for(8_000);
    }
    let paid = balance(&stage).ok_or("no account")? - before;
    let expected = i128::from(rounds) * micro;
    if paid != expected {
        return Err(format!("{paid} micro-credits were paid of {expected}"));
    }
    stage.end()
}
