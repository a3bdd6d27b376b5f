//! Under a flood of strangers: bounded connections, quick refusals that say when to come again, and room for the owner.

use std::time::Instant;

use allod_api::client::Client;
use allod_api::limits::{
    HEAD_TIMEOUT, MEMBERS_PER_ACCOUNT_MAX, OPERATORS_MAX, RETRY_AFTER_S_MAX, STRANGER_REQUESTS_MAX,
    STRANGERS_BURST, STRANGERS_CROWDED, STRANGERS_MAX, STRANGERS_PER_SOURCE_MAX, TURN_TIMEOUT,
};
use allod_node::home::RunningApi;
use allod_node::identity::Identity;
use allod_state::account::AddKey;
use allod_state::account::grant::Grant;
use allod_state::credit::Transfer;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Credits, Transaction};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::world::{Answer, SOON, World, as_account};

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
    assert!(began.elapsed() < TURN_TIMEOUT, "it had to wait");
}

async fn gets_through(world: &World) {
    let shown = world.ask(Method::GET, "/v1/apps", None, Some(&world.owner));
    assert_eq!(shown.await.status, 200);
    let health = world.ask(Method::GET, "/v1/health", None, None);
    assert_eq!(health.await.status, 200);
}

/// How many of these connections the server has closed.
async fn closed(connections: &mut [TcpStream]) -> usize {
    let is_closed = connections.iter_mut().map(async |connection| {
        // What has not been closed by now would be silent for as long as a head may take.
        let mut byte = [0; 1];
        let read = connection.read(&mut byte);
        let ended = tokio::time::timeout(HEAD_TIMEOUT / 50, read).await;
        usize::from(ended.is_ok())
    });
    join_all(is_closed).await.into_iter().sum()
}

/// The head of an upload whose body has only begun.
fn begun_upload(world: &World) -> String {
    let host = world.server.address();
    format!(
        "POST /v1/transactions HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/octet-stream\r\n\
         content-length: 900\r\n\r\nx"
    )
}

async fn begin(world: &World, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect(world.server.address()).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_or_half_a_head_takes_no_seat() {
    let world = World::start().await;
    let mut connections = vec![begin(&world, &begun_upload(&world)).await];
    for number in 0..2 * STRANGERS_MAX {
        let begun = [
            "GET /v1/hea",
            "",
            "POST /v1/transactions HTTP/1.1\r\nhost: ",
        ];
        connections.push(begin(&world, begun[number % begun.len()]).await);
        if number % 32 == 0 {
            gets_through(&world).await;
        }
    }
    gets_through(&world).await;
    world.client().submit(vec![pay()]).await.unwrap();
    assert_eq!(closed(&mut connections).await, 0, "nobody had to go");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_uploads_push_out_one_another_and_not_the_owner() {
    let world = World::start().await;
    let mut connections = Vec::new();
    let count = STRANGERS_PER_SOURCE_MAX + 20;
    for number in 0..count {
        connections.push(begin(&world, &begun_upload(&world)).await);
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
async fn a_head_that_comes_in_pieces_is_read_to_its_end() {
    let world = World::start().await;
    let request = format!(
        "GET /v1/health HTTP/1.1\r\nhost: {}\r\n\r\n",
        world.server.address()
    );
    let mut connection = begin(&world, "\r\n").await;
    connection.set_nodelay(true).unwrap();
    for piece in request.as_bytes().chunks(7) {
        connection.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut status = [0; 12];
    let read = connection.read_exact(&mut status);
    tokio::time::timeout(SOON, read).await.unwrap().unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    // What is no HTTP is answered as such, and nobody waits for its end.
    let mut connection = begin(&world, "\x16\x03\x01\x02\x00").await;
    let read = connection.read_exact(&mut status);
    tokio::time::timeout(HEAD_TIMEOUT / 2, read)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&status, b"HTTP/1.1 400");
}

/// A connection from another address of this machine.
async fn from_elsewhere(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(world.server.address()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_too_often_is_told_so_and_takes_no_others_turn() {
    let world = World::start().await;
    let began = Instant::now();
    let mut shed = 0;
    while shed == 0 {
        assert!(began.elapsed() < SOON, "nobody is sent away");
        let mut crowd = JoinSet::new();
        for _ in 0..STRANGERS_BURST {
            let request = world.request(Method::GET, "/v1/apps", None, None);
            crowd.spawn(World::send_to(world.server.address(), request));
        }
        let mut number = 0;
        while let Some(answer) = crowd.join_next().await {
            let answer = answer.unwrap();
            if answer.status == 429 {
                shed += 1;
                assert_eq!(answer.code(), "too-many-connections");
                assert_eq!(answer.headers["connection"], "close");
                let seconds = answer.headers["retry-after"].to_str().unwrap();
                assert!((1..=RETRY_AFTER_S_MAX).contains(&seconds.parse().unwrap()));
            } else {
                assert_eq!(answer.status, 401);
            }
            number += 1;
            if number % 64 == 0 {
                let request = world.request(Method::GET, "/v1/apps", None, Some(&world.owner));
                let served = World::send_on(from_elsewhere(&world).await, request).await;
                assert_eq!(served.status, 200, "{shed} were shed");
            }
        }
    }
}

/// A request that comes in at the owner's own door.
async fn at_own_door(world: &World, request: Request<Full<Bytes>>) -> Answer {
    let door = UnixStream::connect(world.home().own_door()).await.unwrap();
    World::send_on(door, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_own_door_has_seats_of_its_own_and_gives_no_right() {
    let world = World::start().await;
    let network = world.node.network().network;
    let running = RunningApi::of_this_process(world.url(), network);
    world.home().announce_api(&running).unwrap();
    // Every seat of an operator is taken over the network.
    let _held = all_kept_waiting(&world, &world.owner, OPERATORS_MAX).await;
    let refused = shown(&world, &world.owner).await;
    assert_eq!(refused.code(), "too-many-connections");
    // The commands of this home come in all the same.
    let (home, keyfile) = (world.home(), world.home().account_keyfile());
    let client = Client::open(&home, None, &keyfile, None).unwrap();
    client.submit(vec![pay()]).await.unwrap();
    // But whoever signs nothing, or for another host, is nobody here either.
    let apps = |signer| world.request(Method::GET, "/v1/apps", None, signer);
    assert_eq!(
        at_own_door(&world, apps(Some(&world.owner))).await.status,
        200
    );
    assert_eq!(at_own_door(&world, apps(None)).await.status, 401);
    let stranger = Identity::new_account().unwrap();
    assert_eq!(
        at_own_door(&world, apps(Some(&stranger))).await.code(),
        "key_unknown"
    );
    let target = (Method::GET, "/v1/apps");
    let elsewhere = world.request_to("elsewhere.example", target, None, Some(&world.owner));
    let over_network = world.request_to(
        "elsewhere.example",
        (Method::GET, "/v1/apps"),
        None,
        Some(&world.owner),
    );
    let (own, public) = (
        at_own_door(&world, elsewhere).await,
        world.send(over_network).await,
    );
    assert_eq!((own.status, own.code()), (public.status, public.code()));
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
        crowd.push(begin(&world, &begun_upload(&world)).await);
    }
    // Once the last of them is heard.
    let began = Instant::now();
    loop {
        let health = world.ask(Method::GET, "/v1/health", None, None).await;
        assert_eq!(health.status, 200);
        if let Some(told) = health.headers.get("connection") {
            assert_eq!(told, "close");
            break;
        }
        assert!(began.elapsed() < SOON, "a crowd goes unnoticed");
    }
    let known = world
        .ask(Method::GET, "/v1/apps", None, Some(&world.owner))
        .await;
    assert_eq!(known.status, 200);
    assert!(!known.headers.contains_key("connection"));
}

/// An account that the owner has opened, and two keys of it: its first, and one that does not say whose it is.
async fn member(world: &World) -> (AccountId, Identity, Identity) {
    let first = Identity::new_account().unwrap();
    let to = first.account().unwrap();
    let (amount, memo) = (Credits::from_micro(1_000), String::new());
    let open = Transfer { to, amount, memo };
    world.client().submit(vec![open.into()]).await.unwrap();
    // A node's key names no account when it signs.
    let second = Identity::new_node().unwrap();
    let (key, grant) = (second.public_key(), Grant::full());
    let client = Client::new(&world.url(), as_account(&first, to)).unwrap();
    client
        .submit(vec![AddKey { key, grant }.into()])
        .await
        .unwrap();
    (to, first, second)
}

/// As many connections as that, all opened at once: the server waits for their bodies for a while only.
async fn all_kept_waiting(world: &World, signer: &Identity, count: usize) -> Vec<TcpStream> {
    let began = Instant::now();
    let mut held = Vec::new();
    while held.len() < count {
        // A connection from before may take a moment to go.
        let missing = (held.len()..count).map(|_| kept_waiting(world, signer));
        held.extend(join_all(missing).await.into_iter().flatten());
        assert!(began.elapsed() < SOON, "{} have a seat", held.len());
    }
    held
}

/// A connection on which a request of that key is being answered for as long as it lasts: its body never comes.
async fn kept_waiting(world: &World, signer: &Identity) -> Option<TcpStream> {
    let body = Some(("application/octet-stream", b"never sent".as_slice()));
    let (parts, _) = world
        .request(Method::POST, "/v1/plan?account=nobody", body, Some(signer))
        .into_parts();
    let target = parts.uri.path_and_query().unwrap();
    let mut head =
        format!("POST {target} HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 10\r\n");
    for (name, value) in &parts.headers {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut connection = TcpStream::connect(world.server.address()).await.unwrap();
    connection
        .write_all(format!("{head}\r\n").as_bytes())
        .await
        .unwrap();
    let mut status = [0; 12];
    let read = connection.read_exact(&mut status);
    tokio::time::timeout(SOON, read).await.unwrap().unwrap();
    // The body is asked for once the gate has let the head in.
    match &status {
        b"HTTP/1.1 100" => Some(connection),
        b"HTTP/1.1 429" => None,
        other => panic!("{}", String::from_utf8_lossy(other)),
    }
}

async fn shown(world: &World, signer: &Identity) -> Answer {
    world
        .ask(Method::GET, "/v1/account", None, Some(signer))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_is_shed_by_whose_its_keys_are_before_a_signature_is_checked() {
    let world = World::start().await;
    let (account, first, second) = member(&world).await;
    let mut held = all_kept_waiting(&world, &first, MEMBERS_PER_ACCOUNT_MAX).await;
    // Another key of the account, which does not name it, finds no seat either.
    for signer in [&first, &second] {
        let refused = shown(&world, signer).await;
        let code = refused.code();
        assert_eq!(
            (refused.status.as_u16(), code.as_str()),
            (429, "too-many-connections")
        );
        assert!(refused.headers.contains_key("retry-after"));
        assert_eq!(refused.headers["connection"], "close");
    }
    // No signature was looked at for that; what has a seat is refused as ever.
    let zeros = format!("allod=:{}:", data_encoding::BASE64.encode(&[0; 64]));
    let stranger = Identity::new_account().unwrap();
    for (signer, status, code) in [
        (&second, 429, "too-many-connections"),
        (&world.owner, 401, "signature_mismatch"),
        (&stranger, 401, "key_unknown"),
    ] {
        let mut request = world.request(Method::GET, "/v1/account", None, Some(signer));
        let forged = HeaderValue::from_str(&zeros).unwrap();
        request.headers_mut().insert("signature", forged);
        let refused = world.send(request).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (status, code)
        );
    }
    gets_through(&world).await;
    // Who goes makes room, for a key that names nobody too.
    drop(held.pop());
    let began = Instant::now();
    loop {
        let answer = shown(&world, &second).await;
        if answer.status == 200 {
            assert_eq!(answer.json()["account"], account.to_string());
            break;
        }
        assert_eq!(answer.code(), "too-many-connections");
        assert!(began.elapsed() < SOON, "no seat came back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_several_accounts_gets_no_seat_until_one_is_named() {
    let world = World::start().await;
    let (account, _, second) = member(&world).await;
    let (key, grant) = (second.public_key(), Grant::full());
    let also = AddKey { key, grant }.into();
    world.client().submit(vec![also]).await.unwrap();
    let refused = shown(&world, &second).await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (409, "ambiguous-account")
    );
    assert_eq!(
        refused.headers["connection"], "close",
        "it is a stranger's still"
    );
    let owner = world.owner.account().unwrap();
    for named in [account, owner] {
        let answer = shown(&world, &as_account(&second, named)).await;
        assert_eq!(answer.json()["account"], named.to_string());
    }
}
