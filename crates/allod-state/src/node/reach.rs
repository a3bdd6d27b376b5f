//! Where a machine may be found by its peers: facts that it states itself, and that only ever cost whoever believes them a
//! vain dial, since a peer is proven by its key.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::NodeId;
use crate::limits::{REACH_ADDRESSES_MAX, REACH_RELAYS_MAX};
use crate::reject::Rejection;
use crate::table::Row;
use crate::transaction::Apply;

/// Where a machine may be found.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reach {
    /// Its own addresses, of UDP. None where it is behind a router that lets nobody in.
    pub addresses: BTreeSet<SocketAddr>,
    /// The machines whose relays it listens on.
    pub relayed_by: BTreeSet<NodeId>,
    /// Its own relay, where it relays for others.
    pub relay: Option<Relay>,
}

/// A machine's relay.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Relay {
    /// Its HTTPS door, of TCP.
    pub address: SocketAddr,
    /// BLAKE3 of its certificate (DER).
    pub pin: [u8; 32],
    /// The UDP port where it tells callers their own address.
    pub discovery_port: u16,
}

impl Row for Reach {
    type Key = NodeId;
    const TAG: u8 = 12;
}

/// States where a machine may be found, in place of what it said before.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PublishReach {
    /// The machine.
    pub node: NodeId,
    /// Where it may be found.
    pub reach: Reach,
}

impl Apply for PublishReach {
    const VERB: Verb = Verb::Report;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        if self.reach.addresses.len() > REACH_ADDRESSES_MAX {
            return Err(Rejection::too_many("addresses"));
        }
        if self.reach.relayed_by.len() > REACH_RELAYS_MAX {
            return Err(Rejection::too_many("relays"));
        }
        context.state.put_reach(self.node, self.reach.clone());
        context.emit(Event::ReachPublished { node: self.node });
        Ok(())
    }
}
