//! Rates last, bursts pass, and no source takes all of them.

use tokio::time::advance;

use super::*;

fn source(number: u32) -> IpAddr {
    number.to_be_bytes().into()
}

/// How many of these get a turn.
fn turns(pace: &mut Pace, sources: impl IntoIterator<Item = u32>) -> u32 {
    let got = sources.into_iter().map(|number| pace.turn(source(number)));
    got.map(u32::from).sum()
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_a_lasting_rate() {
    let mut pace = Pace::new();
    assert_eq!(turns(&mut pace, 0..2 * STRANGERS_BURST), STRANGERS_BURST);
    let mut later = 0;
    for _ in 0..100 {
        advance(Duration::from_millis(10)).await;
        later += turns(&mut pace, 0..STRANGERS_BURST);
    }
    let rate = STRANGERS_PER_SECOND_MAX;
    assert!((rate - 1..=rate).contains(&later), "{later}");
    // However long nobody comes, no more than a burst is saved up.
    advance(Duration::from_secs(3_600)).await;
    assert_eq!(turns(&mut pace, 0..2 * STRANGERS_BURST), STRANGERS_BURST);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_often_leave_turns_to_others() {
    let mut pace = Pace::new();
    for _ in 0..100 {
        for often in 1..=5 {
            turns(&mut pace, [often; 1_000]);
        }
        assert_eq!(turns(&mut pace, [9]), 1);
        advance(Duration::from_millis(100)).await;
    }
    // Who has stayed away for a while comes seldom again.
    advance(Duration::from_secs(3)).await;
    turns(&mut pace, [9; 1_000]);
    assert_eq!(turns(&mut pace, [1; 10]), 10);
}

#[tokio::test(start_paused = true)]
async fn one_source_alone_has_the_whole_rate() {
    let mut pace = Pace::new();
    assert!(turns(&mut pace, [1; 1_000]) >= STRANGERS_BURST / 2);
    let mut later = 0;
    for _ in 0..100 {
        advance(Duration::from_millis(10)).await;
        later += turns(&mut pace, [1; 100]);
    }
    assert!(later >= STRANGERS_PER_SECOND_MAX - 1, "{later}");
}

#[tokio::test(start_paused = true)]
async fn sources_are_forgotten() {
    let mut pace = Pace::new();
    for number in 0..10_000 {
        turns(&mut pace, [number]);
        advance(ALL.each).await;
        assert!(pace.sources.len() <= SOURCES_MAX);
    }
}
