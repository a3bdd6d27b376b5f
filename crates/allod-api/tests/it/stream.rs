//! Streams: what happens arrives as it happens, and is resumed where it was left.

use std::time::Duration;

use allod_node::identity::Identity;
use allod_state::Credits;
use allod_state::credit::Transfer;

use crate::world::{SOON, World};

fn transfer(memo: &str) -> allod_state::Action {
    let friend = Identity::new_account().unwrap();
    Transfer {
        to: friend.account().unwrap(),
        amount: Credits::from_micro(1_000_000),
        memo: memo.to_owned(),
    }
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_and_are_resumed_after_the_last_that_was_seen() {
    let world = World::start().await;
    let client = world.client();
    let mut events = client.follow_events(None, None).await.unwrap();
    client.submit(vec![transfer("one")]).await.unwrap();
    let next = tokio::time::timeout(SOON, events.next()).await.unwrap();
    let first = next.unwrap().unwrap();
    assert_eq!(first.kind, "credit.transferred");
    drop(events);
    client.submit(vec![transfer("two")]).await.unwrap();
    let place = Some((first.height, first.index));
    let mut resumed = client.follow_events(None, place).await.unwrap();
    let next = tokio::time::timeout(SOON, resumed.next()).await.unwrap();
    let second = next.unwrap().unwrap();
    assert!(second.height > first.height);
    let listed = client.events(None, Some(1)).await.unwrap();
    assert_eq!(listed, vec![second]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_streams() {
    let world = World::start().await;
    let mut events = world.client().follow_events(None, None).await.unwrap();
    let World { server, node, .. } = world;
    tokio::time::timeout(SOON, server.stop(Duration::from_secs(5)))
        .await
        .unwrap();
    let end = tokio::time::timeout(SOON, events.next()).await.unwrap();
    assert!(matches!(end, Ok(None)), "{end:?}");
    drop(node);
}
