//! Akash provider #515: what the chain ended by itself was in no transaction's events, so no provider took it down:
//! about 710 cores and 3 GPUs stood stranded, and most of a provider's revenue was lost.
//!
//! Here a lease ends because its payer has nothing left, in a transaction that asks for no end. That it ended has to be
//! said in so many words, as for every other end.

use crate::mutation::Mutation;
use crate::network::stage::{Found, Stage};

use super::{Scenario, town};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "akash-closures",
    happened: "leases that the chain itself ended were told in no event, so nobody took them down (Akash #515)",
    holds: "every lease that ends is told as ended, also one that ends by the way",
    planted: Some("an end that nobody asked for is not told"),
    play,
};

fn play(is_planted: bool) -> Found {
    let mutation = is_planted.then_some(Mutation::EndsUntold);
    let mut stage = Stage::with(1, mutation);
    let lease = town::settle(&mut stage, 10_000_000)?;
    for _ in 0..2 {
        stage.run_for(3_600_000);
        let evidence = town::evidence(&stage, lease)?;
        stage.done(town::MACHINE, stage.account(0), vec![evidence.into()])?;
    }
    let state = stage.state(0)?;
    let ended = state.lease(&lease).ok_or("the lease is forgotten")?;
    if ended.is_active() {
        return Err("the lease goes on though its payer has nothing left".into());
    }
    stage.end()
}
