//! A network of many operators and machines, founded and filled through the law alone.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::app::{
    App, Constraints, Demand, Deploy, RestartPolicy, SealedManifest, Service, Update,
};
use allod_state::genesis::{Founder, Genesis};
use allod_state::node::{Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources};
use allod_state::transaction::{Body, PROTOCOL_VERSION, Verified};
use allod_state::{
    AccountId, Action, Credits, Digest, Executed, Label, NodeId, Proposal, PublicKey, Signature,
    State, Transaction, build,
};
use ed25519_zebra::{SigningKey, VerificationKey};

pub(crate) const GIB: u64 = 1 << 30;
/// Machines of one operator: each brings a key, and an account holds at most 64.
const MACHINES_EACH: usize = 60;

/// A key pair with a fixed seed.
#[derive(Clone)]
pub(crate) struct Person {
    secret: SigningKey,
    pub(crate) key: PublicKey,
    pub(crate) account: AccountId,
}

impl Person {
    pub(crate) fn new(kind: u8, number: usize) -> Self {
        let mut seed = [kind; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let secret = SigningKey::from(seed);
        let key = PublicKey::Ed25519(VerificationKey::from(&secret).into());
        let account = AccountId::of_first_key(&key);
        Self {
            secret,
            key,
            account,
        }
    }

    pub(crate) fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::Ed25519(self.secret.sign(bytes).into())
    }
}

/// A state, and people who can act on it.
pub(crate) struct Town {
    pub(crate) state: State,
    pub(crate) people: Vec<Person>,
    nonces: BTreeMap<PublicKey, u64>,
}

impl Town {
    /// `people` founders with a key each; the first of them operate `nodes` machines of 64 cores.
    pub(crate) fn new(people: usize, nodes: usize) -> Self {
        let people: Vec<Person> = (0..people.max(nodes.div_ceil(MACHINES_EACH)))
            .map(|number| Person::new(1, number))
            .collect();
        let founder = Founder {
            balance: credits("1000000"),
            line: Credits::ZERO,
        };
        let mut genesis = Genesis::of_one(people[0].key, people[0].key, 1_000_000, [1; 32]);
        genesis.founders = people.iter().map(|one| (one.key, founder)).collect();
        genesis.fee_per_work = Credits::from_micro(1);
        let mut town = Self {
            state: genesis.state().0,
            people,
            nonces: BTreeMap::new(),
        };
        let machines: Vec<Person> = (0..nodes).map(|number| Person::new(2, number)).collect();
        for (number, machines) in machines.chunks(MACHINES_EACH).enumerate() {
            town.list(number, machines);
        }
        town
    }

    fn list(&mut self, operator: usize, machines: &[Person]) {
        let person = self.people[operator].clone();
        let consent = RegisterNode::consent_bytes(&person.account, &[3; 32]);
        let register = |machine: &Person| {
            Action::from(RegisterNode {
                key: machine.key,
                consent: machine.sign(&consent),
                sealing_key: [3; 32],
                name: "host".parse().expect("a word"),
            })
        };
        let offer = |(at, machine): (usize, &Person)| {
            Action::from(PublishOffer {
                node: NodeId::of_first_key(&machine.key),
                offer: offer_of(operator * MACHINES_EACH + at),
            })
        };
        let registers = machines.iter().map(register).collect();
        let offers = machines.iter().enumerate().map(offer).collect();
        let transactions = vec![
            self.signed(&person, registers),
            self.signed(&person, offers),
        ];
        self.run(transactions, 1);
    }

    /// Every machine asks a price of its own.
    pub(crate) fn offer_differently(&mut self) {
        let nodes: Vec<_> = self
            .state
            .nodes()
            .map(|(id, node)| (*id, node.operator))
            .collect();
        let mut offers: BTreeMap<AccountId, Vec<Action>> = BTreeMap::new();
        for (number, (node, operator)) in nodes.into_iter().enumerate() {
            let mut offer = offer_of(number);
            let micro = 10_000 + i128::try_from(number).expect("few");
            offer.prices.cpu_core_hour = Credits::from_micro(micro);
            let publish = PublishOffer { node, offer };
            offers.entry(operator).or_default().push(publish.into());
        }
        for person in self.people.clone() {
            let offers = offers.remove(&person.account).unwrap_or_default();
            if !offers.is_empty() {
                let transaction = self.signed(&person, offers);
                self.run(vec![transaction], 1);
            }
        }
    }

    /// The next transaction of a person.
    pub(crate) fn signed(&mut self, who: &Person, actions: Vec<Action>) -> Transaction {
        self.signed_for(who, who.account, actions)
    }

    pub(crate) fn signed_for(
        &mut self,
        who: &Person,
        account: AccountId,
        actions: Vec<Action>,
    ) -> Transaction {
        let nonce = self.nonces.entry(who.key).or_insert(0);
        let body = Body {
            version: PROTOCOL_VERSION,
            network: self.state.network(),
            account,
            key: who.key,
            nonce: *nonce,
            expires_ms: self.state.tip().time_ms + 3_000_000,
            work_limit: 100_000,
            actions,
        };
        *nonce += 1;
        let signature = who.sign(&body.sign_bytes());
        Transaction { body, signature }
    }

    /// Forgets what a person signed that was left out of blocks.
    pub(crate) fn forget_nonce(&mut self, who: &Person, account: AccountId) {
        let record = self.state.key(&account, &who.key);
        self.nonces
            .insert(who.key, record.map_or(0, |record| record.nonce));
    }

    /// One block, as a proposer builds it, and the state moves on.
    pub(crate) fn run(&mut self, transactions: Vec<Transaction>, after_ms: u64) -> Executed {
        let verified = Verified::batch(transactions).expect("signed here");
        let executed = self.build(&verified, after_ms);
        self.state = executed.state.clone();
        executed
    }

    /// What a profiler should count stands alone: `valgrind --tool=callgrind --toggle-collect=*Town*build*`.
    #[inline(never)]
    pub(crate) fn build(&self, transactions: &[Verified], after_ms: u64) -> Executed {
        let proposal = Proposal {
            time_ms: self.state.tip().time_ms + after_ms,
            proposer: self.people[0].key,
            transactions,
        };
        build(&self.state, &proposal).expect("time goes on").0
    }
}

pub(crate) fn offer_of(number: usize) -> Offer {
    let regions = ["eu-west", "eu-east", "us-west", "us-east", "asia"];
    let prices = ["0.01", "0.011", "0.012", "0.013"];
    Offer {
        capacity: Resources {
            cpu_milli: 64_000,
            memory_bytes: 256 * GIB,
            storage_bytes: 4_096 * GIB,
        },
        prices: Prices {
            cpu_core_hour: credits(prices[number % prices.len()]),
            memory_gib_hour: credits("0.001"),
            storage_gib_hour: credits("0.0001"),
        },
        isolation: BTreeSet::from([Isolation::Container]),
        region: regions[number % regions.len()].parse().expect("a word"),
        tags: ["ssd", "ipv6"]
            .map(|tag| tag.parse().expect("a word"))
            .into(),
    }
}

/// A stateless service of a tenth of a core.
pub(crate) fn small(replicas: u32) -> Demand {
    Demand {
        replicas,
        resources: Resources {
            cpu_milli: 100,
            memory_bytes: GIB / 8,
            storage_bytes: GIB / 8,
        },
        isolation: Isolation::Container,
        ports: Vec::new(),
        volumes: BTreeMap::new(),
        constraints: Constraints {
            regions: ["eu", "us"]
                .map(|region| region.parse().expect("a word"))
                .into(),
            tags: ["ssd"].map(|tag| tag.parse().expect("a word")).into(),
            price_per_hour_max: Some(credits("1")),
            replicas_per_node_max: Some(50),
            is_together: false,
            ..Constraints::default()
        },
        update: Update::StartFirst,
        restart: RestartPolicy::Always,
        content: Digest([0; 32]),
    }
}

/// An app of such services.
pub(crate) fn deploy(name: usize, services: usize, demand: &Demand) -> Deploy {
    let label = Label::of(&[1; 32], &name.to_string());
    let service = |at: usize| (service_label(at), demand.clone());
    Deploy {
        label,
        services: (0..services).map(service).collect(),
        manifest: SealedManifest {
            ciphertext: Digest([1; 32]),
            bytes: 1,
            wraps: Vec::new(),
        },
        plan: None,
    }
}

pub(crate) fn service_label(at: usize) -> Label {
    Label::of(&[2; 32], &at.to_string())
}

/// An app as the state would hold it, to ask for one placement.
pub(crate) fn app_of(owner: &Person) -> App {
    let service = Service {
        replicas: 1,
        revision: 1,
        generation: 0,
        is_halted: false,
    };
    App {
        owner: owner.account,
        label: Label([1; 32]),
        deployed_by: owner.key,
        revision: 1,
        services: BTreeMap::from([(service_label(0), service)]),
        created_ms: 0,
        epoch_floor: 0,
    }
}

pub(crate) fn credits(text: &str) -> Credits {
    text.parse().expect("an amount")
}
