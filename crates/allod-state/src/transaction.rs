//! The envelope in which every change arrives, and the one list of the changes there are.
//!
//! A transaction names its network, protocol version, account, key, nonce and expiry under its signature, so that it
//! can be neither replayed, nor carried to another network, nor kept for later. Its actions succeed together or fail
//! together.

use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::account::{AddKey, OpenAccount, RevokeKey, RotateKey};
use crate::app::{AddReaders, Delete, Deploy, Restart, Rollback, Scale};
use crate::apply::Context;
use crate::codec::{self, DecodeError};
use crate::credit::Transfer;
use crate::evidence::SubmitEvidence;
use crate::id::{AccountId, NetworkId, TransactionId};
use crate::key::{BadSignature, Claim, KnownKeys, PublicKey, Signature};
use crate::lease::ReportLease;
use crate::lease::witness::{ReportBack, ReportDeaths};
use crate::limits::TRANSACTION_BYTES_MAX;
use crate::node::{
    CordonNode, DrainNode, PublishOffer, PublishReach, RegisterNode, ReportGone, WithdrawOffer,
};
use crate::reject::Rejection;
use crate::validator::{Leave, ReportConflict, ReportLoss, Stand, Vote};
use crate::volume::{DropVolume, ReportVolume};

/// The protocol version that this law speaks.
pub const PROTOCOL_VERSION: u16 = 1;

const SIGN_DOMAIN: &[u8] = b"allod-tx-v1";
const ID_DOMAIN: &str = "allod transaction id v1";

/// What is signed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Body {
    /// [`PROTOCOL_VERSION`].
    pub version: u16,
    /// The ledger this transaction is for.
    pub network: NetworkId,
    /// On whose behalf.
    pub account: AccountId,
    /// With which of the account's keys.
    pub key: PublicKey,
    /// The number of transactions this key has had in blocks before, failed ones included.
    pub nonce: u64,
    /// Block time, in milliseconds since 1970, from which it is refused.
    pub expires_ms: u64,
    /// The most work units it may use; see [`Action::work`].
    pub work_limit: u64,
    /// What to do, all or nothing.
    pub actions: Vec<Action>,
}

/// A body and the signature of its key.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Transaction {
    /// What is signed.
    pub body: Body,
    /// By `body.key`, over [`Body::sign_bytes`].
    pub signature: Signature,
}

/// A transaction whose signature has been checked. There is no other way to make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Shared, since it is told to the others, waits, and stands in a block.
    transaction: Arc<Transaction>,
    id: TransactionId,
}

impl Body {
    /// The bytes a key signs.
    #[must_use]
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = SIGN_DOMAIN.to_vec();
        bytes.extend_from_slice(&codec::encode(self));
        bytes
    }

    /// The transaction's id. It does not depend on the signature.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        TransactionId(codec::hash(ID_DOMAIN, self))
    }
}

impl Transaction {
    /// Reads a transaction from outside.
    ///
    /// # Errors
    /// Where the bytes are too many or not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode("transaction", TRANSACTION_BYTES_MAX, bytes)
    }

    /// The canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// How many bytes [`Transaction::to_bytes`] gives.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        codec::encoded_len(self)
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// Where it is not the key's.
    pub fn verify(self) -> Result<Verified, BadSignature> {
        Verified::one(Arc::new(self))
    }
}

impl Verified {
    /// As [`Transaction::verify`], of a transaction that is shared already.
    ///
    /// # Errors
    /// Where the signature is not the key's.
    pub fn one(transaction: Arc<Transaction>) -> Result<Self, BadSignature> {
        let body = &transaction.body;
        body.key
            .verify(&body.sign_bytes(), &transaction.signature)?;
        let id = body.id();
        Ok(Self { transaction, id })
    }

    /// Checks many signatures together, which is about twice as fast as one by one.
    ///
    /// # Errors
    /// Where at least one signature is bad; [`Transaction::verify`] tells which.
    pub fn batch<T: Into<Arc<Transaction>>>(
        transactions: Vec<T>,
    ) -> Result<Vec<Self>, BadSignature> {
        Self::batch_knowing(&mut KnownKeys::default(), transactions)
    }

    /// As [`Verified::batch`], faster where keys have signed before.
    ///
    /// # Errors
    /// Where at least one signature is bad.
    pub fn batch_knowing<T: Into<Arc<Transaction>>>(
        keys: &mut KnownKeys,
        transactions: Vec<T>,
    ) -> Result<Vec<Self>, BadSignature> {
        let transactions: Vec<Arc<Transaction>> =
            transactions.into_iter().map(Into::into).collect();
        let messages: Vec<Vec<u8>> = transactions.iter().map(|tx| tx.body.sign_bytes()).collect();
        let claims: Vec<Claim<'_>> = transactions
            .iter()
            .zip(&messages)
            .map(|(tx, message)| Claim {
                key: tx.body.key,
                message,
                signature: tx.signature,
            })
            .collect();
        keys.verify(&claims)?;
        let verified = transactions.into_iter().map(|transaction| {
            let id = transaction.body.id();
            Self { transaction, id }
        });
        Ok(verified.collect())
    }

    /// The transaction.
    #[must_use]
    pub const fn transaction(&self) -> &Arc<Transaction> {
        &self.transaction
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> TransactionId {
        self.id
    }
}

/// One change to the state. Each kind lives in its noun's module.
pub(crate) trait Apply {
    /// The verb that the signing key's grant must hold.
    const VERB: Verb;

    /// How many work units it costs, from its size alone.
    fn work(&self) -> u64;

    /// Validates everything, then changes everything.
    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection>;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $tag:literal $name:literal $kind:ident),+ $(,)?) => {
        /// The changes there are. The tag is the wire tag: it is never reused, and new kinds go last.
        #[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        #[borsh(use_discriminant = true)]
        #[repr(u8)]
        pub enum Action {
            $($(#[$doc])* $kind($kind) = $tag),+
        }

        impl Action {
            /// The names of all kinds.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The kind's name, as receipts and the API show it.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $name),+ }
            }

            /// The verb that the signing key's grant must hold.
            #[must_use]
            pub const fn verb(&self) -> Verb {
                match self { $(Self::$kind(_) => <$kind as Apply>::VERB),+ }
            }

            /// How many work units it costs.
            #[must_use]
            pub fn work(&self) -> u64 {
                match self { $(Self::$kind(action) => action.work()),+ }
            }

            pub(crate) fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
                match self { $(Self::$kind(action) => action.apply(context)),+ }
            }
        }

        $(impl From<$kind> for Action {
            fn from(action: $kind) -> Self {
                Self::$kind(action)
            }
        })+
    };
}

actions! {
    /// Sends credits to another account.
    0 "credit.transfer" Transfer,
    /// Adds a key with a grant.
    1 "key.add" AddKey,
    /// Takes a key away.
    2 "key.revoke" RevokeKey,
    /// Replaces the signing key by another with the same grant.
    3 "key.rotate" RotateKey,
    /// Lists a machine.
    4 "node.register" RegisterNode,
    /// States what a machine gives, and at what price.
    5 "node.offer" PublishOffer,
    /// Stops or resumes placing on a machine.
    6 "node.cordon" CordonNode,
    /// Creates an app or a new revision of it.
    7 "app.deploy" Deploy,
    /// Sets a service's replica count.
    8 "app.scale" Scale,
    /// Replaces every replica by a fresh one.
    9 "app.restart" Restart,
    /// Makes an earlier revision the newest again.
    10 "app.rollback" Rollback,
    /// Ends an app.
    11 "app.delete" Delete,
    /// Tells what became of a lease.
    12 "lease.report" ReportLease,
    /// Tells what leases used, and for how long they were ready.
    13 "evidence.submit" SubmitEvidence,
    /// Gives up a volume that no app uses.
    14 "volume.drop" DropVolume,
    /// Tells that a dropped volume is gone from its node.
    15 "volume.report" ReportVolume,
    /// Opens a newcomer's account.
    16 "account.open" OpenAccount,
    /// States where a machine may be found.
    17 "node.reach" PublishReach,
    /// Puts a machine up for validator.
    18 "validator.stand" Stand,
    /// Votes on whether a machine validates.
    19 "validator.vote" Vote,
    /// Stops standing or validating.
    20 "validator.leave" Leave,
    /// Takes a machine's offer back.
    21 "node.withdraw" WithdrawOffer,
    /// Has what runs on a machine replaced elsewhere.
    22 "node.drain" DrainNode,
    /// Gives up leases whose machine is gone.
    23 "lease.give-up" ReportDeaths,
    /// Tells that a machine which was given up is back.
    24 "node.back" ReportBack,
    /// Wraps an app's key for machines that could take it over.
    25 "app.readers" AddReaders,
    /// Proves that a validator signed two things that conflict.
    26 "validator.conflict" ReportConflict,
    /// Gives up machines that are gone, whatever they hold.
    27 "node.give-up" ReportGone,
    /// Tells that a machine lost what it signed.
    28 "validator.loss" ReportLoss,
}
