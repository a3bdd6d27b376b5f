//! How machines become validators and stop being ones.
//!
//! Rules:
//! 1. A machine stands by its operator's word, and is elected, or dismissed, by validators with more than two thirds of
//!    the power. An operator votes with all its validators at once.
//! 2. Who is elected validates from the next block on, once there are [`VALIDATORS_MIN`] elected: two or three that all
//!    have to agree would stop with the first that fails, and are worse than one. Whoever is dismissed, or leaves, stops
//!    at the next block. The last one stays.
//!    Whoever is proven false is never elected again ([`crate::validator::ReportConflict`]).
//! 3. No election gives an operator a third of the power, except where all who are elected are one operator's.
//!
//! Each block's header names the hash of the set that decides the next one, so a certificate is checked against the set
//! that the chain itself has chosen; two sets never decide one height.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::grant::Verb;
use crate::apply::Context;
use crate::event::Event;
use crate::id::{AccountId, NodeId};
use crate::key::PublicKey;
use crate::limits::{EFFORT_PER_SLOT, VALIDATORS_MAX, VALIDATORS_MIN};
use crate::node::Node;
use crate::reject::Rejection;
use crate::state::State;
use crate::table::Row;
use crate::transaction::Apply;
use crate::validator::ValidatorSet;

/// A machine that stands or is elected.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Seat {
    /// The validators that voted for a change: to elect it, or where it is elected, to dismiss it.
    pub votes: BTreeSet<PublicKey>,
    /// Whether it is proven false, and so is never elected; see [`crate::validator::ReportConflict`].
    pub is_barred: bool,
}

impl Row for Seat {
    type Key = NodeId;
    const TAG: u8 = 13;
}

/// Puts a machine up for election.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Stand {
    /// The machine.
    pub node: NodeId,
}

/// Votes with every validator of the signing account on whether a machine is to validate. A vote for what is so already
/// takes back the one for a change.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Vote {
    /// The machine.
    pub node: NodeId,
    /// Whether it is to validate.
    pub is_in: bool,
}

/// Takes a machine out of the validators, or out of those that stand.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Leave {
    /// The machine.
    pub node: NodeId,
}

impl Apply for Stand {
    const VERB: Verb = Verb::Validate;

    fn work(&self) -> u64 {
        50
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        context.own_node(&self.node)?;
        match context.state.seat(&self.node) {
            Some(seat) if seat.is_barred => return Err(Rejection::ProvenFalse { node: self.node }),
            Some(_) => {}
            None => {
                context.state.put_seat(self.node, Seat::default());
                context.emit(Event::ValidatorStands { node: self.node });
            }
        }
        Ok(())
    }
}

impl Apply for Vote {
    const VERB: Verb = Verb::Validate;

    fn work(&self) -> u64 {
        100
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.state.node(&self.node);
        let node = node.ok_or(Rejection::UnknownNode { node: self.node })?;
        let validators = context.state.validators();
        context.toil(validators.count().saturating_mul(EFFORT_PER_SLOT));
        let own = validators_of(context, &validators);
        if own.is_empty() {
            return Err(Rejection::NotAValidator);
        }
        let elected = context.state.elected();
        let is_elected = elected.power(&node.key) > 0;
        let seat = context.state.seat(&self.node);
        let mut seat = match seat {
            Some(seat) if seat.is_barred => return Err(Rejection::ProvenFalse { node: self.node }),
            None if !is_elected => return Err(Rejection::NotStanding { node: self.node }),
            seat => seat.unwrap_or_default(),
        };
        // Whoever stopped validating has no say any more.
        seat.votes.retain(|key| validators.power(key) > 0);
        let (is_in, wants_change) = (self.is_in, self.is_in != is_elected);
        if wants_change {
            seat.votes.extend(own);
        } else {
            seat.votes.retain(|key| !own.contains(key));
        }
        let power = power_of(&seat.votes, &validators);
        match (wants_change && validators.is_quorum(power), is_in) {
            (false, _) => context.state.put_seat(self.node, seat),
            (true, true) => {
                elect(context, &elected, &node)?;
                context.state.put_seat(self.node, Seat::default());
            }
            (true, false) => {
                dismiss(context, &elected, &node)?;
                context.state.remove_seat(&self.node);
            }
        }
        let (node, by) = (self.node, context.account());
        context.emit(Event::ValidatorVoted { node, by, is_in });
        seat_elected(context);
        Ok(())
    }
}

impl Apply for Leave {
    const VERB: Verb = Verb::Validate;

    fn work(&self) -> u64 {
        100
    }

    fn apply(&self, context: &mut Context<'_>) -> Result<(), Rejection> {
        let node = context.own_node(&self.node)?;
        let elected = context.state.elected();
        context.toil(elected.count().saturating_mul(EFFORT_PER_SLOT));
        let seat = context.state.seat(&self.node);
        if seat.as_ref().is_some_and(|seat| seat.is_barred) {
            return Err(Rejection::ProvenFalse { node: self.node });
        }
        if elected.power(&node.key) > 0 {
            dismiss(context, &elected, &node)?;
        } else if seat.is_none() {
            return Err(Rejection::NotStanding { node: self.node });
        }
        context.state.remove_seat(&self.node);
        context.emit(Event::ValidatorLeft { node: self.node });
        seat_elected(context);
        Ok(())
    }
}

/// The keys of the validators that the actor may vote with.
fn validators_of(context: &Context<'_>, validators: &ValidatorSet) -> BTreeSet<PublicKey> {
    let keys = validators.iter().map(|(key, _)| *key);
    let is_own = |key: &PublicKey| {
        let node = NodeId::of_first_key(key);
        let operator = context.state.operator_of(&node);
        operator == Some(context.account()) && context.grant().covers_node(&node)
    };
    keys.filter(is_own).collect()
}

/// The power of several keys together.
fn power_of<'a>(keys: impl IntoIterator<Item = &'a PublicKey>, validators: &ValidatorSet) -> u64 {
    let powers = keys.into_iter().map(|key| validators.power(key));
    powers.fold(0, u64::saturating_add)
}

fn elect(context: &mut Context<'_>, elected: &ValidatorSet, node: &Node) -> Result<(), Rejection> {
    if elected.count() >= VALIDATORS_MAX {
        return Err(Rejection::too_many("validators"));
    }
    let with = elected.with(node.key, 1);
    let held = held_by(context.state, &with, &node.operator);
    let total = with.total_power().max(VALIDATORS_MIN);
    if held < with.total_power() && held.saturating_mul(3) >= total {
        return Err(Rejection::TooMuchPower {
            operator: node.operator,
        });
    }
    context.state.put_elected(with);
    Ok(())
}

pub(super) fn dismiss(
    context: &mut Context<'_>,
    elected: &ValidatorSet,
    node: &Node,
) -> Result<(), Rejection> {
    let without = elected.with(node.key, 0);
    if without.count() == 0 {
        return Err(Rejection::LastValidator);
    }
    context.state.put_elected(without);
    Ok(())
}

/// The power of all validators of one operator together.
fn held_by(state: &State, validators: &ValidatorSet, operator: &AccountId) -> u64 {
    let of = |key: &PublicKey| state.operator_of(&NodeId::of_first_key(key));
    let keys = validators.iter().map(|(key, _)| key);
    power_of(keys.filter(|key| of(key) == Some(*operator)), validators)
}

/// Lets those validate who are elected, as the rules above say.
pub(super) fn seat_elected(context: &mut Context<'_>) {
    let (elected, now) = (context.state.elected(), context.state.validators());
    let staying = now.among(&elected);
    let next = if elected.count() >= VALIDATORS_MIN || staying.count() == 0 {
        elected
    } else {
        staying
    };
    if next != now {
        let count = next.count();
        context.state.put_validators(next);
        context.emit(Event::ValidatorsChanged { count });
    }
}
