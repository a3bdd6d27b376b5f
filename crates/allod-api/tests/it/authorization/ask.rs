//! Asking: one cell of the table over the wire.

use allod_api::ops::{Input, Method as OpsMethod, Operation};
use allod_node::identity::Identity;
use allod_state::account::grant::{AppSelector, Grant, NodeSelector};
use allod_state::account::{AddKey, OpenAccount, RevokeKey, RotateKey};
use allod_state::app::{AddReaders, Delete, Deploy, Restart, Rollback, Scale, Wrap};
use allod_state::certificate::VoteKind;
use allod_state::credit::Transfer;
use allod_state::evidence::SubmitEvidence;
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::lease::{Report, ReportLease};
use allod_state::node::{
    CordonNode, DrainNode, PublishOffer, PublishReach, Reach, RegisterNode, ReportGone,
    WithdrawOffer,
};
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::validator::{Leave, ReportConflict, ReportLoss, Said, Stand, Vote};
use allod_state::volume::{DropVolume, ReportVolume};
use allod_state::{Action, Credits, Digest, Signature, Transaction, codec};
use http::{HeaderValue, Method};

use super::Seen;
use super::stage::Stage;
use super::table::{Marker, Role, Row};
use crate::world::Answer;

const OCTETS: &str = "application/octet-stream";

impl Stage {
    /// Asks for an operation.
    pub(super) async fn read(
        &self,
        operation: &Operation,
        row: &Row,
        role: Role,
        signer: Option<&Identity>,
    ) -> Seen {
        let owner = self.world.owner.account().unwrap();
        let mut path = operation
            .path
            .replace("{account}", &owner.to_string())
            .replace("{app}", &self.shop().to_string())
            .replace("{digest}", "sha256:00")
            .replace("{label}", &self.label("shop").to_string())
            .replace("{volume}", &self.label("no volume").to_string())
            .replace("{host}", "registry.invalid:5000");
        match operation.name {
            "bill.prove" | "bill.show" => path.push_str("?month=202611"),
            // The comings and goings of the table's own keys would push the apps' events out.
            "event.list" => path.push_str("?limit=1000"),
            "manifest.show" => {
                path = path.replace(
                    "sha256:00",
                    &self.deploys[0].manifest.ciphertext.to_string(),
                )
            }
            "exec.run" => path.push_str("?cmd=true"),
            "plan.make" => path.push_str(&format!("?account={owner}")),
            "registry.logout" => path = path.replace("registry.invalid", "never.invalid"),
            _ => {}
        }
        let plan = codec::encode(&vec![self.scale(1)]);
        let json = br#"{"reference":"127.0.0.1:1/none","user":"u","password":"p"}"#;
        let login = br#"{"user":"u","password":"p"}"#;
        let doors = br#"{"app":"new","ports":[],"hosts":[]}"#;
        let reference = br#"{"reference":"127.0.0.1:1/none"}"#;
        let body: Option<(&str, &[u8])> = match (operation.name, operation.input) {
            (_, Input::Nothing) => None,
            ("registry.login", _) => Some(("application/json", login)),
            ("door.check", _) => Some(("application/json", doors)),
            ("image.resolve", _) => Some(("application/json", reference)),
            ("plan.make", _) => Some((OCTETS, &plan)),
            (_, Input::Json(_)) => Some(("application/json", json)),
            (_, Input::Bytes { .. }) => Some((OCTETS, b"no bytes of a transaction")),
            (_, Input::File { .. }) => Some(("application/x-tar", b"no archive")),
        };
        let method = match operation.method {
            OpsMethod::Get => Method::GET,
            OpsMethod::Post => Method::POST,
            OpsMethod::Put => Method::PUT,
            OpsMethod::Delete => Method::DELETE,
        };
        let answer = self.send(role, method, &path, body, signer).await;
        self.seen(row, &answer)
    }

    /// Submits a change.
    pub(super) async fn change(&self, row: &Row, role: Role, signer: Option<&Identity>) -> Seen {
        // Without a signer it is the owner's transaction, with nobody's signature.
        let author = signer.unwrap_or(&self.world.owner);
        let (action, before) = self.action(row.name, author).await;
        if !before.is_empty() {
            self.client.submit(before).await.unwrap();
        }
        let account = author.account().unwrap();
        let key = author.public_key();
        let state = self.world.node.state();
        let body = Body {
            version: PROTOCOL_VERSION,
            network: state.network(),
            account,
            key,
            nonce: state.key(&account, &key).map_or(0, |record| record.nonce),
            expires_ms: allod_node::time::now_ms() + 60_000,
            work_limit: action.work(),
            actions: vec![action],
        };
        let signature = match signer {
            Some(signer) => signer.sign(&body.sign_bytes()),
            None => Signature::Ed25519([0; 64]),
        };
        let bytes = Transaction { body, signature }.to_bytes();
        let body = Some((OCTETS, bytes.as_slice()));
        let answer = self
            .send(role, Method::POST, "/v1/transactions", body, None)
            .await;
        self.seen(row, &answer)
    }

    async fn send(
        &self,
        role: Role,
        method: Method,
        path: &str,
        body: Option<(&str, &[u8])>,
        signer: Option<&Identity>,
    ) -> Answer {
        let request = match role {
            // Signed for the name it is called by, so that only the door can refuse it.
            Role::WrongHost => {
                let host = "evil.example:80";
                self.world.request_to(host, (method, path), body, signer)
            }
            _ => self.world.request(method, path, body, signer),
        };
        let mut request = request;
        if role == Role::WrongOrigin {
            let page = HeaderValue::from_static("http://evil.example");
            request.headers_mut().insert("origin", page);
        }
        self.world.send(request).await
    }

    fn seen(&self, row: &Row, answer: &Answer) -> Seen {
        let status = answer.status.as_u16();
        let code = if answer.status.is_success() {
            String::new()
        } else {
            answer.code()
        };
        let mark = match row.marker {
            None => {
                return Seen {
                    status,
                    code,
                    tells: false,
                };
            }
            Some(Marker::Account) => self.world.owner.account().unwrap().to_string(),
            Some(Marker::App) => self.shop().to_string(),
            Some(Marker::Label) => self.label("shop").to_string(),
        };
        let text = String::from_utf8_lossy(&answer.body);
        Seen {
            status,
            code,
            // A refusal may repeat what was asked for.
            tells: answer.status.is_success() && text.contains(&mark),
        }
    }

    fn scale(&self, replicas: u32) -> Action {
        Scale {
            app: self.shop(),
            service: allod_node::service_label(&self.label("shop"), "web"),
            replicas,
        }
        .into()
    }

    /// A change of the row's kind that concerns the app `shop` or this node, and what the owner does before it.
    pub(super) async fn action(&self, name: &str, author: &Identity) -> (Action, Vec<Action>) {
        let shop = self.label("shop");
        let none = Grant {
            verbs: [].into(),
            apps: AppSelector::Only([shop].into()),
            nodes: NodeSelector::Only([].into()),
            ..Grant::full()
        };
        let fresh = || Identity::new_account().unwrap().public_key();
        let mut before = Vec::new();
        let action: Action = match name {
            "credit.transfer" => Transfer {
                to: allod_state::AccountId::of_first_key(&fresh()),
                amount: Credits::from_micro(10),
                memo: String::new(),
            }
            .into(),
            "key.add" => AddKey {
                key: fresh(),
                grant: none,
            }
            .into(),
            "key.revoke" => {
                let key = fresh();
                before.push(AddKey { key, grant: none }.into());
                RevokeKey { key }.into()
            }
            "key.rotate" => RotateKey { new: fresh() }.into(),
            "account.open" => OpenAccount { key: fresh() }.into(),
            name if name.starts_with("validator.") => self.validator_action(name),
            name if name.starts_with("node.") => self.node_action(name, author),
            "app.readers" => self.add_readers(),
            name if name.starts_with("app.") => self.app_action(name).await,
            name => self.report(name),
        };
        (action, before)
    }

    fn node_action(&self, name: &str, author: &Identity) -> Action {
        let node = self.node();
        match name {
            "node.register" => {
                let machine = Identity::new_node().unwrap();
                let sealing_key = machine.sealing_key().public();
                let operator = author.account().unwrap();
                let consent = RegisterNode::consent_bytes(&operator, &sealing_key);
                RegisterNode {
                    key: machine.public_key(),
                    consent: machine.sign(&consent),
                    sealing_key,
                    name: "other".parse().unwrap(),
                }
                .into()
            }
            "node.offer" => {
                let offer = self.world.node.state().node(&node).unwrap().offer.unwrap();
                PublishOffer { node, offer }.into()
            }
            "node.cordon" => CordonNode {
                node,
                is_cordoned: false,
            }
            .into(),
            "node.withdraw" => WithdrawOffer { node }.into(),
            "node.drain" => DrainNode { node }.into(),
            "node.back" => ReportBack { node }.into(),
            // Nobody watches itself.
            "node.give-up" => ReportGone {
                witness: node,
                machines: [(node, 0)].into(),
            }
            .into(),
            "node.reach" => {
                let reach = Reach::default();
                PublishReach { node, reach }.into()
            }
            other => panic!("no such change of a node: {other}"),
        }
    }

    fn validator_action(&self, name: &str) -> Action {
        let node = self.node();
        match name {
            "validator.stand" => Stand { node }.into(),
            "validator.vote" => Vote { node, is_in: true }.into(),
            "validator.leave" => Leave { node }.into(),
            "validator.conflict" => {
                // Twice the same is no conflict: whoever may show one is told so.
                let said = (
                    Said::Vote(VoteKind::Precommit, None),
                    Signature::Ed25519([0; 64]),
                );
                ReportConflict {
                    node,
                    validator: self.world.node.state().node(&node).unwrap().key,
                    height: 1,
                    round: 0,
                    one: said.clone(),
                    other: said,
                }
                .into()
            }
            "validator.loss" => ReportLoss {
                node,
                challenge: [0; 32],
            }
            .into(),
            other => panic!("no such change of a validator: {other}"),
        }
    }

    /// The machine adds itself, who can read the app already.
    fn add_readers(&self) -> Action {
        let (node, app) = (self.node(), self.shop());
        let revision = self.world.node.state().app(&app).unwrap().revision;
        let wraps = vec![Wrap {
            holder: node.0,
            key: vec![1],
        }];
        AddReaders {
            node,
            app,
            revision,
            wraps,
        }
        .into()
    }

    /// A revision that changes every service.
    fn changed_deploy(&self) -> Deploy {
        let mut deploy = self.deploys[1].clone();
        let newest = self.world.node.state().tip().height;
        for demand in deploy.services.values_mut() {
            demand.content = Digest::of(&newest.to_le_bytes());
        }
        deploy
    }

    /// What the other rows and cells did to the app is undone first.
    async fn app_action(&self, name: &str) -> Action {
        let client = &self.client;
        if self.found().is_none() {
            for deploy in &self.deploys {
                client.submit(vec![deploy.clone().into()]).await.unwrap();
            }
        }
        // All of it runs anew: what waits out a failure costs nothing, and would be within any budget.
        let anew = vec![self.changed_deploy().into(), self.scale(1)];
        client.submit(anew).await.unwrap();
        let app = self.shop();
        match name {
            "app.deploy" => self.changed_deploy().into(),
            "app.scale" => self.scale(2),
            "app.restart" => Restart { app, service: None }.into(),
            "app.rollback" => Rollback { app, to: None }.into(),
            "app.delete" => Delete {
                app,
                drops_volumes: false,
            }
            .into(),
            other => panic!("no such change of an app: {other}"),
        }
    }

    fn report(&self, name: &str) -> Action {
        let app = self.label("shop");
        let volume = allod_node::volume_label(&app, "data");
        match name {
            "lease.report" => {
                let state = self.world.node.state();
                let lease = state.active_leases_of(&self.shop())[0];
                ReportLease {
                    lease,
                    // Of no epoch that was: whoever may report is told so.
                    epoch: u64::MAX,
                    report: Report::Ready,
                }
                .into()
            }
            "lease.give-up" => {
                let state = self.world.node.state();
                let lease = state.active_leases_of(&self.shop())[0];
                ReportDeaths {
                    witness: self.node(),
                    leases: [(lease, 1)].into(),
                }
                .into()
            }
            "evidence.submit" => SubmitEvidence {
                node: self.node(),
                items: Vec::new(),
            }
            .into(),
            "volume.drop" => DropVolume { app, volume }.into(),
            "volume.report" => ReportVolume {
                owner: self.world.owner.account().unwrap(),
                app,
                volume,
            }
            .into(),
            other => panic!("the table does not know how to make the change {other}"),
        }
    }
}
