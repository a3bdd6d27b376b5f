//! Places: every client connection has one. Where none is left, the connection that has been idle the
//! longest makes room, so that those that are half open or slow only ever push out one another; one
//! whose request a replica is answering stays.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All places.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Those that wait for their client, in the order in which they began to.
    idle: BTreeMap<u64, Arc<Notify>>,
    open: usize,
}

/// The place of one connection. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
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
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            table: Mutex::default(),
        })
    }

    /// A place for a new connection; nothing where every other is being answered.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<Arc<Place>> {
        let leave = Arc::new(Notify::new());
        let mut table = self.lock();
        if table.open >= self.most {
            let (_, longest_idle) = table.idle.pop_first()?;
            longest_idle.notify_one();
            table.open -= 1;
        }
        table.open += 1;
        let number = table.wait(&leave);
        drop(table);
        Some(Arc::new(Place {
            places: Arc::clone(self),
            leave,
            state: Mutex::new(State::Idle(number)),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn wait(&mut self, leave: &Arc<Notify>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.idle.insert(number, Arc::clone(leave));
        number
    }
}

impl Place {
    /// Keeps the connection from having to make room until the guard is dropped.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        let (mut state, mut table) = (self.state(), self.places.lock());
        *state = match *state {
            State::Idle(number) if table.idle.remove(&number).is_some() => State::Busy,
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
            State::Idle(number) => table.idle.remove(&number).is_some(),
            State::Busy => true,
            State::Left => false,
        };
        if is_ours {
            table.open -= 1;
        }
    }
}

/// A request on the connection is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if matches!(*state, State::Busy) {
            *state = State::Idle(self.0.places.lock().wait(&self.0.leave));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn is_told(place: &Place) -> bool {
        let told = tokio::time::timeout(Duration::from_millis(1), place.told_to_leave());
        told.await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_whoever_is_answered_stays() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.enter().unwrap());
        let answering = first.busy();
        let fourth = places.enter().unwrap();
        assert!(is_told(&second).await && !is_told(&first).await);
        // What comes after it was told changes nothing.
        drop(second.busy());
        drop(second);
        drop(answering);
        // The first began to wait again last.
        let fifth = places.enter().unwrap();
        assert!(is_told(&third).await && !is_told(&first).await);
        let all = [first, fourth, fifth];
        let answering = all.each_ref().map(|place| place.busy());
        assert!(places.enter().is_none());
        drop(answering);
        assert_eq!(places.lock().open, 3);
        drop((all, third));
        assert_eq!(places.lock().open, 0);
        assert!(places.lock().idle.is_empty());
    }
}
