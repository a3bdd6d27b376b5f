//! Machines, what they offer, and where they may be found.

mod absence;
mod reach;
mod uptime;

pub use absence::{Life, ReportGone, Roll};
pub(crate) use absence::{lose, presence_changed};
pub use reach::{PublishReach, Reach, Relay};
pub use uptime::{Counting, Day, Uptime, WHOLE_PPM};
pub(crate) use uptime::{DAY_MS, ended, settle, stood_still};

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::account::KeyRecord;
use crate::account::grant::{Grant, Verb};
use crate::apply::Context;
use crate::codec;
use crate::event::Event;
use crate::id::{AccountId, NodeId};
use crate::key::{PublicKey, Signature, can_be_sealed_to};
use crate::limits::{
    CONSTRAINT_ENTRIES_MAX, EFFORT_PER_LEASE, EFFORT_PER_SIGNATURE, KEYS_PER_ACCOUNT_MAX,
    NODES_PER_ACCOUNT_MAX,
};
use crate::money::{Credits, OutOfRange};
use crate::place;
use crate::reject::Rejection;
use crate::table::Row;
use crate::text::Word;
use crate::transaction::Apply;

/// What a workload needs or a machine gives.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Resources {
    /// Thousandths of a CPU core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of disk, volumes included.
    pub storage_bytes: u64,
}

impl Resources {
    /// Both together; stops at the largest number.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            storage_bytes: self.storage_bytes.saturating_add(other.storage_bytes),
        }
    }

    /// So many of them; stops at the largest number.
    pub(crate) fn times(self, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            cpu_milli: self.cpu_milli.saturating_mul(count),
            memory_bytes: self.memory_bytes.saturating_mul(count),
            storage_bytes: self.storage_bytes.saturating_mul(count),
        }
    }

    /// Of each the larger.
    pub(crate) fn most(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            storage_bytes: self.storage_bytes.max(other.storage_bytes),
        }
    }

    /// How many of the three `other` has too little of.
    pub(crate) fn lacking_in(&self, other: &Self) -> u8 {
        u8::from(self.cpu_milli > other.cpu_milli)
            .saturating_add(u8::from(self.memory_bytes > other.memory_bytes))
            .saturating_add(u8::from(self.storage_bytes > other.storage_bytes))
    }

    /// What is left after taking `other` away; never below zero.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_sub(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            storage_bytes: self.storage_bytes.saturating_sub(other.storage_bytes),
        }
    }
}

/// How strongly a workload is kept apart from its host and neighbours.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A container: one kernel for host and tenant, for people who trust each other.
    Container,
    /// A virtual machine.
    Vm,
    /// WebAssembly.
    Wasm,
}

/// What a node asks for one hour of each resource, in credits.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Prices {
    /// For one CPU core.
    pub cpu_core_hour: Credits,
    /// For one GiB of memory.
    pub memory_gib_hour: Credits,
    /// For one GiB of disk.
    pub storage_gib_hour: Credits,
}

const GIB: u64 = 1024 * 1024 * 1024;

impl Prices {
    /// The price of `resources` for one hour, each part rounded up.
    ///
    /// # Errors
    /// Where the sum leaves the range of credits.
    pub fn per_hour(&self, resources: &Resources) -> Result<Credits, OutOfRange> {
        let cpu = self.cpu_core_hour.mul_div_ceil(resources.cpu_milli, 1000)?;
        let memory = self
            .memory_gib_hour
            .mul_div_ceil(resources.memory_bytes, GIB)?;
        let storage = self
            .storage_gib_hour
            .mul_div_ceil(resources.storage_bytes, GIB)?;
        cpu.plus(memory)?.plus(storage)
    }

    fn are_nameable(&self) -> bool {
        [
            self.cpu_core_hour,
            self.memory_gib_hour,
            self.storage_gib_hour,
        ]
        .iter()
        .all(|price| price.is_nameable() && price.micro() <= PRICE_MICRO_MAX)
    }
}

/// A million credits per hour and unit: with [`Resources`] capped below, prices stay far inside the range.
const PRICE_MICRO_MAX: i128 = 1_000_000_000_000;

/// What a node gives, at what price.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Offer {
    /// All it gives, to all leases together.
    pub capacity: Resources,
    /// What it asks.
    pub prices: Prices,
    /// The isolation classes it can run.
    pub isolation: BTreeSet<Isolation>,
    /// Where it is, as its operator says.
    pub region: Word,
    /// What its operator says of it.
    pub tags: BTreeSet<Word>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Node {
    /// Who operates it and is paid for it.
    pub operator: AccountId,
    /// The key it signs with.
    pub key: PublicKey,
    /// The X25519 key that manifests are sealed to for it.
    pub sealing_key: [u8; 32],
    /// What its operator calls it.
    pub name: Word,
    /// What it gives; nothing until it says so.
    pub offer: Option<Offer>,
    /// Whether it takes no new replicas.
    pub is_cordoned: bool,
    /// Whether those that it has are to go elsewhere.
    pub is_draining: bool,
    /// Whether witnesses have given it up, and it has not come back.
    pub is_unreachable: bool,
    /// How often it has come back: what was said of an earlier life says nothing of this one.
    pub life: u64,
    /// Those that have said in this life that it is gone, and the block time of that.
    pub given_up_by: BTreeMap<NodeId, u64>,
    /// Block time of its registration.
    pub registered_ms: u64,
}

impl Row for Node {
    type Key = NodeId;
    const TAG: u8 = 3;
}

impl NodeId {
    /// The node that begins with `key`.
    #[must_use]
    pub fn of_first_key(key: &PublicKey) -> Self {
        Self(codec::hash("allod node v1", key))
    }
}

/// Lists a machine under the signing account. The machine's own key joins the account with the verb `report` only.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegisterNode {
    /// The machine's key.
    pub key: PublicKey,
    /// By the machine's key over [`RegisterNode::consent_bytes`]: nobody lists a machine that did not agree.
    pub consent: Signature,
    /// The X25519 key that manifests are sealed to for it.
    pub sealing_key: [u8; 32],
    /// What its operator calls it.
    pub name: Word,
}

impl RegisterNode {
    /// What the machine signs.
    #[must_use]
    pub fn consent_bytes(operator: &AccountId, sealing_key: &[u8; 32]) -> Vec<u8> {
        let mut bytes = b"allod-node-v1".to_vec();
        bytes.extend_from_slice(operator.as_bytes());
        bytes.extend_from_slice(sealing_key);
        bytes
    }
}

impl Apply for RegisterNode {
    const VERB: Verb = Verb::Nodes;

    fn work(&self) -> u64 {
        200
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let operator = context.account();
        context.toil(EFFORT_PER_SIGNATURE);
        let consent = Self::consent_bytes(&operator, &self.sealing_key);
        if self.key.verify(&consent, &self.consent).is_err() {
            return Err(Rejection::field(
                "the machine's key did not agree to be listed by this account",
            ));
        }
        if !can_be_sealed_to(&self.sealing_key) {
            return Err(Rejection::field(
                "nothing can be sealed to the machine's sealing key: it is a point of low order",
            ));
        }
        let id = NodeId::of_first_key(&self.key);
        if !context.grant().covers_node(&id) {
            return Err(Rejection::ResourceNotGranted);
        }
        if context.state.node(&id).is_some() || context.state.key(&operator, &self.key).is_some() {
            return Err(Rejection::KeyExists);
        }
        let mut owner = context.state.account_or_reject(&operator)?;
        if owner.nodes >= NODES_PER_ACCOUNT_MAX || owner.keys >= KEYS_PER_ACCOUNT_MAX {
            return Err(Rejection::too_many("nodes or keys"));
        }
        owner.nodes = owner.nodes.saturating_add(1);
        owner.keys = owner.keys.saturating_add(1);
        let nonce = owner.nonce_floor;
        context.state.put_account(operator, owner);
        let record = KeyRecord::new(Grant::of_node(id), nonce, context.now_ms);
        context.state.put_key(operator, self.key, record);
        let node = Node {
            operator,
            key: self.key,
            sealing_key: self.sealing_key,
            name: self.name.clone(),
            offer: None,
            is_cordoned: false,
            is_draining: false,
            is_unreachable: false,
            life: 0,
            given_up_by: BTreeMap::new(),
            registered_ms: context.now_ms,
        };
        context.state.put_node(id, node);
        presence_changed(context, &id);
        context.emit(Event::NodeRegistered { node: id, operator });
        Ok(())
    }
}

/// States what a machine gives and asks; leases that run keep the price they were placed at.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublishOffer {
    /// The machine.
    pub node: NodeId,
    /// Its offer.
    pub offer: Offer,
}

impl Apply for PublishOffer {
    const VERB: Verb = Verb::Nodes;

    fn work(&self) -> u64 {
        100
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        if !self.offer.prices.are_nameable() {
            return Err(Rejection::BadAmount);
        }
        let Resources {
            cpu_milli,
            memory_bytes,
            storage_bytes,
        } = self.offer.capacity;
        if cpu_milli > 1_000_000_000 || memory_bytes > 1 << 50 || storage_bytes > 1 << 60 {
            return Err(Rejection::field(
                "the offer's capacity is larger than any machine",
            ));
        }
        if self.offer.tags.len() > CONSTRAINT_ENTRIES_MAX {
            return Err(Rejection::too_many("tags"));
        }
        context.state.put_node(
            self.node,
            Node {
                offer: Some(self.offer.clone()),
                ..node
            },
        );
        settle(context, &self.node);
        context.emit(Event::OfferPublished { node: self.node });
        Ok(())
    }
}

/// Takes a machine's offer back: nothing new is placed there. What runs there stays, at its price.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WithdrawOffer {
    /// The machine.
    pub node: NodeId,
}

impl Apply for WithdrawOffer {
    const VERB: Verb = Verb::Nodes;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        let offer = None;
        context.state.put_node(self.node, Node { offer, ..node });
        settle(context, &self.node);
        context.emit(Event::OfferWithdrawn { node: self.node });
        Ok(())
    }
}

/// Stops placing on a machine, and has what runs there replaced elsewhere: of each service one replica after the other,
/// the new one first where the service allows it. What fits nowhere else stays, and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DrainNode {
    /// The machine.
    pub node: NodeId,
}

impl Apply for DrainNode {
    const VERB: Verb = Verb::Nodes;

    fn work(&self) -> u64 {
        200
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        context.state.put_node(
            self.node,
            Node {
                is_cordoned: true,
                is_draining: true,
                ..node
            },
        );
        context.emit(Event::NodeDrained { node: self.node });
        let mut services = BTreeSet::new();
        for id in context.state.active_leases_on(&self.node) {
            context.toil(EFFORT_PER_LEASE);
            let lease = context.state.lease_row(&id);
            services.extend(lease.map(|lease| (lease.app, lease.service)));
        }
        for (app, service) in services {
            context.check_effort()?;
            place::roll_on(context, &app, &service);
        }
        Ok(())
    }
}

/// Stops or resumes placing on a machine; what runs there stays. Resuming ends a drain.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CordonNode {
    /// The machine.
    pub node: NodeId,
    /// Whether it takes no new replicas.
    pub is_cordoned: bool,
}

impl Apply for CordonNode {
    const VERB: Verb = Verb::Nodes;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        context.state.put_node(
            self.node,
            Node {
                is_cordoned: self.is_cordoned,
                is_draining: self.is_cordoned && node.is_draining,
                ..node
            },
        );
        context.emit(Event::NodeCordoned {
            node: self.node,
            cordoned: self.is_cordoned,
        });
        if node.is_draining && !self.is_cordoned {
            place::stay(context, &self.node)?;
        }
        Ok(())
    }
}
