//! Seats: every open connection has one, and together they are the queue of this door.
//!
//! HTTP/1.1 has one request at a time on a connection, so whoever bounds the connections of a class bounds the requests
//! of that class too, and how long they wait for one another. There are three classes, and none takes another's room:
//!
//! - *Strangers*: a connection is a stranger's until a request on it was signed with a known key.
//! - *Members*: proven connections of accounts, with a share for each account.
//! - *Operators*: proven connections of the account that runs this machine.
//!
//! Where a class is full, the connection of that class that has been idle the longest makes room: among strangers at
//! once, because it owes us a request and has sent none since we listened, so that connections that are half open or slow only ever push
//! out one another; among the proven only after a pause, because clients keep connections between two requests. Where
//! none can go, whoever comes is refused with the time to come again, before a signature is checked for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use allod_state::AccountId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::problem::Problem;
use crate::limits::{
    MEMBERS_MAX, MEMBERS_PER_ACCOUNT_MAX, OPERATORS_MAX, RETRY_AFTER_S_MAX, SEAT_PATIENCE,
    STRANGERS_CROWDED, STRANGERS_MAX, STRANGERS_PER_SOURCE_MAX,
};

/// Whose a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has signed anything on it.
    Stranger,
    /// A key of this account has signed a request on it.
    Member(AccountId),
    /// A key of the account that operates this node has.
    Operator,
}

/// All seats.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    seats: BTreeMap<u64, Place>,
    strangers: usize,
    members: usize,
    operators: usize,
}

#[derive(Debug)]
struct Place {
    standing: Standing,
    source: IpAddr,
    /// Since when it waits for its client; nothing while a request is being answered, and before it was listened to.
    idle: Option<Instant>,
    is_busy: bool,
    leave: Arc<Notify>,
}

/// The seat of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u64,
    seats: Arc<Seats>,
    leave: Arc<Notify>,
}

impl Seats {
    /// A seat for a new connection, whose client is a stranger still. Nothing where every stranger is being answered.
    pub(crate) fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Arc<Seat>> {
        let (source, leave) = (network_of(source), Arc::new(Notify::new()));
        let mut table = self.lock();
        let of_source = |place: &Place| is_stranger(place) && place.source == source;
        if table.count(of_source) >= STRANGERS_PER_SOURCE_MAX {
            table.make_room(of_source, None)?;
        } else if table.strangers >= STRANGERS_MAX {
            table.make_room(is_stranger, None)?;
        }
        let number = table.next;
        table.next += 1;
        table.add(
            number,
            Place {
                standing: Standing::Stranger,
                source,
                idle: None,
                is_busy: false,
                leave: Arc::clone(&leave),
            },
        );
        Some(Arc::new(Seat {
            number,
            seats: Arc::clone(self),
            leave,
        }))
    }

    /// Whether strangers are many, so that each gets one answer on a connection.
    pub(crate) fn is_crowded(&self) -> bool {
        self.lock().strangers >= STRANGERS_CROWDED
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whose the connection is.
    pub(crate) fn standing(&self) -> Standing {
        let table = self.seats.lock();
        let place = table.seats.get(&self.number);
        place.map_or(Standing::Stranger, |place| place.standing)
    }

    /// Whether a claim to this standing could be granted, before the work of checking it.
    pub(crate) fn could_become(&self, standing: Standing) -> Result<(), Problem> {
        self.become_if(standing, false)
    }

    /// Grants a standing that was proven.
    pub(crate) fn become_proven(&self, standing: Standing) -> Result<(), Problem> {
        self.become_if(standing, true)
    }

    fn become_if(&self, standing: Standing, is_proven: bool) -> Result<(), Problem> {
        let mut table = self.seats.lock();
        let own = table.seats.get(&self.number).map(|place| place.standing);
        if own == Some(standing) {
            return Ok(());
        }
        if !table.has_room(standing, is_proven) {
            drop(table);
            return Err(full(self.number));
        }
        if is_proven && let Some(mut place) = table.take(self.number) {
            place.standing = standing;
            table.add(self.number, place);
        }
        Ok(())
    }

    /// What the client had sent was read: until then it cannot be said to keep us waiting. Under a flood whoever comes would
    /// otherwise be sent away unheard, one for the other.
    pub(crate) fn listened(&self) {
        if let Some(place) = self.seats.lock().seats.get_mut(&self.number)
            && !place.is_busy
        {
            place.idle = Some(Instant::now());
        }
    }

    /// Marks the seat as one that owes its client something, until the guard is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.set_busy(true);
        Busy(Arc::clone(self))
    }

    fn set_busy(&self, is_busy: bool) {
        if let Some(place) = self.seats.lock().seats.get_mut(&self.number) {
            place.is_busy = is_busy;
            place.idle = (!is_busy).then(Instant::now);
        }
    }

    /// Returns when the connection has to make room.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether strangers are many.
    pub(crate) fn is_crowded(&self) -> bool {
        self.seats.is_crowded()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().take(self.number);
    }
}

/// A connection with it is being answered, and is not asked to make room.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}

impl Table {
    fn count(&self, is_meant: impl Fn(&Place) -> bool) -> usize {
        self.seats.values().filter(|place| is_meant(place)).count()
    }

    fn counter(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Stranger => &mut self.strangers,
            Standing::Member(_) => &mut self.members,
            Standing::Operator => &mut self.operators,
        }
    }

    fn add(&mut self, number: u64, place: Place) {
        *self.counter(place.standing) += 1;
        self.seats.insert(number, place);
    }

    fn take(&mut self, number: u64) -> Option<Place> {
        let place = self.seats.remove(&number)?;
        *self.counter(place.standing) -= 1;
        Some(place)
    }

    /// Whether one more may have this standing; `makes_it` says whether somebody is asked to go for it.
    fn has_room(&mut self, standing: Standing, makes_it: bool) -> bool {
        let of_account = |place: &Place| place.standing == standing;
        match standing {
            Standing::Stranger => true,
            Standing::Operator if self.operators < OPERATORS_MAX => true,
            Standing::Operator => self.has_patient(of_account, makes_it),
            Standing::Member(_) => {
                if self.count(of_account) >= MEMBERS_PER_ACCOUNT_MAX {
                    return self.has_patient(of_account, makes_it);
                }
                self.members < MEMBERS_MAX || self.has_patient(is_member, makes_it)
            }
        }
    }

    fn has_patient(&mut self, is_meant: impl Fn(&Place) -> bool, makes_room: bool) -> bool {
        // Shortly after the machine's start nobody has been idle for as long.
        let Some(before) = Instant::now().checked_sub(SEAT_PATIENCE) else {
            return false;
        };
        if makes_room {
            self.make_room(is_meant, Some(before)).is_some()
        } else {
            self.longest_idle(is_meant, Some(before)).is_some()
        }
    }

    /// Asks the one to go that has been idle the longest; nothing where nobody can.
    fn make_room(
        &mut self,
        is_meant: impl Fn(&Place) -> bool,
        idle_before: Option<Instant>,
    ) -> Option<()> {
        let number = self.longest_idle(is_meant, idle_before)?;
        // Its seat is free from now on, however long the connection takes to notice.
        let place = self.take(number)?;
        place.leave.notify_one();
        Some(())
    }

    fn longest_idle(
        &self,
        is_meant: impl Fn(&Place) -> bool,
        idle_before: Option<Instant>,
    ) -> Option<u64> {
        let idle = self.seats.iter().filter(|(_, place)| is_meant(place));
        let idle = idle.filter_map(|(number, place)| Some((place.idle?, *number)));
        let (since, number) = idle.min()?;
        idle_before
            .is_none_or(|before| since <= before)
            .then_some(number)
    }
}

/// The refusal of a connection. Those who are refused together shall not come again together.
pub(super) fn full(number: u64) -> Problem {
    Problem::busy(
        "too-many-connections",
        "too many connections are being answered",
    )
    .retry_after(1 + number % RETRY_AFTER_S_MAX)
}

fn is_stranger(place: &Place) -> bool {
    place.standing == Standing::Stranger
}

fn is_member(place: &Place) -> bool {
    matches!(place.standing, Standing::Member(_))
}

/// What counts as one source: whoever has an IPv6 address has 2^64 of them.
pub(super) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests;
