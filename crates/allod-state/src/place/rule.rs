//! The rules that a node must pass, in the order in which answers list them.

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
}

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
    (Asks::Terms, offers),
    (Asks::Terms, takes_new),
    (Asks::Node, cpu),
    (Asks::Node, memory),
    (Asks::Node, storage),
    (Asks::Terms, isolation),
    (Asks::Terms, region),
    (Asks::Node, operator),
    (Asks::Terms, tags),
    (Asks::Terms, price),
    (Asks::Node, spread),
    (Asks::Node, volumes),
    (Asks::Node, sealed),
    (Asks::Node, together),
    (Asks::Terms, reachable),
    (Asks::Node, spread_over_operators),
    (Asks::Node, spread_over_regions),
    (Asks::Node, reputation),
];

fn offers(candidate: &Candidate<'_>) -> Result<(), Failing> {
    candidate
        .terms
        .offer
        .as_ref()
        .map(|_| ())
        .ok_or(Failing::NoOffer)
}

fn takes_new(candidate: &Candidate<'_>) -> Result<(), Failing> {
    if candidate.terms.is_cordoned {
        Err(Failing::Cordoned)
    } else {
        Ok(())
    }
}

fn reachable(candidate: &Candidate<'_>) -> Result<(), Failing> {
    if candidate.terms.is_unreachable {
        Err(Failing::Unreachable)
    } else {
        Ok(())
    }
}

fn cpu(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let (needed, free) = (candidate.search.needs.cpu_milli, candidate.free.cpu_milli);
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Cpu { needed, free })
    }
}

fn memory(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let (needed, free) = (
        candidate.search.needs.memory_bytes,
        candidate.free.memory_bytes,
    );
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Memory { needed, free })
    }
}

fn storage(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let needed = candidate.search.needs.storage_bytes;
    let free = candidate.free.storage_bytes;
    if needed <= free {
        Ok(())
    } else {
        Err(Failing::Storage { needed, free })
    }
}

fn isolation(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let wanted = candidate.search.wanted.demand.isolation;
    match &candidate.terms.offer {
        Some(offer) if !offer.isolation.contains(&wanted) => Err(Failing::Isolation { wanted }),
        _ => Ok(()),
    }
}

fn region(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let allowed = &candidate.search.wanted.demand.constraints.regions;
    let Some(offer) = candidate
        .terms
        .offer
        .as_ref()
        .filter(|_| !allowed.is_empty())
    else {
        return Ok(());
    };
    let inside = |wanted: &Word| {
        let rest = offer.region.as_str().strip_prefix(wanted.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if allowed.iter().any(inside) {
        Ok(())
    } else {
        Err(Failing::Region {
            region: offer.region.clone(),
        })
    }
}

fn operator(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let constraints = &candidate.search.wanted.demand.constraints;
    let operator = candidate.operator;
    let allowed = &constraints.operators_allowed;
    let is_allowed = allowed.is_empty() || allowed.contains(&operator);
    if is_allowed && !constraints.operators_denied.contains(&operator) {
        Ok(())
    } else {
        Err(Failing::Operator { operator })
    }
}

fn tags(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let Some(offer) = &candidate.terms.offer else {
        return Ok(());
    };
    let lacking = candidate
        .search
        .wanted
        .demand
        .constraints
        .tags
        .difference(&offer.tags)
        .next();
    lacking.map_or(Ok(()), |tag| Err(Failing::Tag { tag: tag.clone() }))
}

fn price(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let Some(max) = candidate
        .search
        .wanted
        .demand
        .constraints
        .price_per_hour_max
    else {
        return Ok(());
    };
    match candidate.price_per_hour() {
        Some(price) if price > max => Err(Failing::Price { price, max }),
        _ => Ok(()),
    }
}

fn spread(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let constraints = &candidate.search.wanted.demand.constraints;
    let Some(max) = constraints.replicas_per_node_max else {
        return Ok(());
    };
    let count = candidate.neighbours;
    if count >= max {
        return Err(Failing::Spread { count, max });
    }
    Ok(())
}

fn spread_over_operators(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let Some(max) = search.wanted.demand.constraints.replicas_per_operator_max else {
        return Ok(());
    };
    let operator = candidate.operator;
    let count = search.by_operator.get(&operator).copied().unwrap_or(0);
    if count < max {
        return Ok(());
    }
    Err(Failing::SpreadOperator {
        operator,
        count,
        max,
    })
}

fn spread_over_regions(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let max = search.wanted.demand.constraints.replicas_per_region_max;
    let Some((max, offer)) = max.zip(candidate.terms.offer.as_ref()) else {
        return Ok(());
    };
    let count = search.by_region.get(&offer.region).copied().unwrap_or(0);
    if count < max {
        return Ok(());
    }
    Err(Failing::SpreadRegion {
        region: offer.region.clone(),
        count,
        max,
    })
}

fn reputation(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    let Some(wanted_ppm) = search.wanted.demand.constraints.reputation_ppm_min else {
        return Ok(());
    };
    let found_ppm = search.state.reputation_ppm(&candidate.id);
    if found_ppm >= wanted_ppm {
        return Ok(());
    }
    Err(Failing::Reputation {
        found_ppm,
        wanted_ppm,
    })
}

fn volumes(candidate: &Candidate<'_>) -> Result<(), Failing> {
    let search = candidate.search;
    if let Some(node) = search.volumes_on.iter().find(|node| **node != candidate.id) {
        return Err(Failing::VolumeElsewhere { node: *node });
    }
    if search.is_volume_held {
        return Err(Failing::VolumeHeld);
    }
    Ok(())
}

fn sealed(candidate: &Candidate<'_>) -> Result<(), Failing> {
    match &candidate.search.readers {
        Some(readers) if !readers.contains(&candidate.id) => Err(Failing::NotSealed),
        _ => Ok(()),
    }
}

fn together(candidate: &Candidate<'_>) -> Result<(), Failing> {
    match candidate.search.together_on {
        Some(node) if node != candidate.id => Err(Failing::Apart { node }),
        _ => Ok(()),
    }
}
