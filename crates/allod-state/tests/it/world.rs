//! A small network to run blocks on: one owner, one machine, and whoever else a test opens.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::{Constraints, Demand, Deploy, RestartPolicy, SealedManifest, Update};
use allod_state::genesis::Genesis;
use allod_state::lease::{Lease, Report, ReportLease};
use allod_state::node::{Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources};
use allod_state::receipt::Receipt;
use allod_state::state::Write;
use allod_state::transaction::{Body, PROTOCOL_VERSION, Verified};
use allod_state::{
    AccountId, Action, AppId, Credits, Digest, Executed, InvalidBlock, Label, LeaseId, NodeId,
    Proposal, PublicKey, Rejection, Signature, State, Transaction, execute,
};
use ed25519_zebra::{SigningKey, VerificationKey};

/// A key pair with a fixed seed.
#[derive(Clone)]
pub(crate) struct Person {
    secret: SigningKey,
    pub(crate) key: PublicKey,
    pub(crate) account: AccountId,
}

impl Person {
    pub(crate) fn new(seed: u8) -> Self {
        Self::of([seed; 32])
    }

    /// One of very many.
    pub(crate) fn numbered(number: u64) -> Self {
        let mut seed = [77; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        Self::of(seed)
    }

    fn of(seed: [u8; 32]) -> Self {
        let secret = SigningKey::from(seed);
        let key = PublicKey::Ed25519(VerificationKey::from(&secret).into());
        Self {
            secret,
            key,
            account: AccountId::of_first_key(&key),
        }
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::Ed25519(self.secret.sign(bytes).into())
    }
}

/// A state that moves one block at a time.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) owner: Person,
    pub(crate) machine: Person,
    pub(crate) node: NodeId,
    pub(crate) last: Option<Executed>,
    /// All rows ever written, oldest first.
    pub(crate) writes: Vec<Write>,
}

pub(crate) const GIB: u64 = 1 << 30;

impl World {
    /// A founded network whose owner offers one machine of 4 cores, 8 GiB and 100 GiB.
    pub(crate) fn new() -> Self {
        let (owner, machine) = (Person::new(1), Person::new(2));
        let genesis = Genesis::of_one(owner.key, machine.key, 1_000_000, [9; 32]);
        let (state, writes) = genesis.state();
        let node = NodeId::of_first_key(&machine.key);
        let mut world = Self {
            state,
            owner,
            machine,
            node,
            last: None,
            writes,
        };
        world.list_machine();
        world
    }

    fn list_machine(&mut self) {
        let consent = RegisterNode::consent_bytes(&self.owner.account, &[3; 32]);
        let register = RegisterNode {
            key: self.machine.key,
            consent: self.machine.sign(&consent),
            sealing_key: [3; 32],
            name: "host".parse().unwrap(),
        };
        let offer = Offer {
            capacity: Resources {
                cpu_milli: 4_000,
                memory_bytes: 8 * GIB,
                storage_bytes: 100 * GIB,
            },
            prices: Prices {
                cpu_core_hour: "0.01".parse().unwrap(),
                memory_gib_hour: "0.005".parse().unwrap(),
                storage_gib_hour: "0.0001".parse().unwrap(),
            },
            isolation: BTreeSet::from([Isolation::Container]),
            region: "local".parse().unwrap(),
            tags: BTreeSet::new(),
        };
        let node = self.node;
        self.run(vec![register.into(), PublishOffer { node, offer }.into()]);
    }

    pub(crate) fn signed(
        &self,
        who: &Person,
        account: AccountId,
        actions: Vec<Action>,
    ) -> Transaction {
        let nonce = self
            .state
            .key(&account, &who.key)
            .map_or(0, |record| record.nonce);
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.state.network(),
            account,
            key: who.key,
            nonce,
            expires_ms: self.now_ms() + 60_000,
            work_limit: 100_000,
            actions,
        };
        let signature = who.sign(&body.sign_bytes());
        Transaction { body, signature }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.state.tip().time_ms
    }

    /// One block with these transactions, `after_ms` after the last one.
    pub(crate) fn block(
        &mut self,
        transactions: Vec<Transaction>,
        after_ms: u64,
    ) -> Result<Vec<Receipt>, InvalidBlock> {
        let verified: Vec<Verified> = transactions
            .into_iter()
            .map(|tx| tx.verify().unwrap())
            .collect();
        let time_ms = self.now_ms() + after_ms;
        let proposal = Proposal {
            time_ms,
            proposer: self.machine.key,
            transactions: &verified,
        };
        let executed = execute(&self.state, &proposal)?;
        assert_eq!(
            executed.state.recount(),
            Some(self.state.params().supply),
            "credits are conserved"
        );
        self.state = executed.state.clone();
        self.writes.extend(executed.writes.iter().cloned());
        let receipts = executed.receipts.clone();
        self.last = Some(executed);
        Ok(receipts)
    }

    /// One transaction of someone in a block of its own.
    pub(crate) fn try_as(
        &mut self,
        who: &Person,
        account: AccountId,
        actions: Vec<Action>,
    ) -> Result<(), Rejection> {
        let transaction = self.signed(who, account, actions);
        let receipts = self
            .block(vec![transaction], 1)
            .expect("the envelope is good");
        receipts[0].outcome.clone()
    }

    /// One transaction of the owner.
    pub(crate) fn try_run(&mut self, actions: Vec<Action>) -> Result<(), Rejection> {
        let owner = self.owner.clone();
        self.try_as(&owner, owner.account, actions)
    }

    pub(crate) fn run(&mut self, actions: Vec<Action>) {
        self.try_run(actions).expect("the owner may do this");
    }

    /// One transaction of the machine.
    pub(crate) fn report(&mut self, action: impl Into<Action>) -> Result<(), Rejection> {
        let (machine, account) = (self.machine.clone(), self.owner.account);
        self.try_as(&machine, account, vec![action.into()])
    }

    pub(crate) fn report_lease(&mut self, lease: LeaseId, report: Report) {
        let epoch = self.state.lease(&lease).unwrap().epoch;
        self.report(ReportLease {
            lease,
            epoch,
            report,
        })
        .unwrap();
    }

    /// An empty block `after_ms` later.
    pub(crate) fn wait(&mut self, after_ms: u64) {
        self.block(Vec::new(), after_ms).unwrap();
    }

    pub(crate) fn app_label(&self, name: &str) -> Label {
        Label::of(self.owner.account.as_bytes(), name)
    }

    pub(crate) fn app(&self, name: &str) -> AppId {
        self.state
            .app_by_label(&self.owner.account, &self.app_label(name))
            .expect("the app exists")
    }

    pub(crate) fn deploy(&self, name: &str, services: &[(&str, Demand)], version: u8) -> Deploy {
        let label = self.app_label(name);
        let content = Digest::of(&[version]);
        let service = |(name, demand): &(&str, Demand)| {
            let demand = Demand {
                content,
                ..demand.clone()
            };
            (Label::of(label.as_bytes(), name), demand)
        };
        let services: BTreeMap<Label, Demand> = services.iter().map(service).collect();
        let manifest = SealedManifest {
            ciphertext: Digest::of(&[version]),
            bytes: 1,
            wraps: Vec::new(),
        };
        Deploy {
            label,
            services,
            manifest,
            plan: None,
        }
    }

    /// The active leases of an app, in slot order.
    pub(crate) fn active(&self, name: &str) -> Vec<(LeaseId, Lease)> {
        let ids = self.state.active_leases_of(&self.app(name));
        let mut leases: Vec<_> = ids
            .into_iter()
            .map(|id| (id, self.state.lease(&id).unwrap()))
            .collect();
        leases.sort_by_key(|(_, lease)| (lease.service, lease.replica, lease.epoch));
        leases
    }
}

/// One replica that writes to a volume of its app's.
pub(crate) fn with_volume(world: &World, app: &str) -> Demand {
    let label = Label::of(world.app_label(app).as_bytes(), "data");
    Demand {
        volumes: BTreeMap::from([(label, GIB)]),
        ..web(1)
    }
}

/// A stateless service of half a core and 512 MiB.
pub(crate) fn web(replicas: u32) -> Demand {
    Demand {
        replicas,
        resources: Resources {
            cpu_milli: 500,
            memory_bytes: GIB / 2,
            storage_bytes: GIB,
        },
        isolation: Isolation::Container,
        ports: Vec::new(),
        volumes: BTreeMap::new(),
        constraints: Constraints::default(),
        update: Update::StartFirst,
        restart: RestartPolicy::Always,
        content: Digest([0; 32]),
    }
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().unwrap()
}
