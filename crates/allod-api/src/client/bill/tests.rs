//! A bill that the law made is right, and a lie in any part of it is found.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::view::{Bill, BillLine, BillProof, Certified, LineProof, Proved};
use allod_state::app::{
    Constraints, Delete, Demand, Deploy, RestartPolicy, SealedManifest, Update,
};
use allod_state::certificate::{Certificate, VoteKind, vote_bytes};
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::genesis::Genesis;
use allod_state::lease::{Report, ReportLease};
use allod_state::limits::LEASE_RETENTION_MS;
use allod_state::node::{Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources};
use allod_state::transaction::{Body, PROTOCOL_VERSION, Verified};
use allod_state::{
    AccountId, Action, Credits, Digest, Executed, Label, LeaseId, NetworkId, NodeId, Proposal,
    PublicKey, Signature, State, Transaction, codec, execute,
};
use data_encoding::HEXLOWER;
use ed25519_zebra::{SigningKey, VerificationKey};

use super::{Check, verify_bill};

const MONTH: u32 = 202_611;
const START_MS: u64 = 1_795_237_200_000; // 2026-11-21

struct Person {
    secret: SigningKey,
    key: PublicKey,
    account: AccountId,
}

impl Person {
    fn new(seed: u8) -> Self {
        let secret = SigningKey::from([seed; 32]);
        let key = PublicKey::Ed25519(VerificationKey::from(&secret).into());
        let account = AccountId::of_first_key(&key);
        Self {
            secret,
            key,
            account,
        }
    }

    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::Ed25519(self.secret.sign(bytes).into())
    }
}

/// A network of one with an app that ran for a while.
struct World {
    genesis: Genesis,
    state: State,
    owner: Person,
    machine: Person,
    last: Option<Executed>,
    items: BTreeMap<LeaseId, Vec<Item>>,
}

impl World {
    fn new() -> Self {
        let (owner, machine) = (Person::new(1), Person::new(2));
        let genesis = Genesis::of_one(owner.key, machine.key, START_MS, [9; 32]);
        let mut world = Self {
            state: genesis.state().0,
            genesis,
            owner,
            machine,
            last: None,
            items: BTreeMap::new(),
        };
        world.offer();
        world.deploy();
        for round in 0..3 {
            world.meter(30_000 + round);
        }
        world
    }

    fn node(&self) -> NodeId {
        NodeId::of_first_key(&self.machine.key)
    }

    fn offer(&mut self) {
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
                memory_bytes: 8 << 30,
                storage_bytes: 100 << 30,
            },
            prices: Prices {
                cpu_core_hour: "0.37".parse().unwrap(),
                memory_gib_hour: "0.05".parse().unwrap(),
                storage_gib_hour: "0.001".parse().unwrap(),
            },
            isolation: BTreeSet::from([Isolation::Container]),
            region: "local".parse().unwrap(),
            tags: BTreeSet::new(),
        };
        let node = self.node();
        self.block(
            true,
            vec![register.into(), PublishOffer { node, offer }.into()],
            1,
        );
    }

    fn deploy(&mut self) {
        let label = Label::of(self.owner.account.as_bytes(), "shop");
        let demand = Demand {
            replicas: 2,
            resources: Resources {
                cpu_milli: 500,
                memory_bytes: 1 << 29,
                storage_bytes: 1 << 30,
            },
            isolation: Isolation::Container,
            ports: Vec::new(),
            volumes: BTreeMap::new(),
            constraints: Constraints::default(),
            update: Update::StartFirst,
            restart: RestartPolicy::Always,
            content: allod_state::Digest([0; 32]),
        };
        let deploy = Deploy {
            label,
            services: BTreeMap::from([(Label::of(label.as_bytes(), "web"), demand)]),
            manifest: SealedManifest {
                ciphertext: Digest::of(b"sealed"),
                bytes: 1,
                wraps: Vec::new(),
            },
            plan: None,
        };
        self.block(true, vec![deploy.into()], 10);
        for (lease, epoch) in self.leases() {
            let report = Report::Ready;
            let report = ReportLease {
                lease,
                epoch,
                report,
            };
            self.block(false, vec![report.into()], 10);
        }
    }

    fn leases(&self) -> Vec<(LeaseId, u64)> {
        self.state
            .leases()
            .map(|(id, lease)| (*id, lease.epoch))
            .collect()
    }

    fn meter(&mut self, span_ms: u64) {
        self.block(false, Vec::new(), span_ms);
        let now_ms = self.state.tip().time_ms;
        let items: Vec<Item> = self
            .state
            .leases()
            .map(|(id, lease)| Item {
                lease: *id,
                epoch: lease.epoch,
                from_ms: lease.meter.until_ms,
                until_ms: now_ms,
                ready_ms: now_ms - lease.meter.until_ms - 7,
                usage: Usage {
                    cpu_ms: 11,
                    ..Usage::default()
                },
            })
            .collect();
        for item in &items {
            self.items.entry(item.lease).or_default().push(*item);
        }
        let node = self.node();
        self.block(false, vec![SubmitEvidence { node, items }.into()], 1);
    }

    fn block(&mut self, is_owners: bool, actions: Vec<Action>, after_ms: u64) {
        let time_ms = self.state.tip().time_ms + after_ms;
        let mut verified: Vec<Verified> = Vec::new();
        if !actions.is_empty() {
            let signer = if is_owners {
                &self.owner
            } else {
                &self.machine
            };
            let key = self.state.key(&self.owner.account, &signer.key);
            let body = Body {
                version: PROTOCOL_VERSION,
                network: self.state.network(),
                account: self.owner.account,
                key: signer.key,
                nonce: key.map_or(0, |record| record.nonce),
                expires_ms: time_ms + 60_000,
                work_limit: 100_000,
                actions,
            };
            let signature = signer.sign(&body.sign_bytes());
            verified.push(Transaction { body, signature }.verify().unwrap());
        }
        let proposal = Proposal {
            time_ms,
            proposer: self.machine.key,
            transactions: &verified,
        };
        let executed = execute(&self.state, &proposal).unwrap();
        for receipt in &executed.receipts {
            receipt.outcome.as_ref().expect("the law agrees");
        }
        self.state = executed.state.clone();
        self.last = Some(executed);
    }

    fn network(&self) -> NetworkId {
        self.genesis.network()
    }

    fn bill(&self) -> Bill {
        let payer = self.owner.account;
        let lines: Vec<BillLine> = self
            .state
            .bill_of(&payer, MONTH)
            .map(|((_, _, id), line)| {
                let lease = self.state.lease(id);
                BillLine {
                    lease: *id,
                    app: "shop".into(),
                    service: "web".into(),
                    payee: lease.as_ref().map(|lease| lease.payee),
                    price_per_hour: lease.as_ref().map(|lease| lease.price_per_hour),
                    line: *line,
                    usage: lease.map(|lease| lease.meter.usage).unwrap_or_default(),
                }
            })
            .collect();
        let total = lines.iter().fold(Credits::ZERO, |sum, line| {
            sum.plus(line.line.amount).unwrap()
        });
        Bill {
            payer,
            month: MONTH,
            lines,
            total,
            to_oneself: total,
        }
    }

    fn proof(&self) -> BillProof {
        let header = &self.last.as_ref().unwrap().block.header;
        let network = self.network();
        let id = header.id();
        let vote = vote_bytes(&network, VoteKind::Precommit, header.height, 0, Some(&id));
        let certificate = Certificate {
            height: header.height,
            round: 0,
            block: id,
            signatures: vec![(self.machine.key, self.machine.sign(&vote))],
        };
        let proved = |key: &[u8]| {
            let (value, proof) = self.state.prove(key);
            Proved {
                value: HEXLOWER.encode(&value.unwrap_or_default()),
                proof: HEXLOWER.encode(&codec::encode(&proof)),
            }
        };
        let keys: Vec<_> = self
            .state
            .bill_of(&self.owner.account, MONTH)
            .map(|(key, _)| *key)
            .collect();
        BillProof {
            certified: Certified {
                genesis: HEXLOWER.encode(&codec::encode(&self.genesis)),
                header: HEXLOWER.encode(&codec::encode(header)),
                certificate: HEXLOWER.encode(&codec::encode(&certificate)),
                handovers: Vec::new(),
            },
            lines: keys
                .into_iter()
                .map(|key| LineProof {
                    lease: key.2,
                    line: proved(&State::bill_line_key(&key)),
                    row: proved(&State::lease_key(&key.2)),
                    items: self.items.get(&key.2).cloned().unwrap_or_default(),
                })
                .collect(),
        }
    }

    fn verify(&self, bill: &Bill, proof: &BillProof) -> Vec<Check> {
        verify_bill(&self.network(), &self.owner.account, bill, proof)
    }
}

fn wrong(checks: &[Check]) -> Vec<String> {
    let wrong = checks.iter().filter(|check| !check.is_good);
    wrong
        .map(|check| format!("{}: {}", check.what, check.found))
        .collect()
}

#[test]
fn the_laws_own_bill_is_right() {
    let world = World::new();
    let bill = world.bill();
    assert_eq!(bill.lines.len(), 2);
    assert!(bill.total > Credits::ZERO);
    let checks = world.verify(&bill, &world.proof());
    assert_eq!(wrong(&checks), Vec::<String>::new());
    assert_eq!(checks.len(), 3 + 2 + 2, "nothing was skipped");
}

/// Leases are forgotten a hundred days after their end, and what they cost stays.
#[test]
fn a_bill_outlives_its_leases() {
    let mut world = World::new();
    let total = world.bill().total;
    let label = Label::of(world.owner.account.as_bytes(), "shop");
    let app = world.state.app_by_label(&world.owner.account, &label);
    let delete = Delete {
        app: app.unwrap(),
        drops_volumes: false,
    };
    world.block(true, vec![delete.into()], 1);
    world.block(false, Vec::new(), LEASE_RETENTION_MS + 1);
    assert_eq!(world.state.leases().count(), 0);
    let mut bill = world.bill();
    let proof = world.proof();
    assert_eq!((bill.lines.len(), bill.total), (2, total));
    // Whom it was paid to went with its lease.
    bill.to_oneself = Credits::ZERO;
    let checks = world.verify(&bill, &proof);
    assert_eq!(wrong(&checks), Vec::<String>::new());
    let told = |check: &Check| check.found.contains("ended too long ago");
    assert_eq!(checks.iter().filter(|check| told(check)).count(), 2);
    for lie in [
        |line: &mut BillLine| line.payee = Some(AccountId([7; 32])),
        |line: &mut BillLine| line.usage.cpu_ms = 1,
        |line: &mut BillLine| line.line.amount = Credits::ZERO,
    ] {
        let mut bill = bill.clone();
        lie(&mut bill.lines[0]);
        let told = wrong(&world.verify(&bill, &proof));
        assert!(told[0].contains("the bill shows"), "{told:?}");
    }
}

type Lie = (&'static str, fn(&World, &mut Bill, &mut BillProof));

/// Each changes one thing that a dishonest node could change.
const LIES: &[Lie] = &[
    ("it is that of", |_, bill, _| {
        bill.payer = AccountId([7; 32])
    }),
    ("the lines make", |_, bill, _| {
        bill.total = bill.total.plus(Credits::from_micro(1)).unwrap()
    }),
    ("the lines make", |_, bill, _| {
        bill.to_oneself = Credits::ZERO
    }),
    ("the bill shows", |_, bill, _| {
        bill.lines[0].line.amount = bill.lines[0]
            .line
            .amount
            .plus(Credits::from_micro(1))
            .unwrap();
        bill.total = bill.total.plus(Credits::from_micro(1)).unwrap();
        bill.to_oneself = bill.total;
    }),
    ("the bill shows", |_, bill, _| {
        bill.lines[0].line.ready_ms += 1
    }),
    ("another price", |_, bill, _| {
        bill.lines[0].price_per_hour = Some(Credits::ZERO)
    }),
    ("another price", |_, bill, _| {
        bill.lines[0].payee = Some(AccountId([7; 32]))
    }),
    ("another usage", |_, bill, _| {
        bill.lines[0].usage.cpu_ms += 1
    }),
    ("only in one of", |_, bill, _| {
        bill.lines.pop();
    }),
    ("only in one of", |_, _, proof| {
        proof.lines.pop();
    }),
    ("appears twice", |_, _, proof| {
        proof.lines.push(proof.lines[0].clone())
    }),
    ("appears twice", |_, bill, _| {
        bill.lines.push(bill.lines[0].clone())
    }),
    ("evidence item(s)", |_, _, proof| {
        proof.lines[0].items.pop();
    }),
    ("does not begin where", |_, _, proof| {
        proof.lines[0].items.remove(1);
    }),
    ("does not begin where", |_, _, proof| {
        proof.lines[0].items.swap(0, 1)
    }),
    ("accumulator", |_, _, proof| {
        proof.lines[0].items[1].ready_ms -= 1
    }),
    ("accumulator", |_, _, proof| {
        proof.lines[0].items[1].usage.cpu_ms += 1
    }),
    ("more ready time", |_, _, proof| {
        proof.lines[0].items[1].ready_ms += 3_600_000
    }),
    ("another lease", |_, _, proof| {
        proof.lines[0].items[1].epoch += 1
    }),
    ("another lease", |_, _, proof| {
        let items = proof.lines[1].items.clone();
        proof.lines[0].items = items;
    }),
    ("not in the state", |_, _, proof| {
        proof.lines[0].line = proof.lines[1].line.clone()
    }),
    ("not in the state", |_, _, proof| {
        proof.lines[0].row = proof.lines[1].row.clone()
    }),
    ("not in the state", |_, _, proof| {
        proof.lines[0].line.value = flipped(&proof.lines[0].line.value)
    }),
    ("not in the state", |_, _, proof| {
        proof.lines[0].row.value = flipped(&proof.lines[0].row.value)
    }),
    ("", |_, _, proof| {
        proof.lines[0].line.proof = flipped(&proof.lines[0].line.proof)
    }),
    ("no such lease", |_, _, proof| {
        proof.lines[0].row.value = String::new()
    }),
    ("not hexadecimal", |_, _, proof| {
        proof.lines[0].row.value = "xy".into()
    }),
    ("that of net_", |_, _, proof| {
        proof.certified.genesis = other_genesis()
    }),
    ("another block", |_, _, proof| {
        proof.certified.header = flipped(&proof.certified.header)
    }),
    ("", |_, _, proof| {
        proof.certified.certificate = flipped(&proof.certified.certificate)
    }),
    ("not a validator", |world, _, proof| {
        proof.certified.certificate = forged(world)
    }),
];

/// The last byte's lowest bit, turned.
fn flipped(text: &str) -> String {
    let mut bytes = HEXLOWER.decode(text.as_bytes()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    HEXLOWER.encode(&bytes)
}

fn other_genesis() -> String {
    let (owner, machine) = (Person::new(1), Person::new(2));
    let genesis = Genesis::of_one(owner.key, machine.key, START_MS, [8; 32]);
    HEXLOWER.encode(&codec::encode(&genesis))
}

/// The owner is no validator: his vote decides nothing.
fn forged(world: &World) -> String {
    let header = &world.last.as_ref().unwrap().block.header;
    let id = header.id();
    let vote = vote_bytes(
        &world.network(),
        VoteKind::Precommit,
        header.height,
        0,
        Some(&id),
    );
    let certificate = Certificate {
        height: header.height,
        round: 0,
        block: id,
        signatures: vec![(world.owner.key, world.owner.sign(&vote))],
    };
    HEXLOWER.encode(&codec::encode(&certificate))
}

#[test]
fn every_lie_is_found() {
    let world = World::new();
    for (index, (words, lie)) in LIES.iter().enumerate() {
        let (mut bill, mut proof) = (world.bill(), world.proof());
        lie(&world, &mut bill, &mut proof);
        let wrong = wrong(&world.verify(&bill, &proof));
        assert!(!wrong.is_empty(), "lie {index} ({words}) was believed");
        assert!(
            wrong.iter().any(|text| text.contains(words)),
            "lie {index} ({words}) was found as {wrong:?}"
        );
    }
}

#[test]
fn the_bill_of_another_network_or_payer_is_not_ours() {
    let world = World::new();
    let (bill, proof) = (world.bill(), world.proof());
    let stranger = AccountId([7; 32]);
    assert!(
        !wrong(&verify_bill(
            &NetworkId([7; 32]),
            &world.owner.account,
            &bill,
            &proof
        ))
        .is_empty()
    );
    assert!(!wrong(&verify_bill(&world.network(), &stranger, &bill, &proof)).is_empty());
}
