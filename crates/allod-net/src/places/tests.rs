//! Who has to make room for whom.

use std::time::Duration;

use super::*;

const HERE: &str = "127.0.0.1";
const THERE: &str = "192.0.2.7";

fn places(most: usize, per_source: usize, idle_per_source: usize) -> Arc<Places> {
    Places::new(PlaceLimits {
        all_max: most,
        per_source_max: per_source,
        idle_per_source_max: idle_per_source,
    })
}

fn enter(places: &Arc<Places>, source: &str) -> Result<Arc<Place>, Full> {
    places.enter(source.parse().unwrap())
}

async fn is_told(place: &Place) -> bool {
    let told = tokio::time::timeout(Duration::from_millis(1), place.told_to_leave());
    told.await.is_ok()
}

fn is_empty(places: &Places) -> bool {
    let table = places.lock();
    table.open == 0 && table.sources.is_empty()
}

#[tokio::test(start_paused = true)]
async fn the_longest_idle_makes_room_and_whoever_is_answered_stays() {
    let places = places(3, 3, 3);
    let [first, second, third] = [(); 3].map(|()| enter(&places, HERE).unwrap());
    let answering = first.busy();
    let fourth = enter(&places, HERE).unwrap();
    assert!(is_told(&second).await && !is_told(&first).await);
    // What comes after it was told changes nothing.
    drop(second.busy());
    drop(second);
    drop(answering);
    // The first began to wait again last.
    let fifth = enter(&places, HERE).unwrap();
    assert!(is_told(&third).await && !is_told(&first).await);
    let all = [first, fourth, fifth];
    let answering = all.each_ref().map(|place| place.busy());
    assert_eq!(enter(&places, HERE).unwrap_err(), Full::Source);
    assert_eq!(enter(&places, THERE).unwrap_err(), Full::Everywhere);
    drop(answering);
    assert_eq!(places.lock().open, 3);
    drop((all, third));
    assert!(is_empty(&places));
}

#[tokio::test(start_paused = true)]
async fn an_address_with_most_places_makes_room_and_the_others_keep_theirs() {
    let places = places(6, 5, 5);
    let quiet = enter(&places, THERE).unwrap();
    let flood: Vec<_> = (0..5).map(|_| enter(&places, HERE).unwrap()).collect();
    // The quiet one has waited the longest, and stays.
    let other = enter(&places, THERE).unwrap();
    let third = enter(&places, "192.0.2.8").unwrap();
    assert!(is_told(&flood[0]).await && is_told(&flood[1]).await);
    assert!(!is_told(&quiet).await && !is_told(&other).await);
    // Whoever has most gets no more at the cost of those who have less.
    let answering: Vec<_> = flood[2..].iter().map(|place| place.busy()).collect();
    assert_eq!(enter(&places, HERE).unwrap_err(), Full::Source);
    assert!(!is_told(&quiet).await && !is_told(&third).await);
    drop((answering, flood, quiet, other, third));
    assert!(is_empty(&places));
}

#[tokio::test(start_paused = true)]
async fn one_address_has_its_share_and_no_more() {
    let places = places(10, 4, 2);
    let first = enter(&places, HERE).unwrap();
    let busy = first.busy();
    let idle: Vec<_> = (0..3).map(|_| enter(&places, HERE).unwrap()).collect();
    assert!(is_told(&idle[0]).await && !is_told(&idle[1]).await);
    let answering: Vec<_> = idle[1..].iter().map(|place| place.busy()).collect();
    let last = enter(&places, HERE).unwrap();
    let answered = last.busy();
    assert_eq!(enter(&places, HERE).unwrap_err(), Full::Source);
    enter(&places, THERE).unwrap();
    // Of those that wait again after their answers, the first to have done so goes.
    drop((busy, answering, answered));
    let told = [&first, &idle[1], &idle[2], &last];
    let mut left = 0;
    for place in told {
        left += usize::from(is_told(place).await);
    }
    assert_eq!((left, is_told(&last).await), (2, false));
    assert_eq!(places.lock().open, 2);
    drop((first, idle, last));
    assert!(is_empty(&places));
}

#[test]
fn one_network_of_version_six_is_one_address() {
    let network = |text: &str| network_of(text.parse().unwrap());
    assert_eq!(
        network("2001:db8:1:2:3::4"),
        network("2001:db8:1:2:ffff::9")
    );
    assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    assert_eq!(network("::ffff:192.0.2.7"), network(THERE));
    assert_ne!(network("127.0.0.2"), network(HERE));
}
