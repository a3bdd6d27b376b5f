//! The rules that a node must pass, in the order in which answers list them. Each is a file and a line in [`RULES`].

mod attested;
mod capacity;
mod credit;
mod isolation;
mod offer;
mod operator;
mod price;
mod reachable;
mod region;
mod reputation;
mod sealed;
mod spread;
mod tag;
mod together;
mod volume;

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, NodeId};
use crate::money::Credits;
use crate::node::{Isolation, WHOLE_PPM};
use crate::place::search::Candidate;
use crate::size::Size;
use crate::text::Word;

/// A rule that refuses a node, with both sides of what it compared.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Failing {
    /// The node offers nothing.
    #[error("it offers nothing yet")]
    NoOffer,
    /// The node takes no new replicas.
    #[error("it is cordoned")]
    Cordoned,
    /// Too little CPU is free; for the whole app, where it stays together and nothing of it runs yet.
    #[error("needs {needed} milli-CPU, {free} free")]
    Cpu {
        /// Thousandths of a core needed.
        needed: u64,
        /// Thousandths of a core free.
        free: u64,
    },
    /// Too little memory is free, in the same way.
    #[error("needs {} of memory, {} free", Size::ceil(*needed), Size::floor(*free))]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// Too little disk is free, in the same way.
    #[error("needs {} of disk, {} free", Size::ceil(*needed), Size::floor(*free))]
    Storage {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// The node does not run this isolation class.
    #[error("does not run {wanted:?} workloads")]
    Isolation {
        /// The class wanted.
        wanted: Isolation,
    },
    /// The node is elsewhere.
    #[error("is in region {region}, which is not allowed")]
    Region {
        /// Where it is.
        region: Word,
    },
    /// The operator is denied or not among those allowed.
    #[error("its operator {operator} is not allowed")]
    Operator {
        /// Who operates it.
        operator: AccountId,
    },
    /// The node lacks a tag.
    #[error("lacks the tag {tag}")]
    Tag {
        /// The tag.
        tag: Word,
    },
    /// A replica-hour costs too much.
    #[error("asks {price} credits an hour, more than {max}")]
    Price {
        /// What it asks.
        price: Credits,
        /// What is allowed.
        max: Credits,
    },
    /// The node has enough replicas of the service.
    #[error("already has {count} replicas of the service, and {max} are allowed on one node")]
    Spread {
        /// How many it has.
        count: u32,
        /// How many are allowed.
        max: u32,
    },
    /// The operator has enough replicas of the service.
    #[error(
        "its operator {operator} already has {count} replicas of the service, and {max} are allowed"
    )]
    SpreadOperator {
        /// Who operates it.
        operator: AccountId,
        /// How many there are on the operator's nodes.
        count: u32,
        /// How many are allowed.
        max: u32,
    },
    /// The region has enough replicas of the service.
    #[error(
        "the region {region} already has {count} replicas of the service, and {max} are allowed"
    )]
    SpreadRegion {
        /// Where it is.
        region: Word,
        /// How many there are.
        count: u32,
        /// How many are allowed.
        max: u32,
    },
    /// Another replica writes to the volume.
    #[error("another service of the app writes to the volume; end that one first")]
    VolumeHeld,
    /// A volume's data are on another node.
    #[error("the volume's data are on {node}")]
    VolumeElsewhere {
        /// Where they are.
        node: NodeId,
    },
    /// The node cannot read what it would have to run.
    #[error(
        "the app is not sealed for it; deploying again seals it for nodes that have room now, unless its image was handed to one node"
    )]
    NotSealed,
    /// Witnesses have given the node up.
    #[error("it is not reached: its witnesses have given it up, and it has not come back")]
    Unreachable,
    /// The app's other replicas are on another node.
    #[error("the app's other services run on {node}, and they are to be together")]
    Apart {
        /// Where they are.
        node: NodeId,
    },
    /// Others have seen too little of the node, or saw it fail.
    #[error("has a reputation of {}, and at least {} is wanted", Share(*found_ppm), Share(*wanted_ppm))]
    Reputation {
        /// What it has, in parts of a million.
        found_ppm: u32,
        /// What is wanted.
        wanted_ppm: u32,
    },
    /// Others have not seen the node for long enough.
    #[error("was seen by others for {} h, and at least {} h are wanted", found_ms / HOUR_MS, wanted_ms.div_ceil(HOUR_MS))]
    Attested {
        /// For how long machines of other operators saw it there, in milliseconds.
        found_ms: u64,
        /// For how long they should have.
        wanted_ms: u64,
    },
    /// Data of a volume were given up, and are not removed yet.
    #[error(
        "earlier data of the volume were given up and are being removed on {node}; try again in a moment"
    )]
    VolumeLeaving {
        /// Where they are.
        node: NodeId,
    },
    /// The payer's credits do not bear it, beside what else runs for the payer on machines of others.
    #[error(
        "asks {price} credits an hour, and the payer's credits bear {max} more on machines of others"
    )]
    Credit {
        /// What it asks.
        price: Credits,
        /// What may be added.
        max: Credits,
    },
}

const HOUR_MS: u64 = 3_600_000;

/// Parts of a million, written as a decimal fraction.
struct Share(u32);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = format!(
            "{}.{:06}",
            self.0 / WHOLE_PPM,
            self.0.checked_rem(WHOLE_PPM).unwrap_or(0)
        );
        let short = whole.trim_end_matches('0');
        f.write_str(short)?;
        f.write_str(if short.ends_with('.') { "0" } else { "" })
    }
}

pub(crate) type Rule = fn(&Candidate<'_>) -> Result<(), Failing>;

/// What a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Only at what nodes with the same terms have in common.
    Terms,
    /// At the node itself, its operator or what it has left.
    Node,
}

/// Every rule. Their order is the order of answers; all must pass, so it changes no placement.
pub(crate) const RULES: &[(Asks, Rule)] = &[
    (Asks::Terms, offer::offers),
    (Asks::Terms, offer::takes_new),
    (Asks::Node, capacity::cpu),
    (Asks::Node, capacity::memory),
    (Asks::Node, capacity::storage),
    (Asks::Terms, isolation::isolation),
    (Asks::Terms, region::region),
    (Asks::Node, operator::operator),
    (Asks::Terms, tag::tags),
    (Asks::Terms, price::price),
    (Asks::Node, spread::on_one_node),
    (Asks::Node, volume::volumes),
    (Asks::Node, sealed::sealed),
    (Asks::Node, together::together),
    (Asks::Terms, reachable::reachable),
    (Asks::Node, spread::with_one_operator),
    (Asks::Node, spread::in_one_region),
    (Asks::Node, reputation::reputation),
    (Asks::Node, attested::attested),
    (Asks::Node, credit::credit),
];
