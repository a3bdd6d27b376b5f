//! Why the law refuses: a closed list with stable numbers, each with its next step.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{AccountId, AppId, LeaseId, NetworkId, NodeId};
use crate::money::{Credits, OutOfRange};
use crate::place::WhyNot;

macro_rules! rejections {
    ($($(#[$doc:meta])* $code:literal $name:literal $variant:ident $({$($(#[$fdoc:meta])* $field:ident: $type:ty),+ $(,)?})? $text:literal => $next:literal),+ $(,)?) => {
        /// Why a transaction changed nothing. The number is part of receipts and of the API, and is never reused.
        #[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
        #[borsh(use_discriminant = true)]
        #[repr(u8)]
        pub enum Rejection {
            $($(#[$doc])* #[error($text)] $variant $({$($(#[$fdoc])* $field: $type),+})? = $code),+
        }

        impl Rejection {
            /// The stable number.
            #[must_use]
            pub const fn code(&self) -> u8 {
                match self { $(Self::$variant $({$($field: _),+})? => $code),+ }
            }

            /// The stable name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant $({$($field: _),+})? => $name),+ }
            }

            /// What to do about it.
            #[must_use]
            pub const fn next_step(&self) -> &'static str {
                match self { $(Self::$variant $({$($field: _),+})? => $next),+ }
            }

            /// Every refusal: its number, its name, what it says and its next step.
            pub const LIST: &'static [(u8, &'static str, &'static str, &'static str)] =
                &[$(($code, $name, $text, $next)),+];
        }
    };
}

rejections! {
    /// The body names another protocol version.
    1 "wrong-version" WrongVersion {
        /// The version it names.
        found: u16,
    } "the transaction speaks protocol version {found}" => "update allod, then sign again",
    /// The body names another network.
    2 "wrong-network" WrongNetwork {
        /// The network it names.
        found: NetworkId,
    } "the transaction is for the network {found}" => "check ALLOD_HOME: it belongs to another network",
    /// There is no such account.
    3 "unknown-account" UnknownAccount {
        /// The account.
        account: AccountId,
    } "the account {account} does not exist" => "receive credits first: the first transfer opens the account",
    /// The key does not belong to the account.
    4 "unknown-key" UnknownKey "the signing key does not belong to the account" => "sign with a key of the account, or add this one: allod keys add",
    /// The key's grant has expired.
    5 "expired-key" ExpiredKey {
        /// When, in block time.
        expired_ms: u64,
    } "the signing key's grant expired at {expired_ms} ms" => "ask the account's owner for a new key: allod keys add",
    /// The nonce is not the key's next one.
    6 "wrong-nonce" WrongNonce {
        /// The nonce that is next.
        expected: u64,
        /// The nonce that came.
        found: u64,
    } "the transaction has nonce {found}; {expected} is next" => "read the key's nonce again and sign again; a lower nonce means it was already used",
    /// Block time has passed the expiry.
    7 "expired" Expired {
        /// Its expiry.
        expires_ms: u64,
    } "the transaction expired at {expires_ms} ms" => "sign again; if it happens every time, check this machine's clock",
    /// The expiry is too far away.
    8 "expiry-too-far" ExpiryTooFar {
        /// Its expiry.
        expires_ms: u64,
    } "the transaction's expiry {expires_ms} ms is more than an hour ahead" => "sign with an expiry within one hour; check this machine's clock",
    /// The actions cost more than the work limit.
    9 "work-limit" WorkLimit {
        /// What the actions cost.
        needed: u64,
        /// What the transaction allows.
        limit: u64,
    } "the transaction needs {needed} work units and allows {limit}" => "raise the work limit, or split the transaction",
    /// No or too many actions.
    10 "action-count" ActionCount {
        /// How many.
        found: u32,
    } "the transaction has {found} actions; 1 to 64 are allowed" => "split the transaction",
    /// The grant does not hold the verb.
    11 "verb-not-granted" VerbNotGranted {
        /// The action's name.
        verb: String,
    } "the signing key may not {verb}" => "ask the account's owner for a key with that verb: allod keys add --verbs",
    /// The grant does not cover the resource.
    12 "resource-not-granted" ResourceNotGranted "the signing key's grant does not cover this resource" => "use a key whose grant names it",
    /// The grant's budget would be exceeded.
    13 "budget-exceeded" BudgetExceeded {
        /// What would be spent or reserved in the period.
        needed: Credits,
        /// What the grant allows in the period.
        allowed: Credits,
    } "the signing key's budget is {allowed} credits for the period; this needs {needed}" => "wait for the next period, or ask for a larger budget",
    /// The account's balance and line do not cover it.
    14 "insufficient-credit" InsufficientCredit {
        /// What is needed.
        needed: Credits,
        /// Balance and line together.
        available: Credits,
    } "this needs {needed} credits; {available} are available" => "receive credits, or ask someone for a line: allod credits balance",
    /// An amount is negative or too large.
    15 "bad-amount" BadAmount "an amount is zero, negative or too large" => "name an amount above zero",
    /// Too many of something.
    16 "too-many" TooMany {
        /// Of what.
        what: String,
    } "too many {what}" => "remove some first",
    /// A field's content is not allowed.
    17 "bad-field" BadField {
        /// Which and why.
        what: String,
    } "{what}" => "correct the field and sign again",
    /// The key is already in use.
    18 "key-exists" KeyExists "the key already belongs to an account" => "make a new key",
    /// The last key that can manage keys cannot go.
    19 "last-key" LastKey "the account would lose its last key that may manage keys" => "add another key first",
    /// There is no such node.
    20 "unknown-node" UnknownNode {
        /// The node.
        node: NodeId,
    } "the node {node} does not exist" => "list nodes: allod node list",
    /// The node belongs to someone else.
    21 "not-your-node" NotYourNode {
        /// The node.
        node: NodeId,
    } "the node {node} belongs to another operator" => "use a key of its operator",
    /// There is no such app.
    22 "unknown-app" UnknownApp {
        /// The app.
        app: AppId,
    } "the app {app} does not exist" => "list apps: allod status",
    /// The app belongs to someone else.
    23 "not-your-app" NotYourApp {
        /// The app.
        app: AppId,
    } "the app {app} belongs to another account" => "use a key of its owner",
    /// The app has no such service.
    24 "unknown-service" UnknownService "the app has no such service" => "list its services: allod status",
    /// The app has no such revision any more.
    25 "unknown-revision" UnknownRevision {
        /// The revision asked for.
        revision: u64,
    } "the app has no revision {revision} to go back to" => "list its revisions: allod status",
    /// Nothing fits.
    26 "no-placement" NoPlacement {
        /// Every rule that refuses every candidate.
        why: WhyNot,
    } "no node can run it: {why}" => "see every rule: allod plan",
    /// There is no such lease.
    27 "unknown-lease" UnknownLease {
        /// The lease.
        lease: LeaseId,
    } "the lease {lease} does not exist" => "read the lease again: it may have been retired",
    /// The lease is for another epoch or has ended.
    28 "stale-lease" StaleLease {
        /// The lease.
        lease: LeaseId,
    } "the lease {lease} has ended or belongs to another epoch" => "obey the newest epoch",
    /// The evidence does not continue where the last ended, or claims too much.
    29 "bad-evidence" BadEvidence {
        /// What is wrong.
        what: String,
    } "the evidence is refused: {what}" => "send evidence that begins where the last ended",
    /// There is no such volume.
    30 "unknown-volume" UnknownVolume "the volume does not exist" => "list volumes: allod volume list",
    /// An app uses the volume.
    31 "volume-in-use" VolumeInUse "an app uses the volume" => "delete the app first",
    /// A sum left the range of credits.
    32 "out-of-range" AmountRange "an amount leaves the range of credits" => "use smaller amounts",
    /// The state changed since the plan was made.
    33 "plan-changed" PlanChanged "the deployment would come to something else than its plan" => "see what it would come to now: allod plan",
    /// The account has no validator to vote with.
    34 "not-a-validator" NotAValidator "the account operates no validator, so it has no vote" => "ask an operator of a validator: allod validator status",
    /// The node does not stand for validator.
    35 "not-standing" NotStanding {
        /// The node.
        node: NodeId,
    } "the node {node} does not stand for validator" => "its operator puts it up first: allod validator stand",
    /// An operator would get a third of the power.
    36 "too-much-power" TooMuchPower {
        /// Who.
        operator: AccountId,
    } "the operator {operator} would hold a third of the votes or more, and could stop the network alone" => "elect validators of other operators first",
    /// Nobody would be left to decide blocks.
    37 "last-validator" LastValidator "the network would have no validator left" => "elect another first: allod validator add",
    /// Whoever gives a lease up is none of its witnesses.
    38 "not-a-witness" NotAWitness {
        /// The lease.
        lease: LeaseId,
    } "the node is no witness of that epoch of the lease {lease}" => "read the lease again: it names its witnesses",
    /// An app is not sealed for a node, nor is it to be.
    39 "not-a-reader" NotAReader {
        /// The node.
        node: NodeId,
    } "the app is not sealed for the node {node}, nor is it to be" => "ask again who lacks it: the law names them",
    /// A validator that signed two things that conflict.
    40 "proven-false" ProvenFalse {
        /// The node.
        node: NodeId,
    } "the node {node} signed two things of which a validator may sign one, and is never elected again" => "stand with another machine, with a key of its own",
    /// Whoever gives a machine up does not watch that life of it.
    41 "not-watching" NotWatching {
        /// The machine.
        node: NodeId,
    } "the node does not watch that life of the node {node}" => "read the state again: it says who watches whom",
}

impl From<OutOfRange> for Rejection {
    fn from(_: OutOfRange) -> Self {
        Self::AmountRange
    }
}

impl Rejection {
    /// A [`Rejection::BadField`] that says what is wrong with which field.
    #[must_use]
    pub(crate) fn field(what: impl Into<String>) -> Self {
        Self::BadField { what: what.into() }
    }

    /// A [`Rejection::TooMany`] of `what`.
    #[must_use]
    pub(crate) fn too_many(what: &str) -> Self {
        Self::TooMany {
            what: what.to_owned(),
        }
    }
}
