//! Who may call what: every row of the table, with every kind of caller.

use std::collections::BTreeSet;

use allod_api::ops::{Access, Input, Method as OpsMethod, OPERATIONS, Operation};
use allod_node::identity::Identity;
use allod_state::account::grant::{AppSelector, Grant, Verb};
use http::{Method, StatusCode};

use crate::world::{Answer, World};

fn method(operation: &Operation) -> Method {
    match operation.method {
        OpsMethod::Get => Method::GET,
        OpsMethod::Post => Method::POST,
        OpsMethod::Put => Method::PUT,
        OpsMethod::Delete => Method::DELETE,
    }
}

/// Calls an operation with a path and a body that it can read.
async fn call(world: &World, operation: &Operation, signer: Option<&Identity>) -> Answer {
    let account = world.owner.account().unwrap().to_string();
    let mut path = operation
        .path
        .replace("{account}", &account)
        .replace("{app}", "nothing")
        .replace("{digest}", "sha256:00")
        .replace("{host}", "registry.invalid:5000");
    match operation.name {
        "bill.prove" | "bill.show" => path.push_str("?month=202611"),
        "exec.run" => path.push_str("?cmd=true"),
        "plan.make" => path.push_str(&format!("?account={account}")),
        _ => {}
    }
    let json = br#"{"reference":"127.0.0.1:1/none","user":"u","password":"p"}"#;
    let body = match operation.input {
        Input::Nothing => None,
        Input::Json(_) => Some(("application/json", json.as_slice())),
        Input::Bytes { .. } => Some(("application/octet-stream", b"\0\0\0\0".as_slice())),
        Input::File { .. } => Some(("application/x-tar", b"no archive".as_slice())),
    };
    world.ask(method(operation), &path, body, signer).await
}

fn is_let_in(answer: &Answer) -> bool {
    !matches!(
        answer.status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
    )
}

/// The verbs that a row asks for; none where any key will do.
fn verbs(access: Access) -> &'static [Verb] {
    match access {
        Access::Granted(verbs) | Access::Operator(verbs) => verbs,
        Access::Public | Access::Member => &[],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_refuses_all_but_those_it_names() {
    let world = World::start().await;
    let stranger = Identity::new_account().unwrap();
    let expired = Grant {
        expires_ms: Some(1),
        ..Grant::full()
    };
    let expired = world.key_with(expired).await;
    for operation in OPERATIONS {
        let name = operation.name;
        let owner = call(&world, operation, Some(&world.owner)).await;
        assert!(
            is_let_in(&owner),
            "{name} refuses its owner: {}",
            owner.code()
        );
        let anonymous = call(&world, operation, None).await;
        if operation.access == Access::Public {
            assert!(is_let_in(&anonymous), "{name} refuses anybody");
            continue;
        }
        assert_eq!(anonymous.status, 401, "{name}");
        assert_eq!(anonymous.code(), "signature_missing", "{name}");
        let stranger = call(&world, operation, Some(&stranger)).await;
        assert_eq!(stranger.code(), "key_unknown", "{name}");
        let expired = call(&world, operation, Some(&expired)).await;
        assert_eq!(
            (expired.status.as_u16(), expired.code().as_str()),
            (403, "expired-key"),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_verb_is_refused_and_one_with_it_alone_is_let_in() {
    let world = World::start().await;
    for operation in OPERATIONS {
        let (name, wanted) = (operation.name, verbs(operation.access));
        if operation.access == Access::Public {
            continue;
        }
        let others: BTreeSet<Verb> = Verb::ALL
            .iter()
            .copied()
            .filter(|v| !wanted.contains(v))
            .collect();
        let without = world
            .key_with(Grant {
                verbs: others,
                ..Grant::full()
            })
            .await;
        let refused = call(&world, operation, Some(&without)).await;
        if wanted.is_empty() {
            assert!(is_let_in(&refused), "{name} refuses a member");
        } else {
            assert_eq!(
                (refused.status.as_u16(), refused.code().as_str()),
                (403, "verb-not-granted"),
                "{name}"
            );
        }
        for verb in wanted {
            let verbs = BTreeSet::from([*verb]);
            let with = world
                .key_with(Grant {
                    verbs,
                    ..Grant::full()
                })
                .await;
            let answer = call(&world, operation, Some(&with)).await;
            assert!(is_let_in(&answer), "{name} refuses a key with {verb:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_apps_sees_nothing_else() {
    let world = World::start().await;
    let limited = Grant {
        apps: AppSelector::Only(BTreeSet::new()),
        ..Grant::full()
    };
    let limited = world.key_with(limited).await;
    for name in [
        "account.history",
        "bill.prove",
        "bill.show",
        "image.import",
        "registry.login",
        "registry.logout",
    ] {
        let operation = OPERATIONS
            .iter()
            .find(|operation| operation.name == name)
            .unwrap();
        let refused = call(&world, operation, Some(&limited)).await;
        assert_eq!(refused.code(), "resource-not-granted", "{name}");
    }
    let events = world
        .ask(Method::GET, "/v1/events", None, Some(&limited))
        .await;
    assert_eq!(events.json(), serde_json::json!([]));
    let events = world
        .ask(Method::GET, "/v1/events", None, Some(&world.owner))
        .await;
    assert!(!events.json().as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn other_accounts_are_not_shown() {
    let world = World::start().await;
    let other = Identity::new_account().unwrap().account().unwrap();
    for path in [
        format!("/v1/accounts/{other}"),
        format!("/v1/accounts/{other}/history"),
    ] {
        let refused = world
            .ask(Method::GET, &path, None, Some(&world.owner))
            .await;
        assert_eq!(refused.code(), "resource-not-granted", "{path}");
    }
    let path = format!("/v1/plan?account={other}");
    let body = Some(("application/octet-stream", b"\0\0\0\0".as_slice()));
    let refused = world
        .ask(Method::POST, &path, body, Some(&world.owner))
        .await;
    assert_eq!(refused.code(), "resource-not-granted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_else_and_a_name_of_somebody_else_are_refused_everywhere() {
    let world = World::start().await;
    for path in ["/v1/health", "/v1/apps", "/nothing"] {
        let mut rebound = world.request(Method::GET, path, None, None);
        rebound
            .headers_mut()
            .insert("host", "evil.example:80".parse().unwrap());
        let refused = world.send(rebound).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (421, "host_not_allowed"),
            "{path}"
        );
        let mut page = world.request(Method::GET, path, None, None);
        page.headers_mut()
            .insert("origin", "http://evil.example".parse().unwrap());
        let refused = world.send(page).await;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "origin_not_allowed"),
            "{path}"
        );
    }
    let port = world.server.address().port();
    let mut local = world.request(Method::GET, "/v1/health", None, None);
    local
        .headers_mut()
        .insert("host", format!("localhost:{port}").parse().unwrap());
    assert_eq!(world.send(local).await.status, 200);
}
