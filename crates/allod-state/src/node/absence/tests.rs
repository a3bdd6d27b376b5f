//! Who is given up after how long a silence.

use super::*;
use crate::limits::{ABSENCE_MS, SILENCE_MS};

const LOOK_MS: u64 = 250;

/// A machine's look at two others, and its clock.
struct Stage {
    roll: Roll,
    watched: BTreeSet<Life>,
    company_since_ms: u64,
    now_ms: u64,
}

const fn machine(number: u8) -> NodeId {
    NodeId([number; 32])
}

impl Stage {
    fn new() -> Self {
        Self {
            roll: Roll::default(),
            watched: [(machine(1), 0), (machine(2), 3)].into(),
            company_since_ms: 0,
            now_ms: 1_000_000,
        }
    }

    /// What it gives up until so long has passed, while it hears these each second.
    fn waits(&mut self, ms: u64, heard: &[u8]) -> BTreeSet<Life> {
        let end = self.now_ms + ms;
        let mut gone = BTreeSet::new();
        while self.now_ms < end {
            self.now_ms += LOOK_MS;
            if self.now_ms.is_multiple_of(1_000) {
                for number in heard {
                    self.roll.hear(machine(*number), self.now_ms);
                }
            }
            let more = self
                .roll
                .look(&self.watched, self.company_since_ms, self.now_ms);
            assert!(gone.is_disjoint(&more), "said twice");
            gone.extend(more);
        }
        gone
    }
}

#[test]
fn whoever_is_silent_for_twelve_seconds_is_given_up_once_and_whoever_is_heard_is_not() {
    let mut stage = Stage::new();
    assert_eq!(stage.waits(60_000, &[1, 2]), [].into());
    assert_eq!(stage.waits(ABSENCE_MS - LOOK_MS, &[2]), [].into());
    assert_eq!(stage.waits(LOOK_MS, &[2]), [(machine(1), 0)].into());
    assert_eq!(stage.waits(60_000, &[2]), [].into());
}

#[test]
fn whom_it_has_to_watch_from_now_on_has_its_time_and_so_has_another_life() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.waits(ABSENCE_MS, &[2]),
        [].into(),
        "it was not seen before"
    );
    assert_eq!(stage.waits(LOOK_MS, &[2]), [(machine(1), 0)].into());
    stage.watched = [(machine(1), 1), (machine(2), 3)].into();
    assert_eq!(stage.waits(ABSENCE_MS, &[2]), [].into());
    assert_eq!(stage.waits(LOOK_MS, &[2]), [(machine(1), 1)].into());
}

#[test]
fn whoever_has_had_no_company_gives_nobody_up() {
    let mut stage = Stage::new();
    for _ in 0..240 {
        stage.company_since_ms = stage.now_ms + LOOK_MS;
        assert_eq!(stage.waits(LOOK_MS, &[]), [].into());
    }
    assert_eq!(stage.waits(ABSENCE_MS - LOOK_MS, &[]), [].into());
    assert_eq!(stage.waits(LOOK_MS, &[]), stage.watched);
}

#[test]
fn what_the_ledger_did_not_take_is_said_again_later_each_time() {
    let mut stage = Stage::new();
    let mut gone = stage.waits(ABSENCE_MS + LOOK_MS, &[2]);
    for longer in [1, 2, 4, 8, 12, 12] {
        assert_eq!(gone, [(machine(1), 0)].into());
        stage.roll.told(&gone, false, stage.now_ms);
        let wait_ms = SILENCE_MS * longer + ABSENCE_MS;
        assert_eq!(stage.waits(wait_ms - LOOK_MS, &[2]), [].into());
        gone = stage.waits(LOOK_MS, &[2]);
    }
    stage.roll.told(&gone, true, stage.now_ms);
    assert_eq!(stage.waits(60_000, &[2]), [].into(), "it was taken");
}
