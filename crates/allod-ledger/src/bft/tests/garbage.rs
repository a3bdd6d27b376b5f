//! Messages that are well formed and false: wrong keys, wrong signatures, absurd heights and rounds.

use allod_state::certificate::{Certificate, VoteKind};
use allod_state::{BlockId, PublicKey, Signature};

use super::network::validator_key;
use crate::bft::{DecidedBlock, Message, Polka, RoundProof, SignedProposal, SignedVote};

pub(super) struct Forge(u64);

impl Forge {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.draw(256)).unwrap()
    }

    fn block(&mut self) -> BlockId {
        BlockId([self.byte(); 32])
    }

    /// A real validator's key or nobody's.
    fn key(&mut self) -> PublicKey {
        match self.draw(3) {
            0 => PublicKey::Ed25519([self.byte(); 32]),
            _ => validator_key(usize::try_from(self.draw(4)).unwrap()),
        }
    }

    fn signature(&mut self) -> Signature {
        Signature::Ed25519([self.byte(); 64])
    }

    fn round(&mut self) -> u32 {
        match self.draw(4) {
            0 => u32::MAX,
            1 => 11,
            _ => u32::try_from(self.draw(3)).unwrap(),
        }
    }

    fn height(&mut self, tip: u64) -> u64 {
        match self.draw(8) {
            0 => 0,
            1 => u64::MAX,
            2 => tip,
            3 => tip + 2,
            4 => tip + 1_000,
            _ => tip + 1,
        }
    }

    fn kind(&mut self) -> VoteKind {
        if self.draw(2) == 0 {
            VoteKind::Prevote
        } else {
            VoteKind::Precommit
        }
    }

    /// Some false message for a node whose tip is at `tip`.
    pub(super) fn message(&mut self, tip: u64) -> Message {
        let (height, round) = (self.height(tip), self.round());
        let value = self.block();
        match self.draw(8) {
            0 => Message::Vote(SignedVote {
                kind: self.kind(),
                height,
                round,
                value: (self.draw(2) == 0).then_some(value),
                validator: self.key(),
                signature: self.signature(),
            }),
            1 => {
                let proposal = SignedProposal {
                    height,
                    round,
                    pol_round: (self.draw(2) == 0).then_some(round),
                    value,
                    proposer: self.key(),
                    signature: self.signature(),
                };
                Message::Proposal(proposal, vec![self.byte(); 60])
            }
            2 => {
                let signatures = (0..4).map(|_| (self.key(), self.signature())).collect();
                Message::Polka(Polka {
                    height,
                    round,
                    value,
                    signatures,
                })
            }
            3 => {
                let is_skip = self.draw(2) == 0;
                let votes = (0..4)
                    .map(|_| (self.kind(), Some(value), self.key(), self.signature()))
                    .collect();
                Message::Round(RoundProof {
                    height,
                    round,
                    is_skip,
                    votes,
                })
            }
            4 => Message::Status(height),
            5 => Message::SyncRequest(height),
            6 => {
                let signatures = (0..4).map(|_| (self.key(), self.signature())).collect();
                let certificate = Certificate {
                    height,
                    round,
                    block: value,
                    signatures,
                };
                let block = vec![self.byte(); 60];
                Message::SyncResponse(vec![DecidedBlock { certificate, block }])
            }
            _ => Message::Transactions(vec![vec![self.byte(); 9]]),
        }
    }
}
