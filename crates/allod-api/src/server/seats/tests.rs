//! Classes never take one another's room, and within a class those make room who keep us waiting.

use std::time::Duration;

use allod_state::PublicKey;
use tokio::time::advance;

use super::*;

fn source(number: usize) -> IpAddr {
    let [.., a, b] = u32::try_from(number).unwrap().to_be_bytes();
    [10, 0, a, b].into()
}

fn account(number: u8) -> AccountId {
    AccountId::of_first_key(&PublicKey::Ed25519([number; 32]))
}

fn member(number: u8) -> Standing {
    Standing::Member(account(number))
}

/// A stranger's seat whose connection is read.
fn sit(seats: &Arc<Seats>, number: usize) -> Arc<Seat> {
    let seat = seats.enter(source(number)).unwrap();
    seat.listened();
    seat
}

async fn is_told_to_leave(seat: &Seat) -> bool {
    tokio::time::timeout(Duration::from_millis(1), seat.told_to_leave())
        .await
        .is_ok()
}

/// Proven connections of one standing.
fn proven(seats: &Arc<Seats>, standing: Standing, count: usize) -> Vec<Arc<Seat>> {
    let seat = |number| {
        let seat = sit(seats, number);
        seat.become_proven(standing).unwrap();
        seat
    };
    (0..count).map(seat).collect()
}

#[tokio::test(start_paused = true)]
async fn strangers_are_bounded_and_the_longest_idle_makes_room() {
    let seats = Arc::new(Seats::default());
    let mut held = Vec::new();
    for number in 0..STRANGERS_MAX {
        held.push(sit(&seats, number));
        advance(Duration::from_millis(1)).await;
    }
    assert!(seats.is_crowded());
    let answered = held[0].busy();
    let newcomer = sit(&seats, STRANGERS_MAX);
    assert_eq!(seats.lock().strangers, STRANGERS_MAX);
    assert!(!is_told_to_leave(&held[0]).await, "it was being answered");
    assert!(is_told_to_leave(&held[1]).await);
    assert!(!is_told_to_leave(&held[2]).await);
    // Its seat went with it: dropping it later gives back nothing twice.
    drop(held.remove(1));
    assert_eq!(seats.lock().strangers, STRANGERS_MAX);
    drop((answered, newcomer, held));
    assert_eq!(seats.lock().strangers, 0);
}

#[tokio::test(start_paused = true)]
async fn where_every_stranger_is_being_answered_nobody_more_comes_in() {
    let seats = Arc::new(Seats::default());
    let enter = |number| seats.enter(source(number));
    let held: Vec<_> = (0..STRANGERS_MAX).map(|n| enter(n).unwrap()).collect();
    let _answered: Vec<_> = held.iter().map(|seat| seat.busy()).collect();
    assert!(enter(STRANGERS_MAX).is_none());
}

#[tokio::test(start_paused = true)]
async fn one_source_pushes_out_only_its_own() {
    let seats = Arc::new(Seats::default());
    let other = sit(&seats, 1);
    let first = sit(&seats, 2);
    let mut held = Vec::new();
    for _ in 0..STRANGERS_MAX * 2 {
        advance(Duration::from_millis(1)).await;
        held.push(sit(&seats, 2));
    }
    assert!(!is_told_to_leave(&other).await);
    assert!(is_told_to_leave(&first).await);
    assert_eq!(seats.lock().strangers, STRANGERS_PER_SOURCE_MAX + 1);
    let near: IpAddr = "2001:db8::1".parse().unwrap();
    let same: IpAddr = "2001:db8::ffff:1".parse().unwrap();
    assert_eq!(network_of(near), network_of(same));
    let mapped: IpAddr = "::ffff:10.0.0.2".parse().unwrap();
    assert_eq!(network_of(mapped), source(2));
}

#[tokio::test(start_paused = true)]
async fn an_account_has_a_share_and_takes_nobody_elses() {
    let seats = Arc::new(Seats::default());
    advance(SEAT_PATIENCE).await;
    let first = proven(&seats, member(1), MEMBERS_PER_ACCOUNT_MAX);
    let more = sit(&seats, 0);
    for refused in [more.could_become(member(1)), more.become_proven(member(1))] {
        let response = refused.unwrap_err().into_response();
        assert_eq!(response.status(), 429);
        let seconds = response.headers()["retry-after"].to_str().unwrap();
        assert!((1..=RETRY_AFTER_S_MAX).contains(&seconds.parse().unwrap()));
    }
    assert_eq!(more.standing(), Standing::Stranger);
    let second = proven(&seats, member(2), MEMBERS_MAX - MEMBERS_PER_ACCOUNT_MAX);
    assert!(
        more.become_proven(member(3)).is_err(),
        "all seats are taken"
    );
    let _operators = proven(&seats, Standing::Operator, OPERATORS_MAX);
    assert!(more.become_proven(Standing::Operator).is_err());
    drop(second);
    more.become_proven(member(3)).unwrap();
    assert_eq!(seats.lock().members, MEMBERS_PER_ACCOUNT_MAX + 1);
    drop(first);
    assert_eq!(seats.lock().members, 1);
}

#[tokio::test(start_paused = true)]
async fn a_proven_connection_makes_room_only_after_a_pause() {
    let seats = Arc::new(Seats::default());
    advance(SEAT_PATIENCE).await;
    let held = proven(&seats, member(1), MEMBERS_PER_ACCOUNT_MAX);
    let newcomer = sit(&seats, 0);
    let _answered = held[0].busy();
    advance(SEAT_PATIENCE / 2).await;
    assert!(newcomer.become_proven(member(1)).is_err());
    advance(SEAT_PATIENCE / 2).await;
    newcomer.could_become(member(1)).unwrap();
    assert!(!is_told_to_leave(&held[1]).await, "nobody has come yet");
    newcomer.become_proven(member(1)).unwrap();
    assert!(!is_told_to_leave(&held[0]).await, "it was being answered");
    assert!(is_told_to_leave(&held[1]).await);
    assert_eq!(seats.lock().members, MEMBERS_PER_ACCOUNT_MAX);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_being_answered_when_it_was_listened_to_stays() {
    let seats = Arc::new(Seats::default());
    let enter = || seats.enter(source(1));
    let held: Vec<_> = (0..STRANGERS_PER_SOURCE_MAX)
        .map(|_| enter().unwrap())
        .collect();
    let answered = held[0].busy();
    held[0].listened();
    assert!(enter().is_none());
    drop(answered);
    assert!(enter().is_some());
    assert!(is_told_to_leave(&held[0]).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_sent_away_before_being_listened_to() {
    let seats = Arc::new(Seats::default());
    let enter = || seats.enter(source(1));
    let held: Vec<_> = (0..STRANGERS_PER_SOURCE_MAX)
        .map(|_| enter().unwrap())
        .collect();
    assert!(enter().is_none());
    held[7].listened();
    let newcomer = enter();
    assert!(newcomer.is_some());
    assert!(is_told_to_leave(&held[7]).await && !is_told_to_leave(&held[0]).await);
}
