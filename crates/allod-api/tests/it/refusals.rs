//! What goes wrong before anything is signed: each refusal with its name, its status, its exit and its next step,
//! nothing charged, and nothing left on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use allod_api::client::{Client, Doors, Error, Problem, parse_budget, parse_span};
use allod_api::compose::{Input, Lowered, Single, lower, single};
use allod_node::identity::Identity;
use allod_node::manifest::ImageSource;
use allod_node::view;
use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::app::Scale;
use allod_state::credit::Transfer;
use allod_state::node::{Prices, PublishOffer};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::{AccountId, Action, Credits, Label, NetworkId, Transaction};
use http::Method;
use sha2::{Digest, Sha256};

use crate::registry::{Registry, Reply};
use crate::world::{SOON, World, as_account};

/// What the account has, and what its key did: neither may change by what is refused.
async fn books(world: &World) -> (Credits, u64) {
    let account = world.client().own_account().await.unwrap();
    let own = world.owner.public_key();
    let key = account.keys.iter().find(|key| key.key == own).unwrap();
    (account.balance, key.nonce)
}

fn problem<T: std::fmt::Debug>(outcome: Result<T, Error>) -> (Problem, u8) {
    match outcome {
        Err(Error::Problem(problem)) => {
            let exit = problem.exit().code();
            assert!(!problem.next_step.is_empty(), "{problem:?}");
            (*problem, exit)
        }
        other => panic!("{other:?}"),
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name() != Some("lock".as_ref()) {
            found.push(path.display().to_string());
        }
    }
    found
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn index(platform: &str, digest: &str) -> Vec<u8> {
    let (os, architecture) = platform.split_once('/').unwrap();
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":7,"platform":{{"os":"{os}","architecture":"{architecture}"}}}}]}}"#
    )
    .into_bytes()
}

fn this_platform() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "linux/arm64",
        _ => "linux/amd64",
    }
}

fn manifest() -> Vec<u8> {
    let digest = format!("sha256:{}", "a".repeat(64));
    format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{digest}","size":2}},"layers":[]}}"#
    )
    .into_bytes()
}

/// A fault, what it is called, its status and its exit.
type Fault = (Registry, &'static str, u16, u8);

fn faults() -> Vec<Fault> {
    let always = |status: u16, headers: &'static [(&'static str, &'static str)]| {
        let why = br#"{"errors":[{"message":"because"}]}"#;
        Registry::start(move |_| Reply::new(status, headers, why))
    };
    let to = |target: &'static str| {
        Registry::start(move |_| Reply::new(307, &[("Location", target)], b""))
    };
    let challenging = Registry::start(|asked| {
        if asked.path.starts_with("/token") {
            return Reply::new(401, &[], b"");
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", asked.address);
        Reply::new(401, &[("WWW-Authenticate", &challenge)], b"")
    });
    let mut faults = vec![
        (always(401, &[]), "registry-login-needed", 502, 4),
        (challenging, "registry-login-needed", 502, 4),
        (always(403, &[]), "registry-forbidden", 502, 5),
        (always(404, &[]), "image-not-found", 404, 3),
        (
            always(429, &[("Retry-After", "3600")]),
            "registry-rate-limited",
            503,
            1,
        ),
        (always(500, &[]), "registry-failed", 502, 1),
    ];
    for target in [
        "https://10.0.0.1/v2/",
        "http://169.254.169.254/latest/meta-data",
    ] {
        faults.push((to(target), "registry-redirect-refused", 502, 5));
    }
    faults.extend(lies());
    faults
}

fn lies() -> Vec<Fault> {
    let zeros = format!("sha256:{}", "0".repeat(64));
    let (lie, elsewhere) = (index(this_platform(), &zeros), index("linux/s390x", &zeros));
    let says = |body: &'static [u8]| Registry::start(move |_| Reply::new(200, &[], body));
    let spaces: &'static [u8] = vec![b' '; 5 << 20].leak();
    let other = Registry::start(move |asked| match asked.path.ends_with("/manifests/1") {
        true => Reply::new(200, &[], &lie),
        false => Reply::new(200, &[], &manifest()),
    });
    let short = Registry::start(|_| Reply::raw(200, &[("Content-Length", "5000")], &manifest()));
    vec![
        (
            Registry::start(move |_| Reply::new(200, &[], &elsewhere)),
            "no-platform",
            422,
            7,
        ),
        (other, "digest-mismatch", 502, 1),
        (short, "registry-cut-off", 502, 1),
        (says(spaces), "image-too-large", 422, 2),
        (
            says(b"<html>Log in to the hotel</html>"),
            "unusable-image",
            422,
            2,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_fault_of_a_registry_has_its_own_name_and_leaves_nothing_behind() {
    let world = World::start().await;
    let before = books(&world).await;
    let mut names = BTreeSet::new();
    for (registry, code, status, exit) in faults() {
        let (told, ended) = problem(world.client().resolve_image(&registry.image()).await);
        assert_eq!(
            (told.code.as_str(), told.status, ended),
            (code, status, exit),
            "{told:?}"
        );
        assert!(!told.next_step.contains("HOST"), "{told:?}");
        let host = registry.address.to_string();
        assert!(
            told.detail.contains(&host) || code == "no-platform",
            "{code}: {}",
            told.detail
        );
        names.insert(code);
    }
    assert_eq!(names.len(), 11);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/app:1", nobody.local_addr().unwrap());
    drop(nobody);
    let (told, exit) = problem(world.client().resolve_image(&image).await);
    assert_eq!((told.code.as_str(), exit), ("registry-unreachable", 9));
    let (told, exit) = problem(world.client().resolve_image("Not A Reference").await);
    assert_eq!((told.code.as_str(), exit), ("bad-reference", 2));
    assert_eq!(books(&world).await, before);
    assert_eq!(files(&world.images()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_a_registry_asks_for_is_kept_where_it_is_short() {
    let world = World::start().await;
    let busy = std::sync::atomic::AtomicBool::new(true);
    let registry =
        Registry::start(
            move |_| match busy.swap(false, std::sync::atomic::Ordering::SeqCst) {
                true => Reply::new(429, &[("Retry-After", "1")], b""),
                false => Reply::new(200, &[], &manifest()),
            },
        );
    let began = Instant::now();
    world
        .client()
        .resolve_image(&registry.image())
        .await
        .unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(registry.asked(), 2);
    let long = Registry::start(|_| Reply::new(429, &[("Retry-After", "3600")], b""));
    let body = format!(r#"{{"reference":"{}"}}"#, long.image());
    let body = Some(("application/json", body.as_bytes()));
    let answer = world
        .ask(Method::POST, "/v1/images/resolve", body, Some(&world.owner))
        .await;
    assert_eq!(answer.code(), "registry-rate-limited");
    assert_eq!(answer.headers["retry-after"], "3600");
    assert_eq!(
        long.asked(),
        1,
        "an hour is not waited for, nor asked again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_where_the_registry_gives_one_to_strangers() {
    let world = World::start().await;
    let registry = Registry::start(|asked| {
        if asked.path.starts_with("/token") {
            return Reply::new(200, &[], br#"{"token":"t0ken"}"#);
        }
        if asked.head.contains("Bearer t0ken") {
            return Reply::new(200, &[], &manifest());
        }
        let challenge = format!(
            "Bearer realm=\"http://{}/token\",service=\"s\"",
            asked.address
        );
        Reply::new(401, &[("WWW-Authenticate", &challenge)], b"")
    });
    world
        .client()
        .resolve_image(&registry.image())
        .await
        .unwrap();
    let closed =
        Registry::start(|_| Reply::new(401, &[("WWW-Authenticate", "Basic realm=x")], b""));
    let password = allod_node::identity::Secret::new("wrong".to_owned());
    let host = closed.address.to_string();
    world.client().login(&host, "me", &password).await.unwrap();
    let (told, exit) = problem(world.client().resolve_image(&closed.image()).await);
    assert_eq!((told.code.as_str(), exit), ("registry-login-refused", 4));
    assert!(told.next_step.contains(&host), "{}", told.next_step);
    assert!(
        !format!("{told:?}").contains("wrong"),
        "the password is repeated"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_says_nothing_is_given_up_slow() {
    let world = World::start().await;
    let registry = Registry::start(|_| Reply::silence());
    let (told, exit) = problem(world.client().resolve_image(&registry.image()).await);
    assert_eq!(
        (told.code.as_str(), told.status, exit),
        ("registry-timeout", 504, 8)
    );
    assert_eq!(files(&world.images()), Vec::<String>::new());
}

fn transfer(micro: i128) -> Action {
    Transfer {
        to: Identity::new_account().unwrap().account().unwrap(),
        amount: Credits::from_micro(micro),
        memo: String::new(),
    }
    .into()
}

/// Signs a transaction of the owner's that is right but for what `change` does to it.
async fn signed(world: &World, change: impl FnOnce(&mut Body)) -> Transaction {
    let (_, nonce) = books(world).await;
    let actions = vec![transfer(1_000_000)];
    let mut body = Body {
        version: PROTOCOL_VERSION,
        network: world.node.network().network,
        account: world.owner.account().unwrap(),
        key: world.owner.public_key(),
        nonce,
        expires_ms: allod_node::time::now_ms() + 60_000,
        work_limit: actions.iter().map(Action::work).sum(),
        actions,
    };
    change(&mut body);
    let signature = world.owner.sign(&body.sign_bytes());
    Transaction { body, signature }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_of_another_time_place_or_order_are_told_apart() {
    let world = World::start().await;
    let now_ms = allod_node::time::now_ms();
    let first = signed(&world, |_| {}).await;
    let used = first.body.nonce;
    let bytes = first.to_bytes();
    let sent = Some(("application/octet-stream", bytes.as_slice()));
    let answer = world
        .ask(Method::POST, "/v1/transactions", sent, None)
        .await;
    assert_eq!(answer.status, 200);
    let before = books(&world).await;
    let again = world
        .ask(Method::POST, "/v1/transactions", sent, None)
        .await;
    assert_eq!(
        again.json(),
        answer.json(),
        "the very same one takes effect once"
    );
    type Change = Box<dyn FnOnce(&mut Body)>;
    let rows: Vec<(Change, &str, u16)> = vec![
        (Box::new(move |body| body.nonce = used), "wrong-nonce", 409),
        (Box::new(|body| body.nonce += 1_000), "wrong-nonce", 409),
        (
            Box::new(move |body| body.expires_ms = now_ms - 1),
            "expired",
            409,
        ),
        (
            Box::new(move |body| body.expires_ms = now_ms + 2 * 3_600_000),
            "expiry-too-far",
            422,
        ),
        (
            Box::new(|body| body.network = NetworkId([7; 32])),
            "wrong-network",
            422,
        ),
        (Box::new(|body| body.version += 1), "wrong-version", 422),
        (Box::new(|body| body.work_limit = 0), "work-limit", 422),
        (Box::new(|body| body.actions.clear()), "action-count", 422),
    ];
    for (change, code, status) in rows {
        let bytes = signed(&world, change).await.to_bytes();
        let sent = Some(("application/octet-stream", bytes.as_slice()));
        let refused = world
            .ask(Method::POST, "/v1/transactions", sent, None)
            .await;
        assert_eq!(
            (refused.code().as_str(), refused.status.as_u16()),
            (code, status)
        );
        assert_eq!(books(&world).await, before, "{code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told_by_how_much() {
    let world = World::start().await;
    let now_s = allod_node::time::now_ms() / 1_000;
    for (at_s, code) in [
        (now_s + 3_600, "clock_skew"),
        (now_s - 3_600, "signature_expired"),
    ] {
        let plain = world.request(Method::GET, "/v1/apps", None, None);
        let (mut parts, body) = plain.into_parts();
        allod_api::signature::sign(&mut parts, b"", &world.owner, at_s).unwrap();
        let refused = world.send(http::Request::from_parts(parts, body)).await;
        assert_eq!(
            (refused.code().as_str(), refused.status.as_u16()),
            (code, 401)
        );
        let json = refused.json();
        let told = Problem {
            code: code.to_owned(),
            status: 401,
            ..Problem::default()
        };
        if code == "clock_skew" {
            assert_eq!(told.exit().code(), 1, "a clock is no identity");
            assert!(
                json["next_step"].as_str().unwrap().contains("timedatectl"),
                "{json}"
            );
            assert!(
                json["detail"].as_str().unwrap().contains("s apart"),
                "{json}"
            );
        }
    }
}

/// As if the images had been given to the node as files: no registry is asked for them.
fn handed_over(lowered: &mut Lowered) {
    for service in lowered.manifest.services.values_mut() {
        service.image.source = ImageSource::Archive;
        service.image.digest = Some(format!("sha256:{}", "1".repeat(64)));
    }
}

fn lowered_from(text: &str) -> Lowered {
    let lowered = lower(&Input {
        text,
        file: "compose.yaml",
        folder: None,
        variables: &BTreeMap::new(),
        profiles: &BTreeSet::new(),
        name: None,
    });
    lowered.unwrap()
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

fn lowered(change: impl FnOnce(&mut Single)) -> Lowered {
    let mut asked = Single {
        image: "archive".into(),
        archive_digest: Some(format!("sha256:{}", "1".repeat(64))),
        name: Some("web".into()),
        ..Single::default()
    };
    change(&mut asked);
    single(&asked).unwrap()
}

async fn planned(world: &World, lowered: Lowered) -> view::Plan {
    let client = world.client();
    let network = client.network().await.unwrap();
    let prepared = client.prepare(lowered, &network).await.unwrap();
    client
        .plan(&vec![Action::from(prepared.deploy)])
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_images_are_asked_for_before_anything_is_signed() {
    let world = World::start().await;
    let before = books(&world).await;
    let honest = format!("sha256:{}", hex(&Sha256::digest(manifest())));
    let prepared = async |registry: &Registry, digest: &str| {
        let text = format!(
            "name: shop\nservices:\n  web:\n    image: {}@{digest}\n",
            registry.image()
        );
        let (client, lowered) = (world.client(), lowered_from(&text));
        let network = client.network().await.unwrap();
        client.prepare(lowered, &network).await
    };
    let (other, exit) = {
        let registry = Registry::start(|_| Reply::new(200, &[], &manifest()));
        problem(prepared(&registry, &format!("sha256:{}", "1".repeat(64))).await)
    };
    assert_eq!(
        (other.code.as_str(), other.status, exit),
        ("digest-mismatch", 502, 1)
    );
    let absent = Registry::start(|_| Reply::new(404, &[], b""));
    let (told, exit) = problem(prepared(&absent, &honest).await);
    assert_eq!(
        (told.code.as_str(), told.status, exit),
        ("image-not-found", 404, 3)
    );
    assert!(told.detail.contains(&honest[..20]), "{told:?}");
    assert_eq!(books(&world).await, before);
    assert_eq!(files(&world.images()), Vec::<String>::new());
    let registry = Registry::start(|_| Reply::new(200, &[], &manifest()));
    let deploy = prepared(&registry, &honest).await.unwrap().deploy;
    assert_eq!(deploy.services.len(), 1);
    assert_eq!(registry.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_node_has_room_for_is_refused_rule_by_rule() {
    let world = World::start().await;
    let before = books(&world).await;
    let big = |asked: &mut Single| asked.memory = Some("900g".into());
    let plan = planned(&world, lowered(big)).await;
    assert_eq!(plan.rejection.unwrap().name, "no-placement");
    let rules = plan.refusals[0].rules.join("\n");
    assert!(rules.contains("GiB of memory"), "{rules}");
    let wide = |asked: &mut Single| asked.storage = Some("900t".into());
    let plan = planned(&world, lowered(wide)).await;
    let rules = plan.refusals[0].rules.join("\n");
    assert!(rules.contains("iB of disk"), "{rules}");
    assert!(
        !rules.contains("memory"),
        "only what fails is told: {rules}"
    );
    let error = Error::NoPlacement(plan.refusals);
    assert_eq!(error.exit().code(), 7);
    assert_eq!(books(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_budget_ends_before_the_accounts_credits_do() {
    let world = World::start().await;
    let grant = Grant {
        budget: Some(Budget {
            amount: Credits::from_micro(2_000_000),
            period_ms: 24 * 3_600_000,
        }),
        ..Grant::full()
    };
    let limited = world.key_with(grant).await;
    let balance = books(&world).await.0;
    let client = Client::new(&world.url(), limited).unwrap();
    let (told, exit) = problem(client.submit(vec![transfer(3_000_000)]).await);
    assert_eq!(
        (told.code.as_str(), told.status, exit),
        ("budget-exceeded", 403, 5)
    );
    let (told, exit) = problem(
        world
            .client()
            .submit(vec![transfer(1_000_000_000_000_000)])
            .await,
    );
    assert_eq!(
        (told.code.as_str(), told.status, exit),
        ("insufficient-credit", 402, 6)
    );
    assert_eq!(books(&world).await.0, balance);
}

/// On this machine a GiB of memory costs 0.4 credits an hour from now on, and nothing else costs anything.
async fn dear_memory(world: &World) {
    let node = world.node.id();
    let mut offer = world.node.state().node(&node).unwrap().offer.unwrap();
    offer.prices = Prices {
        cpu_core_hour: Credits::ZERO,
        memory_gib_hour: Credits::from_micro(400_000),
        storage_gib_hour: Credits::ZERO,
    };
    let offered = PublishOffer { node, offer };
    world.client().submit(vec![offered.into()]).await.unwrap();
}

/// What `allod keys add --verbs deploy,scale --app shop --budget 5/day --ttl 30d` asks for.
fn of_an_agent(owner: AccountId) -> Grant {
    let ttl_ms = u64::try_from(parse_span("30d").unwrap().as_millis()).unwrap();
    Grant {
        verbs: BTreeSet::from([Verb::Deploy, Verb::Scale]),
        apps: AppSelector::Only([Label::of(owner.as_bytes(), "shop")].into()),
        nodes: NodeSelector::Only(BTreeSet::new()),
        budget: Some(parse_budget("5/day").unwrap()),
        expires_ms: Some(allod_node::time::now_ms() + ttl_ms),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_five_credits_a_day_deploys_and_scales_within_them() {
    let world = World::start().await;
    dear_memory(&world).await;
    let owner = world.owner.account().unwrap();
    let agent = world.key_with(of_an_agent(owner)).await;
    let client = Client::new(&world.url(), as_account(&agent, owner)).unwrap();
    let network = client.network().await.unwrap();
    // 2.4 credits a day for each replica.
    let prepared = async |replicas: u32| {
        let text = format!(
            "name: shop\nservices:\n  web:\n    image: web\n    deploy:\n      replicas: {replicas}\n      \
             resources: {{ limits: {{ memory: 256m }} }}\n"
        );
        let mut lowered = lowered_from(&text);
        handed_over(&mut lowered);
        let prepared = client.prepare(lowered, &network).await.unwrap();
        client.put_manifest(prepared.ciphertext).await.unwrap();
        prepared.deploy
    };
    let refused = async |action: Action| {
        let (told, exit) = problem(client.submit(vec![action]).await);
        let seen = (told.code.as_str(), told.status, exit);
        assert_eq!(seen, ("budget-exceeded", 403, 5));
        assert!(told.next_step.contains("a larger budget"), "{told:?}");
        told.detail
    };
    assert_eq!(
        refused(prepared(3).await.into()).await,
        "the signing key's budget is 5 credits for the period; this needs 7.2"
    );
    let app = || world.node.app_id(&world.node.state(), &owner, "shop");
    assert_eq!(app(), None);
    let deploy = prepared(2).await;
    let service = *deploy.services.keys().next().unwrap();
    client.submit(vec![deploy.into()]).await.unwrap();
    let app = app().unwrap();
    // Whether the two run or wait, as they do here without their image: six more are too many.
    let scale = |replicas| {
        Action::from(Scale {
            app,
            service,
            replicas,
        })
    };
    let told = refused(scale(8)).await;
    assert!(
        told.starts_with("the signing key's budget is 5 credits"),
        "{told}"
    );
    let kept = world.node.state().app(&app).unwrap().services[&service].replicas;
    assert_eq!(kept, 2);
    // The owner is bound by no budget.
    world.client().submit(vec![scale(8)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_and_host_names_of_others_are_refused_before_anything_is_signed() {
    let world = World::start().await;
    let client = world.client();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let loopback = Ipv4Addr::LOCALHOST.into();
    let before = books(&world).await;
    for (protocol, port) in [
        ("tcp", other.local_addr().unwrap().port()),
        ("udp", udp.local_addr().unwrap().port()),
    ] {
        let doors = Doors {
            ports: [(protocol, loopback, port)].into(),
            ..Doors::default()
        };
        let (told, exit) = problem(client.check_doors("web", &doors).await);
        assert_eq!(
            (told.code.as_str(), told.status, exit),
            ("port-taken", 409, 1)
        );
        assert!(told.detail.contains(&port.to_string()), "{}", told.detail);
    }
    let elsewhere = Doors {
        ports: [("tcp", Ipv4Addr::new(192, 0, 2, 1).into(), 8_080)].into(),
        ..Doors::default()
    };
    let (told, _) = problem(client.check_doors("web", &elsewhere).await);
    assert_eq!(told.code, "port-refused");
    let many = (0..200).map(|n| format!("h{n}.localhost")).collect();
    let free = Doors {
        hosts: many,
        ..Doors::default()
    };
    client.check_doors("web", &free).await.unwrap();
    assert_eq!(books(&world).await, before);

    // An app that runs has its host name for itself; a new revision of it keeps the name.
    let network = client.network().await.unwrap();
    let lowered = lowered(|asked| asked.ports = vec!["80".into()]);
    let prepared = client.prepare(lowered, &network).await.unwrap();
    let doors = prepared.doors.clone();
    assert_eq!(doors.hosts, ["web.localhost".to_owned()].into());
    client.put_manifest(prepared.ciphertext).await.unwrap();
    client.submit(vec![prepared.deploy.into()]).await.unwrap();
    let taken = async {
        while client.check_doors("other", &doors).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, taken).await.unwrap();
    let (told, exit) = problem(client.check_doors("other", &doors).await);
    assert_eq!((told.code.as_str(), exit), ("host-taken", 1));
    assert!(told.detail.contains("the app web"), "{}", told.detail);
    client.check_doors("web", &doors).await.unwrap();
}

/// What the compose corpus asks for is taken by the law, but for what this machine may be too small for.
#[tokio::test(flavor = "multi_thread")]
async fn the_law_takes_every_good_deploy_file() {
    let world = World::start().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose/good");
    let pairs = [
        ("API_KEY_OF_TESTS", "k3y"),
        ("HOME_OF_TESTS", "/h"),
        ("FROM_CALLER", "yes"),
    ];
    let variables = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension() != Some("yaml".as_ref()) {
            continue;
        }
        let mut lowered = lower(&Input {
            text: &std::fs::read_to_string(&path).unwrap(),
            file: "compose.yaml",
            folder: Some(&folder),
            variables: &variables.clone().into(),
            profiles: &["*".to_owned()].into(),
            name: None,
        })
        .unwrap();
        handed_over(&mut lowered);
        let plan = planned(&world, lowered).await;
        let rejection = plan
            .rejection
            .map_or(String::new(), |rejection| rejection.name);
        assert!(
            matches!(rejection.as_str(), "" | "no-placement"),
            "{}: {rejection}",
            path.display()
        );
        let size = [
            "milli-CPU",
            "of memory",
            "of disk",
            "region",
            "tag",
            "workloads",
            "credits an hour",
            "replicas of the service",
        ];
        for rule in plan.refusals.iter().flat_map(|refusal| &refusal.rules) {
            let is_of_the_machine = size.iter().any(|word| rule.contains(word));
            assert!(is_of_the_machine, "{}: {rule}", path.display());
        }
        count += 1;
    }
    assert!(count >= 60);
}
