//! Who may call what, beside the table in `authorization`: what no row of it names.

use std::collections::BTreeSet;

use allod_api::client::{Client, Error};
use allod_node::identity::Identity;
use allod_state::account::grant::{AppSelector, Grant, Verb};
use allod_state::account::{AddKey, RevokeKey, RotateKey};
use allod_state::credit::Transfer;
use allod_state::{AccountId, Credits, Label};
use http::Method;

use crate::world::{World, as_account};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_key_acts_for_no_account_but_those_that_list_it() {
    let world = World::start().await;
    let other = Identity::new_account().unwrap();
    let (to, memo) = (other.account().unwrap(), String::new());
    let amount = Credits::from_micro(1_000);
    let opening = Transfer { to, amount, memo };
    world.client().submit(vec![opening.into()]).await.unwrap();
    let client = |identity| Client::new(&world.url(), as_account(identity, to)).unwrap();
    client(&other).own_account().await.unwrap();
    let refused = client(&world.owner).own_account().await.unwrap_err();
    assert_eq!(code(refused), "key_unknown");
}

fn code(error: Error) -> String {
    match error {
        Error::Problem(problem) => problem.code,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_alone_finds_its_account() {
    let world = World::start().await;
    let owner = world.owner.account().unwrap();
    let unnamed = |identity: &Identity| {
        let guess = AccountId::of_first_key(&identity.public_key());
        Client::new(&world.url(), as_account(identity, guess))
            .unwrap()
            .unnamed()
    };
    assert_eq!(
        unnamed(&world.owner).found_account().await.unwrap().account,
        owner
    );
    let verbs = BTreeSet::from([Verb::Read]);
    let second = world
        .key_with(Grant {
            verbs,
            ..Grant::full()
        })
        .await;
    assert_eq!(
        unnamed(&second).found_account().await.unwrap().account,
        owner
    );
    let stranger = Identity::new_account().unwrap();
    let refused = unnamed(&stranger).found_account().await.unwrap_err();
    assert_eq!(code(refused), "key_unknown");
    // Anybody may add any key to an account of their own; then the key alone says too little.
    let other = Identity::new_account().unwrap();
    let amount = Credits::from_micro(1_000);
    let (to, memo) = (other.account().unwrap(), String::new());
    world
        .client()
        .submit(vec![Transfer { to, amount, memo }.into()])
        .await
        .unwrap();
    let client = Client::new(&world.url(), as_account(&other, to)).unwrap();
    let key = second.public_key();
    client
        .submit(vec![
            AddKey {
                key,
                grant: Grant::full(),
            }
            .into(),
        ])
        .await
        .unwrap();
    let refused = unnamed(&second).found_account().await.unwrap_err();
    assert_eq!(code(refused), "ambiguous-account");
    let named = Client::new(&world.url(), as_account(&second, owner)).unwrap();
    assert_eq!(named.own_account().await.unwrap().account, owner);
    // A key that an account began with is that account's, whoever adds it elsewhere.
    let key = world.owner.public_key();
    client
        .submit(vec![
            AddKey {
                key,
                grant: Grant::full(),
            }
            .into(),
        ])
        .await
        .unwrap();
    assert_eq!(
        unnamed(&world.owner).found_account().await.unwrap().account,
        owner
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_a_transfer_opened_acts_with_its_first_key() {
    let world = World::start().await;
    let friend = Identity::new_account().unwrap();
    let account = friend.account().unwrap();
    let client = Client::new(&world.url(), as_account(&friend, account)).unwrap();
    assert_eq!(code(client.own_account().await.unwrap_err()), "key_unknown");
    let amount = Credits::from_micro(1_000);
    let to_friend = Transfer {
        to: account,
        amount,
        memo: String::new(),
    };
    world.client().submit(vec![to_friend.into()]).await.unwrap();
    assert_eq!(client.own_account().await.unwrap().balance, amount);
    let back = Transfer {
        to: world.owner.account().unwrap(),
        amount,
        memo: String::new(),
    };
    client.submit(vec![back.into()]).await.unwrap();
    assert_eq!(client.own_account().await.unwrap().keys.len(), 1);
}

/// What a key that acts no longer is told, once the node's archive has read the block that says why.
async fn told(client: &Client) -> Error {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let refused = client.own_account().await.unwrap_err();
        let is_unknown =
            matches!(&refused, Error::Problem(problem) if problem.code == "key_unknown");
        if !is_unknown || std::time::Instant::now() > deadline {
            return refused;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_and_a_revoked_key_are_told_what_became_of_them() {
    let world = World::start().await;
    let owner = world.owner.account().unwrap();
    let agent = world.key_with(Grant::full()).await;
    let client = Client::new(&world.url(), as_account(&agent, owner)).unwrap();
    let next = agent.rotated().unwrap();
    client
        .submit(vec![
            RotateKey {
                new: next.public_key(),
            }
            .into(),
        ])
        .await
        .unwrap();
    let refused = told(&client).await;
    assert!(
        refused.to_string().contains(&next.public_key().to_string()),
        "{refused}"
    );
    assert!(refused.to_string().contains("recovery phrase"), "{refused}");
    assert_eq!(code(refused), "rotated-key");
    let client = Client::new(&world.url(), as_account(&next, owner)).unwrap();
    client.own_account().await.unwrap();
    let key = next.public_key();
    world
        .client()
        .submit(vec![RevokeKey { key }.into()])
        .await
        .unwrap();
    assert_eq!(code(told(&client).await), "revoked-key");
    // Once it is added again, it acts again.
    let grant = Grant::full();
    world
        .client()
        .submit(vec![AddKey { key, grant }.into()])
        .await
        .unwrap();
    client.own_account().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_app_hears_why_it_may_hand_over_no_image() {
    let world = World::start().await;
    let owner = world.owner.account().unwrap();
    let grant = Grant {
        apps: AppSelector::Only([Label::of(owner.as_bytes(), "shop")].into()),
        ..Grant::full()
    };
    let agent = world.key_with(grant).await;
    let client = Client::new(&world.url(), as_account(&agent, owner)).unwrap();
    // More than a connection holds, so that it is refused before all of it is there.
    let archive = tempfile::NamedTempFile::new().unwrap();
    archive.as_file().set_len(64 << 20).unwrap();
    let refused = client.import_images(archive.path()).await.unwrap_err();
    assert_eq!(code(refused), "resource-not-granted");
}
