//! Replaying the log: the height that was under way is brought back to where it was.

use std::collections::BTreeMap;

use allod_state::{BlockId, codec};
use bytes::Bytes;
use malachite_consensus::{Input, ProposedValue};
use malachite_types::{Round, Timeout, Validity, ValueOrigin, VoteExtensionPolicy};

use super::{Core, Phase};
use crate::bft::Signer;
use crate::bft::context::{Address, Context, Height, Value};
use crate::bft::record::{Record, TimerKind};
use crate::bft::shell::{Held, RECORD_DOMAIN};

impl<S: Signer> Core<S> {
    pub(super) fn replay(&mut self, records: Vec<Record>) {
        let mut inputs = Vec::new();
        let mut bytes_of: BTreeMap<BlockId, Bytes> = BTreeMap::new();
        for record in records {
            if let Record::Signed(signed) = &record {
                self.shell.guard.remember(signed);
            }
            if record.height() != self.height {
                continue;
            }
            if let Record::Value { block, bytes, .. } = record {
                self.shell.values_written.insert(block);
                bytes_of.insert(block, Bytes::from(bytes));
                continue;
            }
            self.shell
                .written
                .insert(codec::hash(RECORD_DOMAIN, &record));
            inputs.extend(self.input_of(record, &bytes_of));
        }
        if inputs.is_empty() {
            return;
        }
        self.phase = Phase::Active;
        self.shell.is_replaying = true;
        self.engine.index_wal_entries(inputs.iter());
        let (height, members) = (Height(self.height), self.members.clone());
        let policy = VoteExtensionPolicy::Disabled;
        self.feed(Input::StartHeight(height, members, true, None, policy));
        for input in inputs {
            self.feed(input);
        }
        self.engine.reset_entries_index();
        self.shell.is_replaying = false;
    }

    /// What the engine is told about a record of the log.
    fn input_of(
        &mut self,
        record: Record,
        bytes_of: &BTreeMap<BlockId, Bytes>,
    ) -> Option<Input<Context>> {
        match record {
            Record::Vote(vote) => Some(Input::Vote(vote.to_engine())),
            Record::Polka(polka) => Some(Input::PolkaCertificate(polka.to_engine())),
            Record::Proposal(proposal) => {
                let bytes = bytes_of.get(&proposal.value)?.clone();
                Some(Input::Proposal(proposal.to_engine(bytes)))
            }
            Record::Verdict {
                height,
                round,
                valid_round,
                proposer,
                block,
                is_valid,
            } => {
                let bytes = bytes_of.get(&block)?.clone();
                self.shell.values.insert(
                    block,
                    Held {
                        bytes: bytes.clone(),
                        is_valid,
                    },
                );
                let value = ProposedValue {
                    height: Height(height),
                    round: Round::new(round),
                    valid_round: Round::from(valid_round),
                    proposer: Address(proposer),
                    value: Value { id: block, bytes },
                    validity: Validity::from_bool(is_valid),
                };
                Some(Input::ProposedValue(value, ValueOrigin::Consensus))
            }
            Record::Timeout { round, kind, .. } => {
                let round = Round::new(round);
                Some(Input::TimeoutElapsed(match kind {
                    TimerKind::Propose => Timeout::propose(round),
                    TimerKind::Prevote => Timeout::prevote(round),
                    TimerKind::Precommit => Timeout::precommit(round),
                }))
            }
            Record::Signed(_) | Record::Value { .. } | Record::Decided(_) => None,
        }
    }
}
