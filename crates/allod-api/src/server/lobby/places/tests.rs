//! The lobby is bounded, and no source pushes out another.

use std::time::Duration;

use super::*;

fn source(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

async fn is_told_to_leave(place: &Place) -> bool {
    tokio::time::timeout(Duration::from_millis(1), place.told_to_leave())
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn the_source_with_the_most_gives_its_oldest_place_back() {
    let places = Places::default();
    let first = places.enter(source(1));
    let mut held: Vec<_> = (1..LOBBY_MAX).map(|_| places.enter(source(2))).collect();
    assert!(!is_told_to_leave(&first).await && !is_told_to_leave(&held[0]).await);
    held.push(places.enter(source(3)));
    held.push(places.enter(source(2)));
    for (at, place) in held.iter().enumerate() {
        assert_eq!(is_told_to_leave(place).await, at < 2, "{at}");
    }
    assert!(!is_told_to_leave(&first).await, "it came first, but alone");
    assert_eq!(places.lock().count, LOBBY_MAX);
    // Its place went with it: dropping it later gives back nothing twice.
    drop(held);
    assert_eq!(places.lock().count, 1);
    drop(first);
    assert!(places.lock().sources.is_empty());
}
