//! Asking the members that an entrance names: one may be dead, far away or busy, and nobody waits for it alone.

use std::sync::{Mutex, PoisonError};

use allod_net::peer::PeerKey;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

use crate::invite::Entrance;
use crate::limits::GREETER_HEAD_START;

/// The members of an entrance, in the order in which they are asked.
pub(super) struct Greeters {
    order: Mutex<Vec<PeerKey>>,
}

impl Greeters {
    pub(super) fn of(entrance: &Entrance) -> Self {
        let keys = entrance.members.iter().map(|member| PeerKey(member.key));
        Self {
            order: Mutex::new(keys.collect()),
        }
    }

    /// Asks the members, each a while after the one before it, or at once where that one has failed. The first good answer
    /// counts, and whoever gave it is asked first from then on.
    ///
    /// # Errors
    /// The last failure, where all fail.
    pub(super) async fn first<T, F>(
        &self,
        ask: impl Fn(PeerKey) -> F,
    ) -> Result<(PeerKey, T), String>
    where
        F: Future<Output = Result<T, String>>,
    {
        let mut waiting = self.order().into_iter().peekable();
        let mut asked = FuturesUnordered::new();
        let mut last = "there is nobody to ask".to_owned();
        loop {
            if let Some(member) = waiting.next() {
                let answer = ask(member);
                asked.push(async move { (member, answer.await) });
            }
            tokio::select! {
                answered = asked.next() => match answered {
                    Some((member, Ok(answer))) => {
                        self.prefer(member);
                        return Ok((member, answer));
                    }
                    Some((_, Err(why))) => last = why,
                    None => return Err(last),
                },
                () = sleep(GREETER_HEAD_START), if waiting.peek().is_some() => {}
            }
        }
    }

    /// Nothing more is asked of this one.
    pub(super) fn leave(&self, member: PeerKey) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.retain(|other| *other != member);
    }

    fn prefer(&self, member: PeerKey) {
        let mut order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.sort_by_key(|other| *other != member);
    }

    fn order(&self) -> Vec<PeerKey> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        order.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;

    use super::*;

    const MEMBERS: [PeerKey; 3] = [PeerKey([1; 32]), PeerKey([2; 32]), PeerKey([3; 32])];

    fn greeters() -> Greeters {
        Greeters {
            order: Mutex::new(MEMBERS.to_vec()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_one_that_is_silent_and_whoever_answered_is_asked_first() {
        let greeters = greeters();
        let third_alone = |member| async move {
            if member == MEMBERS[2] {
                return Ok(member);
            }
            pending().await
        };
        let began = Instant::now();
        let (member, _) = greeters.first(third_alone).await.unwrap();
        assert_eq!(member, MEMBERS[2]);
        assert_eq!(began.elapsed(), GREETER_HEAD_START * 2);

        let began = Instant::now();
        greeters.first(third_alone).await.unwrap();
        assert_eq!(began.elapsed().as_millis(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn after_one_that_fails_the_next_is_asked_at_once() {
        let greeters = greeters();
        let began = Instant::now();
        let third_alone = |member| async move {
            let why = format!("{member:?} has none");
            (member == MEMBERS[2]).then_some(()).ok_or(why)
        };
        let (member, ()) = greeters.first(third_alone).await.unwrap();
        assert_eq!(member, MEMBERS[2]);
        greeters.leave(MEMBERS[2]);
        let why = greeters.first(third_alone).await.unwrap_err();
        assert!(why.contains("has none"), "{why}");
        assert_eq!(began.elapsed().as_millis(), 0);
    }
}
