//! Blocks that others decided: proved by their certificate, checked, and taken over.

use allod_state::BlockId;
use allod_state::limits::BLOCK_BYTES_MAX;
use bytes::Bytes;
use malachite_consensus::{Input, ProposedValue};
use malachite_peer::PeerId;
use malachite_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, Round, Validity, ValueOrigin, ValueResponse,
};

use super::{Core, Phase};
use crate::bft::context::{Address, Context, Height, Seal, Value};
use crate::bft::shell::Held;
use crate::bft::{Action, Alarm, DecidedBlock, Signer, Standing, Verdict};

impl<S: Signer> Core<S> {
    pub(super) fn on_decided_checked(&mut self, block: BlockId, verdict: Verdict) {
        let asked = self.checking_decided.take_if(|(id, ..)| *id == block);
        let Some((block, round, proposer, bytes)) = asked else {
            return;
        };
        match verdict {
            Verdict::Foreign => self.catch_up.reject(),
            Verdict::Invalid => {
                self.is_halted = true;
                let alarm = Alarm::Diverged {
                    height: self.height,
                    block,
                };
                self.shell.outward.push(Action::Alarm(alarm));
            }
            Verdict::Valid => {
                self.shell.values.insert(
                    block,
                    Held {
                        bytes: bytes.clone(),
                        is_valid: true,
                    },
                );
                self.feed_decided(block, round, proposer, bytes);
            }
        }
    }

    fn feed_decided(&mut self, block: BlockId, round: u32, proposer: Address, bytes: Bytes) {
        let value = ProposedValue {
            height: Height(self.height),
            round: Round::new(round),
            valid_round: Round::Nil,
            proposer,
            value: Value { id: block, bytes },
            validity: Validity::Valid,
        };
        self.feed(Input::ProposedValue(value, ValueOrigin::Sync));
    }

    /// Applies decided blocks that a peer sent, as far as they go.
    pub(super) fn apply_caught_up(&mut self) {
        while self.phase != Phase::Committing && self.checking_decided.is_none() {
            let Some(decided) = self.catch_up.next(self.height) else {
                return;
            };
            let is_proved = decided
                .certificate
                .verify_votes(&self.shell.config.network, &self.validators);
            if is_proved.is_err() || decided.block.len() > BLOCK_BYTES_MAX {
                self.catch_up.reject();
                return;
            }
            if self.phase == Phase::Idle {
                self.start_height();
            }
            self.feed(Input::SyncValueResponse(to_response(decided)));
            if std::mem::take(&mut self.shell.sync_refused) {
                self.catch_up.reject();
            }
            let Some((block, round, proposer, bytes)) = self.shell.certified.take() else {
                continue;
            };
            match self.shell.values.get(&block).cloned() {
                Some(held) if held.is_valid => {
                    self.feed_decided(block, round, proposer, held.bytes);
                }
                _ => {
                    self.ask_check(block, bytes.clone(), Standing::Decided);
                    self.checking_decided = Some((block, round, proposer, bytes));
                }
            }
        }
    }
}

fn to_response(decided: DecidedBlock) -> ValueResponse<Context> {
    let signatures = decided.certificate.signatures.iter();
    let certificate = ExtendedCommitCertificate {
        height: Height(decided.certificate.height),
        round: Round::new(decided.certificate.round),
        value_id: decided.certificate.block,
        commit_signatures: signatures
            .map(|(key, signature)| {
                ExtendedCommitSignature::new(Address(*key), Seal(*signature), None)
            })
            .collect(),
    };
    // The engine only hands the peer id back; which peer it was is known to `CatchUp`.
    let peer = PeerId::from_bytes(&[0, 1, 0]).expect("a one-byte identity multihash is a peer id");
    ValueResponse::new(peer, Bytes::from(decided.block), certificate)
}
