//! What comes back: heights, receipts, plans, and refusals that say what to do.

use allod_api::client::Error;
use allod_api::compose::{Single, single};
use allod_node::identity::Identity;
use allod_state::credit::Transfer;
use allod_state::{Action, Credits};
use futures_util::future::join_all;
use http::Method;

use crate::world::World;

fn transfer(to: &Identity, credits: i128) -> Action {
    Transfer {
        to: to.account().unwrap(),
        amount: Credits::from_micro(credits * 1_000_000),
        memo: "lunch".into(),
    }
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_says_how_it_is_and_how_far() {
    let world = World::start().await;
    let health = world.ask(Method::GET, "/v1/health", None, None).await;
    assert_eq!(health.json()["status"], "ok");
    let height = health.headers["allod-height"].to_str().unwrap().to_owned();
    assert_eq!(health.json()["height"].to_string(), height);
    let network = world.client().network().await.unwrap();
    assert_eq!(network.node, world.node.network().node);
    let nodes = world.client().nodes().await.unwrap();
    assert_eq!(nodes.len(), 1);
    let document = world.ask(Method::GET, "/v1/openapi.json", None, None).await;
    assert_eq!(document.json()["openapi"], "3.1.0");
    assert!(world.client().apps().await.unwrap().is_empty());
    assert!(world.client().volumes().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_is_committed_and_stands_in_the_history() {
    let world = World::start().await;
    let friend = Identity::new_account().unwrap();
    let receipt = world
        .client()
        .submit(vec![transfer(&friend, 5)])
        .await
        .unwrap();
    assert_eq!(receipt.rejection, None);
    let account = world.client().own_account().await.unwrap();
    assert_eq!(account.balance, Credits::from_micro(-5_000_000));
    let history = world.client().history(&account.account, 10).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!(history[0].memo, "lunch");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_run_at_once_with_one_key_all_take_effect() {
    let world = World::start().await;
    let friend = Identity::new_account().unwrap();
    let client = world.client();
    let payments = (1..=16).map(|credits| client.submit(vec![transfer(&friend, credits)]));
    for paid in join_all(payments).await {
        assert_eq!(paid.unwrap().rejection, None);
    }
    let account = client.own_account().await.unwrap();
    assert_eq!(account.balance, Credits::from_micro(-136_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_transaction_twice_takes_effect_once() {
    let world = World::start().await;
    let friend = Identity::new_account().unwrap();
    let account = world.client().own_account().await.unwrap();
    let own = world.owner.public_key();
    let actions = vec![transfer(&friend, 5)];
    let body = allod_state::transaction::Body {
        version: allod_state::transaction::PROTOCOL_VERSION,
        network: world.node.network().network,
        account: account.account,
        key: own,
        nonce: account
            .keys
            .iter()
            .find(|key| key.key == own)
            .unwrap()
            .nonce,
        expires_ms: allod_node::time::now_ms() + 60_000,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    let signature = world.owner.sign(&body.sign_bytes());
    let transaction = allod_state::Transaction { body, signature };
    let bytes = transaction.to_bytes();
    let sent = Some(("application/octet-stream", bytes.as_slice()));
    let first = world
        .ask(Method::POST, "/v1/transactions", sent, None)
        .await;
    assert_eq!(first.status, 200);
    let again = world
        .ask(Method::POST, "/v1/transactions", sent, None)
        .await;
    assert_eq!(again.json(), first.json());
    let account = world.client().own_account().await.unwrap();
    assert_eq!(account.balance, Credits::from_micro(-5_000_000));
    let mut forged = transaction;
    forged.body.nonce += 1;
    let forged = forged.to_bytes();
    let sent = Some(("application/octet-stream", forged.as_slice()));
    let refused = world
        .ask(Method::POST, "/v1/transactions", sent, None)
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.code().as_str()),
        (401, "bad-signature")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_law_keeps_its_name_number_and_next_step() {
    let world = World::start().await;
    let friend = Identity::new_account().unwrap();
    let refused = world
        .client()
        .submit(vec![transfer(&friend, 1_000_000_000)])
        .await;
    let Err(Error::Problem(problem)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (problem.status, problem.code.as_str()),
        (402, "insufficient-credit")
    );
    assert!(problem.next_step.contains("allod credits balance"));
    let plan = world
        .client()
        .plan(&vec![transfer(&friend, 1_000_000_000)])
        .await
        .unwrap();
    assert_eq!(plan.rejection.unwrap().name, "insufficient-credit");
}

/// Method, path, kind and text of the body, and the status and code that it is refused with.
type Row = (
    Method,
    &'static str,
    Option<(&'static str, &'static str)>,
    u16,
    &'static str,
);

#[rustfmt::skip]
fn unreadable() -> Vec<Row> {
    const OCTETS: &str = "application/octet-stream";
    const JSON: &str = "application/json";
    vec![
        (Method::GET, "/v1/nothing", None, 404, "unknown-path"),
        (Method::DELETE, "/v1/health", None, 405, "method-not-allowed"),
        (Method::GET, "/v1/health?x=1", None, 400, "malformed-request"),
        (Method::GET, "/v1/bill?month=2026-1", None, 400, "malformed-request"),
        (Method::GET, "/v1/bill?month=202613", None, 400, "malformed-request"),
        (Method::GET, "/v1/bill", None, 400, "malformed-request"),
        (Method::GET, "/v1/events?after=x", None, 400, "malformed-request"),
        (Method::GET, "/v1/events?limit=1&limit=2", None, 400, "malformed-request"),
        (Method::GET, "/v1/apps/none", None, 404, "unknown-app"),
        (Method::GET, "/v1/apps/%ff", None, 400, "malformed-request"),
        (Method::GET, "/v1/apps/none/logs", None, 404, "unknown-app"),
        (Method::GET, "/v1/accounts/acct_x", None, 400, "malformed-request"),
        (Method::GET, "/v1/images/sha256:00", None, 404, "unknown-image"),
        (Method::DELETE, "/v1/registries/none.invalid", None, 404, "unknown-registry"),
        (Method::POST, "/v1/images/resolve", Some(("text/plain", "{}")), 415, "wrong-content-type"),
        (Method::POST, "/v1/images/resolve", Some((JSON, "{")), 400, "malformed-request"),
        (Method::POST, "/v1/transactions", Some((OCTETS, "no")), 400, "malformed-request"),
        (Method::POST, "/v1/images", Some(("application/x-tar", "no")), 422, "bad-archive"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_refused_with_the_reason() {
    let world = World::start().await;
    let owner = Some(&world.owner);
    for (method, path, body, status, code) in unreadable() {
        let body = body.map(|(kind, text)| (kind, text.as_bytes()));
        let answer = world.ask(method, path, body, owner).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    let long = vec![0; 2 * 1024 * 1024];
    let body = Some(("application/octet-stream", long.as_slice()));
    let answer = world.ask(Method::PUT, "/v1/manifests", body, owner).await;
    assert_eq!(answer.code(), "body-too-large");
    let answer = world.ask(Method::DELETE, "/v1/health", None, None).await;
    assert_eq!(answer.headers["allow"], "GET,HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_not_signed_is_refused() {
    let world = World::start().await;
    for (method, path, kind) in [
        (Method::PUT, "/v1/manifests", "application/octet-stream"),
        (Method::POST, "/v1/images", "application/x-tar"),
    ] {
        let signed = world.request(method, path, Some((kind, b"this")), Some(&world.owner));
        let (parts, _) = signed.into_parts();
        let other = http::Request::from_parts(parts, http_body_util::Full::new("that".into()));
        let refused = world.send(other).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (401, "content_digest_mismatch"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_and_credentials_are_kept() {
    let world = World::start().await;
    world
        .client()
        .put_manifest(b"sealed".to_vec())
        .await
        .unwrap();
    let password = allod_node::identity::Secret::new("secret".to_owned());
    world
        .client()
        .login("localhost:5000", "me", &password)
        .await
        .unwrap();
    world.client().logout("localhost:5000").await.unwrap();
    assert!(world.client().logout("localhost:5000").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_service_is_said_to_be_one() {
    let world = World::start().await;
    let client = world.client();
    for (name, is_exclusive) in [("leader", true), ("web", false)] {
        // An image that was handed to the node, so that no registry is asked.
        let asked = Single {
            image: "web.tar".into(),
            archive_digest: Some(format!("sha256:{}", "ab".repeat(32))),
            name: Some(name.into()),
            is_exclusive,
            ..Single::default()
        };
        let network = client.network().await.unwrap();
        let prepared = client.prepare(single(&asked).unwrap(), &network);
        let prepared = prepared.await.unwrap();
        client.put_manifest(prepared.ciphertext).await.unwrap();
        let deploy = Action::from(prepared.deploy);
        client.submit(vec![deploy]).await.unwrap();
    }
    let apps = client.apps().await.unwrap();
    let said = apps
        .iter()
        .map(|app| (app.name.as_str(), app.services[0].is_exclusive));
    assert_eq!(said.collect::<Vec<_>>(), [("leader", true), ("web", false)]);
}
