//! Nothing is signed twice: a key signs one proposal, one prevote and one precommit for each height and round.

use std::collections::BTreeMap;

use allod_ledger::bft::Message;
use allod_state::certificate::VoteKind;
use allod_state::{BlockId, PublicKey};

use super::{Check, Found};

type Place = (PublicKey, u64, u32, u8);

#[derive(Default)]
pub(super) struct Signatures {
    signed: BTreeMap<Place, Option<BlockId>>,
}

impl Check for Signatures {
    fn name(&self) -> &'static str {
        "signatures"
    }

    fn left(&mut self, message: &Message) -> Found {
        let (place, value) = match message {
            Message::Vote(vote) => {
                let kind = match vote.kind {
                    VoteKind::Prevote => 1,
                    VoteKind::Precommit => 2,
                };
                ((vote.validator, vote.height, vote.round, kind), vote.value)
            }
            Message::Proposal(proposal, _) => (
                (proposal.proposer, proposal.height, proposal.round, 0),
                Some(proposal.value),
            ),
            _ => return Ok(()),
        };
        let first = *self.signed.entry(place).or_insert(value);
        if first == value {
            return Ok(());
        }
        let (key, height, round, kind) = place;
        Err(format!(
            "{key} signed both {first:?} and {value:?} at height {height}, round {round}, kind {kind}"
        ))
    }
}
