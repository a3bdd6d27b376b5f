//! Says nothing false, seconds too late.

use allod_ledger::bft::Message;

use super::{Habit, Letter, Scene};

const LATE_MS: (u64, u64) = (1_000, 8_000);

#[derive(Default)]
pub(super) struct Laggard;

impl Habit for Laggard {
    fn says(&mut self, scene: &mut Scene<'_>, to: usize, message: &Message) -> Vec<Letter> {
        let delay_ms = scene.random.between(LATE_MS.0, LATE_MS.1);
        vec![Letter {
            delay_ms,
            ..Letter::now(to, message)
        }]
    }
}
