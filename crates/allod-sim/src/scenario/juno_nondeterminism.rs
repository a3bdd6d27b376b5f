//! Juno (April 2022), Persistence and Neutron (August 2023): validators computed different results from the same block,
//! by their version or by chance, and the chain stopped or split.
//!
//! Here one of four computes something else: the three others go on without it, and nobody takes over what it says. Then
//! two do: nothing is decided at all, since halting beats forking, until one of them is put right.

use crate::mutation::Mutation;
use crate::network::stage::{Found, Stage};

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "juno-nondeterminism",
    happened: "validators computed different results from one block (Juno 2022, Persistence, Neutron 2023)",
    holds: "one of four that computes something else is outvoted; where two do, nothing is decided",
    planted: Some("one replica tells of other receipts than the rest"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mutation = is_planted.then_some(Mutation::OneDiffers);
    let mut stage = Stage::with(4, mutation);
    stage.pay_times(0, 4)?;
    stage.run_for(5_000);
    stage.corrupt(2, "fabricator");
    stage.pay_times(0, 12)?;
    stage.corrupt(1, "fabricator");
    stage.run_for(2_000);
    let (before, payment) = (stage.height(0), stage.payment(0, 1)?);
    stage.send(0, &payment);
    stage.run_for(120_000);
    // One height may have been under way.
    if stage.height(0) > before + 1 {
        return Err("two of four decided alone".into());
    }
    stage.reform(1);
    stage.wait("three that agree decide again", 120_000, |stage| {
        stage.receipt(0, &payment.id()).is_some()
    })?;
    stage.pay_times(0, 3)?;
    stage.end()
}
