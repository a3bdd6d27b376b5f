//! Places: every connection from outside has one, and no address takes those of the others.
//!
//! Where no place is left, one is taken from the address that has most of them: its connection that has been idle the
//! longest, be it half open, slow, or kept open for a next request. So those that say nothing only ever push out one
//! another, and a flood from one address pushes out its own. One whose request a replica is answering stays, and so does an
//! upgraded one until it ends; an address that has as many places as one may have, all of them so, is refused.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits::PlaceLimits;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    limits: PlaceLimits,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: usize,
    sources: HashMap<IpAddr, Held>,
}

/// What one address has.
#[derive(Debug, Default)]
struct Held {
    open: usize,
    /// Those that wait for their client, in the order in which they began to.
    idle: BTreeMap<u64, Arc<Notify>>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Every other is being answered.
    Everywhere,
    /// The client's own address has as many as one may have, and each is being answered.
    Source,
}

/// The place of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: IpAddr,
    leave: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Idle(u64),
    Busy,
    /// Somebody else has the place already.
    Left,
}

impl Places {
    pub(crate) fn new(limits: PlaceLimits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
        })
    }

    /// A place for a new connection.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr) -> Result<Arc<Place>, Full> {
        let (source, leave) = (network_of(client), Arc::new(Notify::new()));
        let mut table = self.lock();
        let own = table.sources.get(&source).map_or(0, |held| held.open);
        if own >= self.limits.per_source_max {
            table.make_room(&source).ok_or(Full::Source)?;
        } else if table.open >= self.limits.all_max {
            let largest = table.largest().ok_or(Full::Everywhere)?;
            if table
                .sources
                .get(&largest)
                .is_some_and(|held| held.open < own)
            {
                return Err(Full::Source);
            }
            table.make_room(&largest);
        }
        table.open += 1;
        table.sources.entry(source).or_default().open += 1;
        let number = self.wait(&mut table, &source, &leave);
        drop(table);
        Ok(Arc::new(Place {
            places: Arc::clone(self),
            source,
            leave,
            state: Mutex::new(State::Idle(number)),
        }))
    }

    /// Makes a connection one that waits for its client; where its address has too many such, the longest idle goes.
    fn wait(&self, table: &mut Table, source: &IpAddr, leave: &Arc<Notify>) -> u64 {
        let number = table.next;
        table.next += 1;
        let held = table.sources.entry(*source).or_default();
        held.idle.insert(number, Arc::clone(leave));
        if held.idle.len() > self.limits.idle_per_source_max {
            table.make_room(source);
        }
        number
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The address with most places among those that can give one up.
    fn largest(&self) -> Option<IpAddr> {
        let can_give = self
            .sources
            .iter()
            .filter(|(_, held)| !held.idle.is_empty());
        let largest = can_give.max_by_key(|(_, held)| held.open);
        largest.map(|(source, _)| *source)
    }

    /// Takes the place that has been idle the longest away from an address.
    fn make_room(&mut self, source: &IpAddr) -> Option<()> {
        let (_, longest_idle) = self.sources.get_mut(source)?.idle.pop_first()?;
        longest_idle.notify_one();
        self.give_back(source);
        Some(())
    }

    fn give_back(&mut self, source: &IpAddr) {
        self.open -= 1;
        if let Some(held) = self.sources.get_mut(source) {
            held.open -= 1;
            if held.open == 0 {
                self.sources.remove(source);
            }
        }
    }

    /// Whether it was still waiting; it waits no more.
    fn end_wait(&mut self, source: &IpAddr, number: u64) -> bool {
        let held = self.sources.get_mut(source);
        held.is_some_and(|held| held.idle.remove(&number).is_some())
    }
}

impl Place {
    /// Keeps the connection from having to make room until the guard is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        let (mut state, mut table) = (self.state(), self.places.lock());
        *state = match *state {
            State::Idle(number) if table.end_wait(&self.source, number) => State::Busy,
            State::Idle(_) | State::Left => State::Left,
            State::Busy => State::Busy,
        };
        Busy(Arc::clone(self))
    }

    /// Returns when the connection has to make room.
    pub(crate) async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (state, mut table) = (self.state(), self.places.lock());
        let is_ours = match *state {
            State::Idle(number) => table.end_wait(&self.source, number),
            State::Busy => true,
            State::Left => false,
        };
        if is_ours {
            table.give_back(&self.source);
        }
    }
}

/// A request on the connection is being answered, or what it was upgraded to has not ended.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        let Place {
            places,
            source,
            leave,
            ..
        } = &*self.0;
        let mut state = self.0.state();
        if matches!(*state, State::Busy) {
            *state = State::Idle(places.wait(&mut places.lock(), source, leave));
        }
    }
}

/// What counts as one address: whoever has an IPv6 address has 2^64 of them.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests;
