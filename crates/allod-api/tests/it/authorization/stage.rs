//! What the table is played on: a node with two apps of its owner, and a key for each column.

use std::collections::{BTreeMap, BTreeSet};

use allod_api::client::Client;
use allod_api::compose::{Input, lower};
use allod_api::ops::{Access, Operation};
use allod_node::identity::Identity;
use allod_node::manifest::ImageSource;
use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey};
use allod_state::app::Deploy;
use allod_state::credit::Transfer;
use allod_state::{Action, AppId, Credits, Label, NodeId, PublicKey};

use super::table::{Role, Row};
use crate::world::World;

/// Reads that concern the whole account: a key for some apps may not ask them.
const WHOLE: &[&str] = &[
    "account.history",
    "bill.prove",
    "bill.show",
    "export.show",
    "image.import",
    "manifest.show",
    "registry.login",
    "registry.logout",
    "volume.fill",
];

pub(super) struct Stage {
    pub(super) world: World,
    /// The owner's. One for all rows: the owner may have only so many connections at a time.
    pub(super) client: Client,
    /// Two revisions of the app.
    pub(super) deploys: [Deploy; 2],
    /// Keys that stay from row to row.
    base: BTreeSet<PublicKey>,
}

/// The keys of one row. Several where any of several verbs will do.
pub(super) struct Keys {
    by_role: BTreeMap<Role, Vec<Identity>>,
    nobody: [Option<Identity>; 1],
}

impl Keys {
    /// Who signs for a role: each of these once.
    pub(super) fn of(&self, role: Role) -> impl Iterator<Item = Option<&Identity>> {
        let signers = self.by_role.get(&role).map_or(&[][..], Vec::as_slice);
        let nobody = self.nobody.iter().filter(move |_| signers.is_empty());
        signers.iter().map(Some).chain(nobody.map(Option::as_ref))
    }
}

impl Stage {
    pub(super) async fn set() -> Self {
        let world = World::start().await;
        let deploys = [
            deploy(&world, "shop", 1).await,
            deploy(&world, "shop", 2).await,
        ];
        let blog = deploy(&world, "blog", 1).await;
        let client = world.client();
        for deploy in [&blog, &deploys[0], &deploys[1]] {
            client.submit(vec![deploy.clone().into()]).await.unwrap();
        }
        let owner = world.owner.account().unwrap();
        let state = world.node.state();
        let base = state.keys_of(&owner).map(|(key, _)| key).collect();
        Self {
            world,
            client,
            deploys,
            base,
        }
    }

    pub(super) fn label(&self, app: &str) -> Label {
        Label::of(self.world.owner.account().unwrap().as_bytes(), app)
    }

    /// The app of that name, which one of the rows deletes.
    pub(super) fn found(&self) -> Option<AppId> {
        let owner = self.world.owner.account().unwrap();
        let state = self.world.node.state();
        state.app_by_label(&owner, &self.label("shop"))
    }

    pub(super) fn shop(&self) -> AppId {
        self.found().unwrap()
    }

    pub(super) fn node(&self) -> NodeId {
        self.world.node.network().node
    }

    /// The keys for a read: the fitting ones hold one verb each that the operation's row in the code asks for.
    pub(super) async fn keys_for_reading(&self, operation: &Operation, row: &Row) -> Keys {
        let verbs: &[Verb] = match operation.access {
            Access::Granted(verbs) | Access::Operator(verbs) => verbs,
            Access::Public | Access::Member => &[],
        };
        let apps = if WHOLE.contains(&row.name) {
            AppSelector::All
        } else {
            AppSelector::Only([self.label("shop")].into())
        };
        let narrow = |verbs: &[Verb]| Grant {
            verbs: verbs.iter().copied().collect(),
            apps: apps.clone(),
            ..Grant::full()
        };
        let each: Vec<Grant> = if verbs.is_empty() {
            vec![narrow(&[])]
        } else {
            verbs.iter().map(|verb| narrow(&[*verb])).collect()
        };
        self.keys(verbs, each).await
    }

    /// The keys for a change.
    pub(super) async fn keys_for_changing(&self, row: &Row) -> Keys {
        let (action, _) = self.action(row.name, &self.world.owner).await;
        let verb = action.verb();
        let nodes = match (row.name, verb) {
            // The machine that is listed is new, and no grant can name it.
            ("node.register", _) => NodeSelector::All,
            (_, Verb::Nodes | Verb::Report | Verb::Validate) => {
                NodeSelector::Only([self.node()].into())
            }
            _ => NodeSelector::Only(BTreeSet::new()),
        };
        let fitting = Grant {
            verbs: [verb].into(),
            apps: AppSelector::Only([self.label("shop")].into()),
            nodes,
            ..Grant::full()
        };
        self.keys(&[verb], vec![fitting]).await
    }

    async fn keys(&self, verbs: &[Verb], fitting: Vec<Grant>) -> Keys {
        let elsewhere = |grant: &Grant| Grant {
            apps: AppSelector::Only([self.label("blog")].into()),
            nodes: NodeSelector::Only([NodeId([9; 32])].into()),
            ..grant.clone()
        };
        let over = |grant: &Grant| Grant {
            budget: Some(Budget {
                amount: Credits::from_micro(1),
                period_ms: 24 * 3_600_000,
            }),
            ..grant.clone()
        };
        let lacks = |verb: &Verb| !verbs.contains(verb);
        let no_verb = Grant {
            verbs: Verb::ALL.iter().copied().filter(lacks).collect(),
            ..Grant::full()
        };
        let ended = Grant {
            expires_ms: Some(1),
            ..Grant::full()
        };
        let grants: Vec<(Role, Vec<Grant>)> = vec![
            (Role::Owner, vec![Grant::full()]),
            (Role::NoVerb, vec![no_verb]),
            (Role::Elsewhere, fitting.iter().map(elsewhere).collect()),
            (Role::Expired, vec![ended]),
            (Role::Revoked, vec![Grant::full()]),
            (Role::OverBudget, fitting.iter().map(over).collect()),
            (Role::WrongHost, vec![Grant::full()]),
            (Role::WrongOrigin, vec![Grant::full()]),
            (Role::Fitting, fitting),
        ];
        self.made(grants).await
    }

    /// Adds a key for each grant, and opens another account.
    async fn made(&self, grants: Vec<(Role, Vec<Grant>)>) -> Keys {
        let stranger = Identity::new_account().unwrap();
        let transfer = Transfer {
            to: stranger.account().unwrap(),
            amount: Credits::from_micro(10_000_000),
            memo: String::new(),
        };
        let mut actions: Vec<Action> = vec![transfer.into()];
        let mut by_role: BTreeMap<Role, Vec<Identity>> = BTreeMap::new();
        for (role, grants) in grants {
            for grant in grants {
                let identity = self.world.owner.rotated().unwrap();
                let key = identity.public_key();
                actions.push(AddKey { key, grant }.into());
                by_role.entry(role).or_default().push(identity);
            }
        }
        let revoked = by_role[&Role::Revoked][0].public_key();
        self.client.submit(actions).await.unwrap();
        self.client
            .submit(vec![RevokeKey { key: revoked }.into()])
            .await
            .unwrap();
        let impostor = crate::world::as_account(&stranger, self.world.owner.account().unwrap());
        by_role.insert(Role::Impostor, vec![impostor]);
        by_role.insert(Role::Stranger, vec![stranger]);
        Keys {
            by_role,
            nobody: [None],
        }
    }

    /// Takes the row's keys away again: an account may have only so many.
    pub(super) async fn clear(&self) {
        let owner = self.world.owner.account().unwrap();
        let keys: Vec<PublicKey> = self
            .world
            .node
            .state()
            .keys_of(&owner)
            .map(|(k, _)| k)
            .collect();
        let left = keys.into_iter().filter(|key| !self.base.contains(key));
        let revokes: Vec<Action> = left.map(|key| RevokeKey { key }.into()).collect();
        self.client.submit(revokes).await.unwrap();
    }
}

/// A revision of an app with a service without volumes and one with.
async fn deploy(world: &World, app: &str, revision: u32) -> Deploy {
    let image = format!("registry.invalid/none@sha256:{}", "7".repeat(64));
    let limits = "deploy: { resources: { limits: { cpus: \"0.02\", memory: 16m } } }";
    let text = format!(
        "name: {app}\nservices:\n  web:\n    image: {image}\n    environment: {{ REVISION: \"{revision}\" }}\n    \
         {limits}\n  db:\n    image: {image}\n    volumes: [\"data:/data\"]\n    {limits}\nvolumes:\n  data: {{}}\n"
    );
    let lowered = lower(&Input {
        text: &text,
        file: "compose.yaml",
        folder: None,
        variables: &BTreeMap::new(),
        profiles: &BTreeSet::new(),
        name: None,
    });
    let mut lowered = lowered.unwrap();
    for service in lowered.manifest.services.values_mut() {
        // No registry is asked for what was given as a file.
        service.image.source = ImageSource::Archive;
    }
    let client = world.client();
    let network = client.network().await.unwrap();
    let prepared = client.prepare(lowered, &network).await.unwrap();
    client.put_manifest(prepared.ciphertext).await.unwrap();
    prepared.deploy
}
