//! The shapes against what is really sent: a field that is missing in either is found.

use allod_node::view;
use allod_state::evidence::{Item, Usage};
use allod_state::lease::{EndCause, Phase};
use allod_state::node::{Isolation, Prices, Resources};
use allod_state::{
    AccountId, AppId, Credits, Label, LeaseId, NetworkId, NodeId, PlanId, PublicKey, TransactionId,
};
use serde::Serialize;
use serde_json::Value;

use super::*;

/// What of `value` does not look like `shape`.
fn mismatch(shape: &Shape, value: &Value) -> Option<String> {
    let is_fine = match shape {
        Shape::Any => true,
        Shape::Text => value.is_string(),
        Shape::Id(prefix) => value.as_str().is_some_and(|text| {
            text.strip_prefix(prefix).is_some_and(|rest| {
                let allowed = |c: char| c.is_ascii_lowercase() || ('2'..='7').contains(&c);
                rest.strip_prefix('_')
                    .is_some_and(|rest| rest.chars().all(allowed))
            })
        }),
        Shape::Amount => value
            .as_str()
            .is_some_and(|text| text.parse::<Credits>().is_ok()),
        Shape::Count => value.is_u64(),
        Shape::Flag => value.is_boolean(),
        Shape::OneOf(texts) => value.as_str().is_some_and(|text| texts.contains(&text)),
        Shape::Maybe(inner) => {
            return if value.is_null() {
                None
            } else {
                mismatch(inner, value)
            };
        }
        Shape::List(inner) => match value.as_array() {
            Some(list) => return list.iter().find_map(|one| mismatch(inner, one)),
            None => false,
        },
        Shape::Map(inner) => match value.as_object() {
            Some(map) => return map.values().find_map(|one| mismatch(inner, one)),
            None => false,
        },
        Shape::View(view) => return object_mismatch(view, value),
    };
    (!is_fine).then(|| format!("{value} is no {shape:?}"))
}

fn object_mismatch(view: &View, value: &Value) -> Option<String> {
    let Some(map) = value.as_object() else {
        return Some(format!("{value} is no {}", view.name));
    };
    let is_known = |name: &String| view.fields.iter().any(|field| field.name == name);
    if let Some(unknown) = map.keys().find(|name| !is_known(name)) {
        return Some(format!(
            "{} has an undescribed field `{unknown}`",
            view.name
        ));
    }
    view.fields
        .iter()
        .find_map(|field| match map.get(field.name) {
            None if field.is_optional => None,
            None => Some(format!("{} lacks `{}`", view.name, field.name)),
            Some(inner) => {
                let found = mismatch(&field.shape, inner);
                found.map(|found| format!("{}.{}: {found}", view.name, field.name))
            }
        })
}

#[track_caller]
fn assert_fits(view: &'static View, value: &impl Serialize) {
    let value = serde_json::to_value(value).unwrap();
    assert_eq!(object_mismatch(view, &value), None);
}

const ACCOUNT_ID: AccountId = AccountId([1; 32]);
const NODE_ID: NodeId = NodeId([2; 32]);
const APP_ID: AppId = AppId([3; 32]);
const LEASE_ID: LeaseId = LeaseId([4; 32]);
const LABEL: Label = Label([5; 32]);

fn credit() -> Credits {
    Credits::from_micro(-1_250_000)
}

fn rejection() -> view::Rejection {
    view::Rejection::from(&allod_state::Rejection::UnknownKey)
}

fn replica(phase: Phase) -> view::Replica {
    view::Replica {
        replica: 0,
        lease: Some(LEASE_ID),
        epoch: 1,
        revision: Some(1),
        node: Some(NODE_ID),
        phase: Some(phase),
        stage: "ready".into(),
        detail: Some("none".into()),
        address: Some("10.0.0.2".into()),
        failures: 0,
    }
}

#[test]
fn peers_and_validators_fit() {
    assert_fits(
        &PEER,
        &view::Peer {
            node: NODE_ID,
            name: Some("one".into()),
            by: Some("192.0.2.1:4433".into()),
            is_direct: true,
            round_trip_us: 300,
            problem: Some("it did not answer".into()),
            relay: Some(NODE_ID),
            addresses: vec!["192.0.2.1:4433".parse().unwrap()],
            relayed_by: vec![NODE_ID],
        },
    );
    assert_fits(
        &VALIDATOR,
        &view::Validator {
            node: NODE_ID,
            name: Some("one".into()),
            operator: Some(ACCOUNT_ID),
            standing: view::Standing::Validates,
            power: 1,
            votes: vec![NODE_ID],
        },
    );
}

#[test]
fn machines_fit() {
    assert_fits(
        &NODE,
        &view::Node {
            node: NODE_ID,
            name: "one".into(),
            operator: ACCOUNT_ID,
            sealing_key: "00".into(),
            region: Some("eu".into()),
            capacity: Resources::default(),
            used: Resources::default(),
            prices: Some(Prices {
                cpu_core_hour: credit(),
                memory_gib_hour: credit(),
                storage_gib_hour: credit(),
            }),
            isolation: vec![Isolation::Container, Isolation::Vm, Isolation::Wasm],
            tags: vec!["ssd".into()],
            is_cordoned: false,
            is_draining: false,
            is_unreachable: false,
            reputation_ppm: 500_000,
            days: vec![view::Day {
                day: 20_000,
                watched_ms: 2,
                up_ms: 1,
            }],
        },
    );
}

#[test]
fn accounts_and_networks_fit() {
    let key = view::Key {
        key: PublicKey::Ed25519([7; 32]),
        verbs: vec!["read".into()],
        apps: Some(vec![Label([8; 32])]),
        budget: Some(view::Budget {
            amount: credit(),
            period_ms: 1,
            spent: credit(),
        }),
        nonce: 3,
        expires_ms: Some(9),
    };
    assert_fits(
        &ACCOUNT,
        &view::Account {
            account: ACCOUNT_ID,
            balance: credit(),
            line: credit(),
            available: credit(),
            keys: vec![key],
        },
    );
    assert_fits(
        &NETWORK,
        &view::Network {
            network: NetworkId([6; 32]),
            height: 1,
            time_ms: 2,
            oldest: Some(1),
            validators: 1,
            node: NODE_ID,
            ingress: "127.0.0.1:1".into(),
            notice: None,
            entrance: Some("allod-entrance-aa".into()),
            disk: view::Disk {
                free_bytes: 1,
                is_full: false,
                images_bytes: 0,
            },
        },
    );
    assert_fits(
        &MOVEMENT,
        &view::Movement {
            height: 1,
            time_ms: 2,
            from: ACCOUNT_ID,
            to: ACCOUNT_ID,
            amount: credit(),
            memo: String::new(),
        },
    );
}

#[test]
fn apps_fit() {
    let ended = Phase::Ended {
        cause: EndCause::PullDenied,
        at_ms: 3,
    };
    let phases = [Phase::Placed, Phase::Ready { since_ms: 2 }, ended];
    let service = view::Service {
        name: "web".into(),
        image: "nginx".into(),
        wanted: 1,
        ready: 1,
        is_exclusive: false,
        is_halted: false,
        urls: vec!["http://web.a.localhost:1".into()],
        published: vec![],
        replicas: phases.into_iter().map(replica).collect(),
    };
    assert_fits(
        &APP,
        &view::App {
            app: APP_ID,
            name: "a".into(),
            revision: 2,
            revisions: vec![1, 2],
            services: vec![service],
            price_per_hour: credit(),
        },
    );
}

#[test]
fn plans_and_receipts_fit() {
    let placement = view::Placement {
        service: LABEL,
        replica: 0,
        node: NODE_ID,
        node_name: "one".into(),
        price_per_hour: credit(),
    };
    let refusal = view::NodeRefusal {
        node: NODE_ID,
        name: "one".into(),
        rules: vec!["full".into()],
    };
    assert_fits(
        &PLAN,
        &view::Plan {
            id: Some(PlanId([8; 32])),
            placements: vec![placement],
            price_per_hour: credit(),
            readers: vec![view::Reader {
                node: NODE_ID,
                sealing_key: "00".into(),
            }],
            rejection: Some(rejection()),
            refusals: vec![refusal],
            root: allod_state::Root([8; 32]).to_string(),
            height: 1,
        },
    );
    assert_fits(
        &RECEIPT,
        &view::Receipt {
            transaction: TransactionId([9; 32]),
            height: 1,
            rejection: Some(rejection()),
            fee: credit(),
            events: vec!["x".into()],
        },
    );
    assert_fits(
        &HAPPENING,
        &view::Happening {
            height: 1,
            index: 0,
            time_ms: 2,
            app: Some(APP_ID),
            kind: "app.deployed".into(),
            text: "revision 1".into(),
        },
    );
}

#[test]
fn bills_fit() {
    let line = view::BillLine {
        lease: LEASE_ID,
        app: "a".into(),
        service: "web".into(),
        payee: Some(ACCOUNT_ID),
        price_per_hour: Some(credit()),
        line: allod_state::bill::Line::default(),
        usage: Usage::default(),
    };
    assert_fits(
        &BILL,
        &view::Bill {
            payer: ACCOUNT_ID,
            month: 202_611,
            lines: vec![line],
            total: credit(),
            to_oneself: credit(),
        },
    );
    let proved = view::Proved {
        value: "00".into(),
        proof: "00".into(),
    };
    let item = Item {
        lease: LEASE_ID,
        epoch: 1,
        from_ms: 0,
        until_ms: 1,
        ready_ms: 1,
        usage: Usage::default(),
    };
    assert_fits(
        &BILL_PROOF,
        &view::BillProof {
            certified: certified(),
            lines: vec![view::LineProof {
                lease: LEASE_ID,
                line: proved.clone(),
                row: proved,
                items: vec![item],
            }],
        },
    );
}

fn certified() -> view::Certified {
    view::Certified {
        genesis: "00".into(),
        header: "00".into(),
        certificate: "00".into(),
        handovers: vec!["00".into()],
    }
}

#[test]
fn belongings_fit() {
    let proved = view::Proved {
        value: "00".into(),
        proof: "00".into(),
    };
    let row = view::OwnedRow {
        key: "00".into(),
        row: proved.clone(),
    };
    assert_fits(
        &BELONGINGS,
        &view::Belongings {
            network: allod_state::NetworkId([6; 32]),
            account: ACCOUNT_ID,
            certified: certified(),
            holdings: proved,
            rows: vec![row],
        },
    );
    assert_fits(
        &SEALED,
        &view::Sealed {
            digest: allod_state::Digest([1; 32]),
            ciphertext: "00".into(),
        },
    );
}

#[test]
fn volumes_lines_and_images_fit() {
    assert_fits(
        &VOLUME,
        &view::Volume {
            app: LABEL,
            volume: LABEL,
            name: "a/data".into(),
            node: NODE_ID,
            bytes: 1,
            standing: allod_state::volume::Standing::Kept,
        },
    );
    assert_fits(
        &LOG_LINE,
        &view::LogLine {
            service: "web".into(),
            replica: 0,
            at_ms: 1,
            is_error: false,
            text: "hello".into(),
        },
    );
    assert_fits(
        &IMAGE,
        &allod_node::ImageView {
            entrypoint: vec![],
            cmd: vec!["sh".into()],
            exposed_ports: vec!["80/tcp".into()],
            volumes: vec![],
            user: String::new(),
        },
    );
}

#[test]
fn a_field_that_is_not_described_is_found() {
    let health = serde_json::json!({ "status": "ok", "height": 1, "more": 1 });
    assert!(object_mismatch(&HEALTH, &health).is_some());
    assert!(object_mismatch(&HEALTH, &serde_json::json!({ "status": "ok" })).is_some());
    assert!(
        object_mismatch(
            &HEALTH,
            &serde_json::json!({ "status": "bad", "height": 1 })
        )
        .is_some()
    );
}
