//! Under a flood of strangers: bounded connections, quick refusals that say when to come again, and room for the owner.

use std::time::{Duration, Instant};

use allod_api::limits::{
    HEAD_TIMEOUT, STRANGER_REQUESTS_MAX, STRANGERS_CROWDED, STRANGERS_PER_SOURCE_MAX,
};
use allod_node::identity::Identity;
use allod_state::credit::Transfer;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{Action, Credits, Transaction};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::world::{Answer, SOON, World};

fn pay() -> Action {
    let friend = Identity::new_account().unwrap();
    Transfer {
        to: friend.account().unwrap(),
        amount: Credits::from_micro(1),
        memo: String::new(),
    }
    .into()
}

/// A transaction of the owner's first key that waits for those before it.
fn ahead(world: &World, nonce: u64) -> Vec<u8> {
    let actions = vec![pay()];
    let body = Body {
        version: PROTOCOL_VERSION,
        network: world.node.network().network,
        account: world.owner.account().unwrap(),
        key: world.owner.public_key(),
        nonce,
        expires_ms: allod_node::time::now_ms() + 600_000,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    let signature = world.owner.sign(&body.sign_bytes());
    Transaction { body, signature }.to_bytes()
}

fn submission(world: &World, bytes: &[u8], signer: Option<&Identity>) -> Request<Full<Bytes>> {
    let body = Some(("application/octet-stream", bytes));
    world.request(Method::POST, "/v1/transactions", body, signer)
}

/// A refusal that whoever is not proven gets: soon, with the time to come again, and hung up on.
fn is_shed(answer: &Answer, code: &str, began: Instant) {
    assert_eq!(
        (answer.status.as_u16(), answer.code().as_str()),
        (429, code)
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.headers["connection"], "close");
    assert!(began.elapsed() < Duration::from_secs(2), "it had to wait");
}

async fn gets_through(world: &World) {
    let shown = world.ask(Method::GET, "/v1/apps", None, Some(&world.owner));
    assert_eq!(shown.await.status, 200);
    let health = world.ask(Method::GET, "/v1/health", None, None);
    assert_eq!(health.await.status, 200);
}

/// How many of these connections the server has closed.
async fn closed(connections: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for connection in connections {
        // What has not been closed by now would be silent for as long as a head may take.
        let mut byte = [0; 1];
        let read = connection.read(&mut byte);
        closed += usize::from(
            tokio::time::timeout(HEAD_TIMEOUT / 1_000, read)
                .await
                .is_ok(),
        );
    }
    closed
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_and_slow_connections_push_out_one_another_and_not_the_owner() {
    let world = World::start().await;
    let mut connections = Vec::new();
    let count = STRANGERS_PER_SOURCE_MAX + 20;
    for number in 0..count {
        let mut connection = TcpStream::connect(world.server.address()).await.unwrap();
        // Every second one begins with a request and never ends it.
        let begun = match number % 4 {
            0 => "GET /v1/hea".to_owned(),
            2 => format!(
                "POST /v1/transactions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/octet-stream\r\n\
                 content-length: 900\r\n\r\nx",
                world.server.address()
            ),
            _ => String::new(),
        };
        connection.write_all(begun.as_bytes()).await.unwrap();
        connections.push(connection);
        if number % 10 == 0 {
            gets_through(&world).await;
        }
    }
    gets_through(&world).await;
    world.client().submit(vec![pay()]).await.unwrap();
    let (first, last) = connections.split_at_mut(count - 10);
    let gone = closed(first).await;
    assert!(
        (20..=STRANGERS_PER_SOURCE_MAX).contains(&gone),
        "{gone} of {count}"
    );
    assert_eq!(closed(last).await, 0, "those who came last stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_signed_is_shed_and_the_owner_and_the_machine_go_on() {
    let world = World::start().await;
    let own = world.owner.public_key();
    let shown = world.node.account(&world.owner.account().unwrap()).unwrap();
    let nonce = shown.keys.iter().find(|key| key.key == own).unwrap().nonce;
    let mut waiting = JoinSet::new();
    for number in 0..STRANGER_REQUESTS_MAX {
        // One is missing before them, so that they keep their turns.
        let later = nonce + 1 + u64::try_from(number).unwrap();
        let request = submission(&world, &ahead(&world, later), None);
        let address = world.server.address();
        waiting.spawn(async move { World::send_to(address, request).await });
    }
    let shed = loop {
        let began = Instant::now();
        let health = world.ask(Method::GET, "/v1/health", None, None).await;
        assert_eq!(health.status, 200);
        // Nonsense is refused as such while there are turns, and costs none.
        let answer = world.send(submission(&world, b"nonsense", None)).await;
        if answer.status == 429 {
            break (answer, began);
        }
        assert_eq!(answer.code(), "malformed-request");
        assert!(began.elapsed() < SOON, "no turn is ever taken");
    };
    is_shed(&shed.0, "busy", shed.1);
    gets_through(&world).await;
    assert_eq!(waiting.len(), STRANGER_REQUESTS_MAX);
    // The owner's own fills the gap, and then all of them are answered.
    let missing = ahead(&world, nonce);
    let signed = submission(&world, &missing, Some(&world.owner));
    assert_eq!(world.send(signed).await.status, 200);
    while let Some(answer) = tokio::time::timeout(SOON, waiting.join_next())
        .await
        .unwrap()
    {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_strangers_gets_one_answer_on_a_connection() {
    let world = World::start().await;
    let health = world.ask(Method::GET, "/v1/health", None, None).await;
    assert!(!health.headers.contains_key("connection"));
    let refused = world.ask(Method::GET, "/v1/apps", None, None).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.headers["connection"], "close");
    let mut crowd = Vec::new();
    for _ in 0..STRANGERS_CROWDED {
        crowd.push(TcpStream::connect(world.server.address()).await.unwrap());
    }
    let health = world.ask(Method::GET, "/v1/health", None, None).await;
    assert_eq!(health.status, 200);
    assert_eq!(health.headers["connection"], "close");
    let known = world
        .ask(Method::GET, "/v1/apps", None, Some(&world.owner))
        .await;
    assert_eq!(known.status, 200);
    assert!(!known.headers.contains_key("connection"));
}
