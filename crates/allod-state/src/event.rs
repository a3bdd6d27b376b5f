//! What happened, as the law tells it: the raw material of `allod events`.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::id::{AccountId, AppId, Label, LeaseId, NodeId};
use crate::key::PublicKey;
use crate::lease::EndCause;
use crate::money::Credits;
use crate::place::WhyNot;

/// One fact about a block, in order.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Event {
    /// Credits moved by a transfer.
    Transferred {
        /// From.
        from: AccountId,
        /// To.
        to: AccountId,
        /// How much.
        amount: Credits,
        /// Why, in the sender's words.
        memo: String,
    },
    /// A key joined an account.
    KeyAdded {
        /// The account.
        account: AccountId,
        /// The key.
        key: PublicKey,
    },
    /// A key left an account.
    KeyRevoked {
        /// The account.
        account: AccountId,
        /// The key.
        key: PublicKey,
    },
    /// A key took over from another.
    KeyRotated {
        /// The account.
        account: AccountId,
        /// The key that went.
        old: PublicKey,
        /// The key that came.
        new: PublicKey,
    },
    /// A machine was listed.
    NodeRegistered {
        /// The node.
        node: NodeId,
        /// Who operates it.
        operator: AccountId,
    },
    /// A machine's offer changed.
    OfferPublished {
        /// The node.
        node: NodeId,
    },
    /// A node began or stopped refusing new replicas.
    NodeCordoned {
        /// The node.
        node: NodeId,
        /// Whether it refuses them now.
        cordoned: bool,
    },
    /// An app got a new revision.
    AppDeployed {
        /// The app.
        app: AppId,
        /// The revision's number.
        revision: u64,
    },
    /// A service's replica count changed.
    AppScaled {
        /// The app.
        app: AppId,
        /// The service.
        service: Label,
        /// The new count.
        replicas: u32,
    },
    /// Replicas are being replaced by fresh ones.
    AppRestarted {
        /// The app.
        app: AppId,
    },
    /// An app ended.
    AppDeleted {
        /// The app.
        app: AppId,
    },
    /// A new revision failed so often that the old one keeps serving.
    RolloutFailed {
        /// The app.
        app: AppId,
        /// The service.
        service: Label,
        /// The revision that failed.
        revision: u64,
        /// Its last failure.
        cause: EndCause,
    },
    /// A replica got a node.
    LeasePlaced {
        /// The app.
        app: AppId,
        /// The service.
        service: Label,
        /// The replica.
        replica: u32,
        /// The lease.
        lease: LeaseId,
        /// Its fencing token.
        epoch: u64,
        /// The node.
        node: NodeId,
    },
    /// A replica found no node.
    PlacementRefused {
        /// The app.
        app: AppId,
        /// The service.
        service: Label,
        /// The replica.
        replica: u32,
        /// Every rule that refuses every candidate.
        why: WhyNot,
    },
    /// A replica began, or stopped, being ready.
    LeaseReadiness {
        /// The app.
        app: AppId,
        /// The lease.
        lease: LeaseId,
        /// Whether it is ready now.
        is_ready: bool,
    },
    /// A lease ended.
    LeaseEnded {
        /// The app.
        app: AppId,
        /// The lease.
        lease: LeaseId,
        /// Why.
        cause: EndCause,
    },
    /// A lease was charged.
    LeaseCharged {
        /// The lease.
        lease: LeaseId,
        /// Who pays.
        payer: AccountId,
        /// Who is paid.
        payee: AccountId,
        /// How much.
        amount: Credits,
    },
    /// A volume was given up.
    VolumeDropped {
        /// Whose.
        owner: AccountId,
        /// Which.
        volume: Label,
    },
    /// A newcomer's account was opened.
    AccountOpened {
        /// The account.
        account: AccountId,
        /// Who invited it.
        by: AccountId,
    },
    /// A machine said where it may be found.
    ReachPublished {
        /// The node.
        node: NodeId,
    },
    /// A machine stands for validator.
    ValidatorStands {
        /// The node.
        node: NodeId,
    },
    /// An operator of validators voted.
    ValidatorVoted {
        /// On which node.
        node: NodeId,
        /// Who.
        by: AccountId,
        /// Whether it is to validate.
        is_in: bool,
    },
    /// A machine stopped standing or validating by its operator's will.
    ValidatorLeft {
        /// The node.
        node: NodeId,
    },
    /// Other validators decide from the next block on.
    ValidatorsChanged {
        /// How many.
        count: u64,
    },
    /// A node's offer was taken back.
    OfferWithdrawn {
        /// The node.
        node: NodeId,
    },
    /// A node's replicas are to go elsewhere.
    NodeDrained {
        /// The node.
        node: NodeId,
    },
    /// A node was given up by witnesses, or has come back.
    NodeReachable {
        /// The node.
        node: NodeId,
        /// Whether it is back.
        is_reachable: bool,
    },
    /// A validator signed two things that conflict, and decides no more.
    ValidatorBarred {
        /// Its node.
        node: NodeId,
        /// The height for which it signed them.
        height: u64,
    },
    /// An app was sealed for further machines, which could take it over.
    ReadersAdded {
        /// The app.
        app: AppId,
        /// The revision.
        revision: u64,
    },
    /// A machine may have signed what it no longer knows; what it signs from the next block on cannot conflict.
    SignaturesLost {
        /// The node.
        node: NodeId,
    },
}

impl Event {
    /// The app that the event is about, where it is about one.
    #[must_use]
    pub const fn app(&self) -> Option<AppId> {
        match self {
            Self::AppDeployed { app, .. }
            | Self::ReadersAdded { app, .. }
            | Self::AppScaled { app, .. }
            | Self::AppRestarted { app }
            | Self::AppDeleted { app }
            | Self::RolloutFailed { app, .. }
            | Self::LeasePlaced { app, .. }
            | Self::PlacementRefused { app, .. }
            | Self::LeaseReadiness { app, .. }
            | Self::LeaseEnded { app, .. } => Some(*app),
            _ => None,
        }
    }
}
