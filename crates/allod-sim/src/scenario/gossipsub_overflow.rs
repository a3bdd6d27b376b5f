//! CVE-2026-33040 and CVE-2026-34219 (gossipsub): a peer's back-off of 2^64-1 overflowed a clock, and the process ended;
//! CVE-2026-31812 (quinn): one packet met an unwrap.
//!
//! Here every number that a peer can name is the least and the most that there is, under good signatures of a validator
//! where one is asked for.

use allod_ledger::bft::{
    DecidedBlock, Message, Polka, RoundProof, SignedProposal, SignedVote, Signer,
};
use allod_state::BlockId;
use allod_state::certificate::{Certificate, VoteKind, proposal_bytes, vote_bytes};

use crate::network::stage::{Found, Stage};
use crate::person::validator;

use super::Scenario;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "gossipsub-overflow",
    happened: "numbers at the edge of their range ended the process that read them (CVE-2026-33040, CVE-2026-31812)",
    holds: "every number of every message at both edges, rightly signed, changes nothing",
    planted: None,
    play,
};

fn messages(stage: &Stage, height: u64, round: u32) -> Result<Vec<Message>, String> {
    let (signer, network) = (validator(3), stage.state(0)?.network());
    let (key, value) = (signer.public_key(), BlockId([5; 32]));
    let vote = vote_bytes(&network, VoteKind::Prevote, height, round, Some(&value));
    let precommit = vote_bytes(&network, VoteKind::Precommit, height, round, Some(&value));
    let proposal = proposal_bytes(&network, height, round, Some(round), &value);
    let signature = signer.sign(&vote);
    let certificate = Certificate {
        height,
        round,
        block: value,
        signatures: vec![(key, signer.sign(&precommit)); 4],
    };
    Ok(vec![
        Message::Status(height),
        Message::SyncRequest(height),
        Message::Vote(SignedVote {
            kind: VoteKind::Prevote,
            height,
            round,
            value: Some(value),
            validator: key,
            signature,
        }),
        Message::Proposal(
            SignedProposal {
                height,
                round,
                pol_round: Some(round),
                value,
                proposer: key,
                signature: signer.sign(&proposal),
            },
            vec![0; 64],
        ),
        Message::Polka(Polka {
            height,
            round,
            value,
            signatures: vec![(key, signature); 4],
        }),
        Message::Round(RoundProof {
            height,
            round,
            is_skip: round.is_multiple_of(2),
            votes: vec![(VoteKind::Prevote, Some(value), key, signature); 4],
        }),
        Message::SyncResponse(vec![DecidedBlock {
            certificate,
            block: vec![0; 64],
        }]),
        Message::Transactions(vec![vec![0xff; 64]]),
    ])
}

fn play(_: bool) -> Found {
    let mut stage = Stage::new(4);
    // It is false from now on: what it says is held against nobody else.
    stage.corrupt(3, "withholder");
    for _ in 0..4 {
        let tip = stage.height(0);
        for height in [0, 1, tip, tip + 1, tip + 2, u64::MAX - 1, u64::MAX] {
            for round in [0, 1, 10, 11, 1_000, u32::MAX - 1, u32::MAX] {
                for message in messages(&stage, height, round)? {
                    for to in 0..3 {
                        stage.throw(3, to, &message);
                    }
                    stage.well()?;
                }
            }
        }
        stage.pay_times(0, 2)?;
    }
    stage.end()
}
