//! Prysm, December 2025: old attestations made nodes replay old states, until they had no time for new blocks; 18.5 % of
//! the slots were missed.
//!
//! Here a validator sends thousands of votes for heights that are long decided, each with a good signature. They cost no
//! disk and no message, and the next block is not late.

use allod_ledger::bft::{Message, SignedVote, Signer};
use allod_state::BlockId;
use allod_state::certificate::{VoteKind, vote_bytes};

use crate::network::stage::{Found, Stage};
use crate::person::validator;

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "prysm-old-votes",
    happened: "old votes made nodes replay old states until they missed new blocks (Prysm, December 2025)",
    holds: "thousands of signed votes for decided heights cause no write, no message and no delay",
    planted: Some("the votes are for the height that is being decided"),
    play,
};

fn vote(stage: &Stage, height: u64, round: u32) -> Result<Message, String> {
    let (signer, network) = (validator(3), stage.state(0)?.network());
    let value = Some(BlockId([7; 32]));
    let bytes = vote_bytes(&network, VoteKind::Prevote, height, round, value.as_ref());
    Ok(Message::Vote(SignedVote {
        kind: VoteKind::Prevote,
        height,
        round,
        value,
        validator: signer.public_key(),
        signature: signer.sign(&bytes),
    }))
}

fn play(is_planted: bool) -> Found {
    let mut stage = Stage::new(4);
    stage.corrupt(3, "withholder");
    stage.pay_times(0, 30)?;
    stage.run_for(3_000);
    let tip = stage.height(0);
    let (messages, log) = (stage.messages(), stage.log_bytes(0));
    for round in 0..100 {
        for height in 1..=tip {
            let height = if is_planted { tip + 1 } else { height };
            let old = vote(&stage, height, round)?;
            stage.throw(3, 0, &old);
        }
    }
    if stage.messages() != messages || stage.log_bytes(0) != log {
        return Err("old votes were answered, or written down".into());
    }
    let id = stage.pay(0, 1)?;
    stage.wait("a block in time", 3_000, |stage| {
        stage.receipt(0, &id).is_some()
    })?;
    stage.end()
}
