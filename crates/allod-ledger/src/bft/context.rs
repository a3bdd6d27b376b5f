//! What the engine is told about our world: heights, validators, values, votes and proposals.
//!
//! A value is a block's bytes; its id is the hash of the block's header, which commits to everything
//! else in the block. Whoever turns bytes into a [`Value`] has checked that the id belongs to them.

use std::fmt;
use std::sync::Arc;

use allod_state::validator::ValidatorSet;
use allod_state::{BlockId, PublicKey, Signature};
use bytes::Bytes;
use malachite_types::{
    self as engine, LinearTimeouts, NilOrVal, Round, SignedExtension, SigningScheme, VoteType,
};

/// A block height; the genesis state is height 0 and the first block height 1.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A validator's address is its public key.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address(pub(crate) PublicKey);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl engine::Address for Address {}

/// A proposed block: its id and its canonical bytes (shared, never copied).
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) id: BlockId,
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({}, {} bytes)", self.id, self.bytes.len())
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.id, &self.bytes).cmp(&(other.id, &other.bytes))
    }
}

impl engine::Value for Value {
    type Id = BlockId;

    fn id(&self) -> BlockId {
        self.id
    }
}

/// One validator as the engine sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) address: Address,
    pub(crate) power: u64,
}

impl engine::Validator<Context> for Member {
    fn address(&self) -> &Address {
        &self.address
    }

    fn public_key(&self) -> &PublicKey {
        &self.address.0
    }

    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The validators of one height, in the order in which they take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Members(pub(crate) Arc<Vec<Member>>);

impl Members {
    pub(crate) fn of(set: &ValidatorSet) -> Self {
        let members = set.iter().map(|(key, power)| Member {
            address: Address(*key),
            power,
        });
        Self(Arc::new(members.collect()))
    }

    /// Whose turn it is. The set is never empty: the law keeps at least one validator.
    pub(crate) fn proposer(&self, height: Height, round: Round) -> &Member {
        let turn = height
            .0
            .wrapping_add(u64::from(round.as_u32().unwrap_or(0)));
        let count = u64::try_from(self.0.len()).unwrap_or(1).max(1);
        let index = usize::try_from(turn % count).unwrap_or(0);
        self.0
            .get(index)
            .expect("the law never leaves a network without validators")
    }
}

impl engine::ValidatorSet<Context> for Members {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.iter().map(|member| member.power).sum()
    }

    fn get_by_address(&self, address: &Address) -> Option<&Member> {
        self.0.iter().find(|member| member.address == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// A vote, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<BlockId>,
    pub(crate) validator: Address,
}

impl engine::Vote<Context> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Address {
        &self.validator
    }

    fn extension(&self) -> Option<&SignedExtension<Context>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Context>> {
        None
    }

    fn extend(self, _: SignedExtension<Context>) -> Self {
        self
    }
}

/// A proposal, before it is signed. `pol_round` is the round of the earlier polka that a
/// re-proposed value rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Value,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Address,
}

impl engine::Proposal<Context> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// Never made: a proposal message carries its whole block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part;

impl engine::ProposalPart<Context> for Part {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

/// A signature with the order that the engine's certificates sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal(pub(crate) Signature);

impl Seal {
    fn bytes(&self) -> &[u8; 64] {
        let Signature::Ed25519(bytes) = &self.0;
        bytes
    }
}

impl PartialOrd for Seal {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Seal {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

/// The engine asks for byte codecs of keys and signatures; it holds no secret key of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheme;

impl SigningScheme for Scheme {
    type DecodingError = &'static str;
    type Signature = Seal;
    type PublicKey = PublicKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Seal, &'static str> {
        let bytes = bytes.try_into().map_err(|_| "a signature has 64 bytes")?;
        Ok(Seal(Signature::Ed25519(bytes)))
    }

    fn encode_signature(signature: &Seal) -> Vec<u8> {
        signature.bytes().to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, &'static str> {
        let bytes = bytes.try_into().map_err(|_| "a public key has 32 bytes")?;
        Ok(PublicKey::Ed25519(bytes))
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// Ties the types above together.
#[derive(Clone, Debug)]
pub(crate) struct Context;

impl engine::Context for Context {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = Members;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = Scheme;

    fn select_proposer<'a>(
        &self,
        members: &'a Members,
        height: Height,
        round: Round,
    ) -> &'a Member {
        members.proposer(height, round)
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal {
            height,
            round,
            value,
            pol_round,
            proposer,
        }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        validator: Address,
    ) -> Vote {
        Vote {
            kind: VoteType::Prevote,
            height,
            round,
            value,
            validator,
        }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<BlockId>,
        validator: Address,
    ) -> Vote {
        Vote {
            kind: VoteType::Precommit,
            height,
            round,
            value,
            validator,
        }
    }
}
