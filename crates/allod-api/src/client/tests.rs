//! The client against an API that says whatever a test makes it say.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use allod_node::identity::Identity;
use allod_state::credit::Transfer;
use allod_state::{AccountId, Action, Credits, Transaction};
use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Client, Error, Exit, LogQuery};
use crate::signature::{Door, Scheme, Verifier};

struct Answer {
    status: u16,
    content_type: &'static str,
    body: String,
}

fn answer(status: u16, body: &serde_json::Value) -> Answer {
    Answer {
        status,
        content_type: "application/json",
        body: body.to_string(),
    }
}

type Say = dyn Fn(&Parts, &[u8]) -> Answer + Send + Sync;

/// An API on a port of its own; it stops when dropped.
struct Fake {
    url: String,
    authority: String,
    _tasks: JoinSet<()>,
}

impl Fake {
    async fn start(say: impl Fn(&Parts, &[u8]) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let say: Arc<Say> = Arc::new(say);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let say = Arc::clone(&say);
                connections.spawn(async move {
                    let service = service_fn(move |request| respond(Arc::clone(&say), request));
                    let served = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    drop(served.await);
                });
            }
        });
        Self {
            url: format!("http://{address}"),
            authority: address.to_string(),
            _tasks: tasks,
        }
    }

    fn client(&self) -> Client {
        Client::new(&self.url, Identity::new_account().unwrap()).unwrap()
    }
}

async fn respond(
    say: Arc<Say>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = say(&parts, &body);
    let response = Response::builder()
        .status(answer.status)
        .header("content-type", answer.content_type)
        .body(Full::new(Bytes::from(answer.body)));
    Ok(response.unwrap())
}

async fn exit_for(status: u16, code: &'static str) -> (Exit, String) {
    let body = json!({ "title": "t", "status": status, "detail": "why", "code": code, "next_step": "do that" });
    let fake = Fake::start(move |_, _| answer(status, &body)).await;
    let error = fake.client().apps().await.unwrap_err();
    assert_eq!(error.to_string(), "why");
    (error.exit(), error.help())
}

#[tokio::test]
async fn refusals_end_with_the_codes_that_scripts_know() {
    let cases = [
        (400, "bad-request", 2),
        (401, "signature-missing", 4),
        (402, "insufficient-credit", 6),
        (403, "verb-not-granted", 5),
        (403, "budget-exceeded", 5),
        (404, "unknown-app", 3),
        (404, "no-such-route", 3),
        (409, "plan-changed", 1),
        (422, "no-placement", 7),
        (422, "bad-field", 2),
        (429, "full", 1),
        (500, "internal", 1),
        (504, "commit-timeout", 8),
    ];
    for (status, code, wanted) in cases {
        let (exit, help) = exit_for(status, code).await;
        assert_eq!(exit.code(), wanted, "{status} {code}");
        assert_eq!(help, "do that");
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let client = Client::new(&url, Identity::new_account().unwrap()).unwrap();
    let error = client.network().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.help().contains("allod"), "{}", error.help());
}

#[tokio::test]
async fn what_was_signed_before_a_restart_is_signed_again_once() {
    for (answered, asked) in [(1, 2), (2, 2)] {
        let count = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&count);
        let fake = Fake::start(move |_, _| {
            let mut count = counted.lock().unwrap();
            *count += 1;
            if *count > answered {
                return answer(200, &json!([]));
            }
            answer(401, &json!({ "code": "signature_before_start" }))
        })
        .await;
        let client = Client::new(&fake.url, Identity::new_account().unwrap()).unwrap();
        assert_eq!(client.apps().await.is_ok(), answered == 1);
        assert_eq!(*count.lock().unwrap(), asked);
    }
}

#[tokio::test]
async fn what_is_no_answer_is_said_to_be_none() {
    let fake = Fake::start(|_, _| answer(200, &json!({"nodes": 3}))).await;
    assert!(matches!(
        fake.client().apps().await,
        Err(Error::Nonsense { .. })
    ));
    let page = |_: &Parts, _: &[u8]| Answer {
        status: 502,
        content_type: "text/html",
        body: "<html>".into(),
    };
    let fake = Fake::start(page).await;
    let error = fake.client().apps().await.unwrap_err();
    assert_eq!(error.exit(), Exit::Failure);
    assert!(error.to_string().contains("502"), "{error}");
}

#[test]
fn addresses_that_are_none_are_refused() {
    for url in ["", "localhost", "https://x", "ftp://x", "http://"] {
        let client = Client::new(url, Identity::new_account().unwrap());
        assert!(matches!(client, Err(Error::BadUrl { .. })), "{url}");
    }
}

#[tokio::test]
async fn every_request_is_signed_with_its_body_and_query() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writer = Arc::clone(&seen);
    let fake = Fake::start(move |parts, body| {
        let copy = (parts.clone(), body.to_vec());
        writer.lock().unwrap().push(copy);
        answer(200, &json!({ "digest": "sha256:00" }))
    })
    .await;
    let client = fake.client();
    client.resolve_image("nginx:alpine").await.unwrap();
    client.logout("localhost:5000").await.unwrap();
    client.logs("a b/c?d", &LogQuery::default()).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[2].0.uri.path(), "/v1/apps/a%20b%2Fc%3Fd/logs");
    for (parts, body) in seen.iter() {
        let door = Door::new(Scheme::Http, [fake.authority.as_str()]);
        let now_s = super::connection::now_ms() / 1000;
        let own = client.identity().public_key();
        let verify = |body: &[u8]| {
            Verifier::new(door.clone(), 0).verify(parts, body, now_s, |who| who.key == own)
        };
        verify(body).unwrap_or_else(|error| panic!("{} {}: {error}", parts.method, parts.uri));
        assert!(verify(b"another body").is_err());
    }
}

/// What `submit` asks first.
fn preface(parts: &Parts, key: &str, account: AccountId, nonce: u64) -> Option<Answer> {
    let network = allod_state::NetworkId([1; 32]);
    let node = allod_state::NodeId([2; 32]);
    match parts.uri.path() {
        "/v1/network" => Some(answer(
            200,
            &json!({ "network": network, "height": 1, "time_ms": 5, "validators": 1, "node": node, "ingress": "", "notice": null,
                "disk": { "free_bytes": 1, "is_full": false, "images_bytes": 0 } }),
        )),
        path if path.starts_with("/v1/accounts/") => Some(answer(
            200,
            &json!({ "account": account, "balance": "0", "line": "0", "available": "0",
                "keys": [{ "key": key, "verbs": ["transfer"], "nonce": nonce, "expires_ms": null }] }),
        )),
        _ => None,
    }
}

fn transfer() -> Vec<Action> {
    let to = AccountId([9; 32]);
    let amount = Credits::from_micro(1);
    vec![Action::from(Transfer {
        to,
        amount,
        memo: String::new(),
    })]
}

/// An API on which the nonces below `taken` are used up, although it says so often that `told` is next.
async fn submit_against(told: (u64, usize), taken: u64) -> (Result<u64, Error>, usize) {
    let identity = Identity::new_account().unwrap();
    let (key, account) = (
        identity.public_key().to_string(),
        identity.account().unwrap(),
    );
    let asked = Arc::new(Mutex::new((0, 0)));
    let count = Arc::clone(&asked);
    let fake = Fake::start(move |parts, body| {
        let mut asked = count.lock().unwrap();
        if parts.uri.path().starts_with("/v1/accounts/") {
            asked.0 += 1;
        }
        let nonce = if asked.0 > told.1 { taken } else { told.0 };
        if let Some(answer) = preface(parts, &key, account, nonce) {
            return answer;
        }
        asked.1 += 1;
        let transaction = Transaction::from_bytes(body).unwrap();
        let body = transaction.clone().verify().unwrap().transaction().body.clone();
        if body.nonce < taken {
            return answer(409, &json!({ "status": 409, "code": "wrong-nonce", "detail": "taken", "next_step": "again" }));
        }
        answer(200, &json!({ "transaction": body.id(), "height": body.nonce, "rejection": null, "fee": "0", "events": [] }))
    })
    .await;
    let client = Client::new(&fake.url, identity).unwrap();
    let receipt = client.submit(transfer()).await;
    let submitted = asked.lock().unwrap().1;
    (receipt.map(|receipt| receipt.height), submitted)
}

#[tokio::test]
async fn a_taken_nonce_is_asked_for_again_until_the_other_has_its_block() {
    assert_eq!(submit_against((3, 1), 3).await.0.unwrap(), 3);
    let (height, submitted) = submit_against((3, 1), 4).await;
    assert_eq!((height.unwrap(), submitted), (4, 2));
    let (height, submitted) = submit_against((3, 5), 4).await;
    assert_eq!((height.unwrap(), submitted), (4, 6));
}

#[tokio::test]
async fn a_key_that_the_account_does_not_have_is_an_identity_error() {
    let fake = Fake::start(|parts, _| {
        let key = Identity::new_account().unwrap().public_key().to_string();
        preface(parts, &key, AccountId([3; 32]), 0).unwrap()
    })
    .await;
    let error = fake.client().submit(transfer()).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Identity);
}

#[tokio::test]
async fn a_rejection_in_a_receipt_is_an_error_too() {
    let identity = Identity::new_account().unwrap();
    let (key, account) = (
        identity.public_key().to_string(),
        identity.account().unwrap(),
    );
    let fake = Fake::start(move |parts, _| {
        preface(parts, &key, account, 0).unwrap_or_else(|| {
            let rejection = json!({ "code": 14, "name": "insufficient-credit", "text": "too poor", "next_step": "earn" });
            answer(200, &json!({ "transaction": allod_state::TransactionId([4; 32]), "height": 1, "rejection": rejection, "fee": "0", "events": [] }))
        })
    })
    .await;
    let client = Client::new(&fake.url, identity).unwrap();
    let error = client.submit(transfer()).await.unwrap_err();
    assert_eq!(
        (error.exit(), error.help().as_str()),
        (Exit::Credits, "earn")
    );
}

#[tokio::test]
async fn logs_come_as_lines_or_as_events() {
    let line =
        json!({ "service": "web", "replica": 0, "at_ms": 1, "is_error": false, "text": "hello" });
    let fake = Fake::start(move |parts, _| {
        let is_followed = parts
            .uri
            .query()
            .is_some_and(|query| query.contains("follow=true"));
        Answer {
            status: 200,
            content_type: if is_followed {
                "text/event-stream"
            } else {
                "application/x-ndjson"
            },
            body: if is_followed {
                format!(": beat\n\nid: 1\ndata: {line}\n\n")
            } else {
                format!("{line}\n{line}\n")
            },
        }
    })
    .await;
    for (is_followed, wanted) in [(false, 2), (true, 1)] {
        let query = LogQuery {
            is_followed,
            ..LogQuery::default()
        };
        let mut lines = fake.client().logs("shop", &query).await.unwrap();
        let mut count = 0;
        while let Some(line) = lines.next().await.unwrap() {
            assert_eq!(line.text, "hello");
            count += 1;
        }
        assert_eq!(count, wanted);
    }
}
