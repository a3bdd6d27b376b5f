//! A network with several owners in the middle of its life, and any act of anybody in it, chosen by dice.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, RevokeKey, RotateKey};
use allod_state::app::{
    Constraints, Delete, Demand, Deploy, Port, Protocol, Restart, RestartPolicy, Rollback, Scale,
    SealedManifest, Update, Wrap,
};
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::limits::CREDITS_MAX;
use allod_state::node::{
    CordonNode, DrainNode, Isolation, Offer, Prices, PublishOffer, RegisterNode, Resources,
    WithdrawOffer,
};
use allod_state::text::Word;
use allod_state::transaction::{Body, PROTOCOL_VERSION};
use allod_state::volume::{DropVolume, ReportVolume};
use allod_state::{
    AccountId, Action, AppId, Credits, Digest, Label, LeaseId, NodeId, PlanId, State, Transaction,
};

use crate::dice::Dice;
use crate::world::{GIB, Person, World, credits, web};

/// Who lives there.
#[derive(Clone)]
pub(crate) struct City {
    pub(crate) world: World,
    /// The owner, the owner's machine, an operator, the operator's machines, a limited key of the owner's, a stranger.
    pub(crate) people: Vec<Person>,
}

const SERVICES: [&str; 3] = ["web", "db", "job"];
const REGIONS: [&str; 4] = ["eu", "eu-west", "local", "us"];
const TAGS: [&str; 3] = ["ssd", "gpu", "quiet"];

impl City {
    pub(crate) fn new() -> Self {
        let mut world = World::new();
        let people: Vec<Person> = [1, 2, 20, 21, 22, 9, 30].map(Person::new).into();
        let operator = people[2].clone();
        let gift = Transfer {
            to: operator.account,
            amount: credits("1000"),
            memo: String::new(),
        };
        let agent = AddKey {
            key: people[5].key,
            grant: Grant {
                verbs: BTreeSet::from([Verb::Deploy, Verb::Scale, Verb::Transfer, Verb::Keys]),
                budget: Some(Budget {
                    amount: credits("5"),
                    period_ms: 60_000,
                }),
                ..Grant::full()
            },
        };
        world.run(vec![gift.into(), agent.into()]);
        for (machine, region) in [(&people[3], "eu-west"), (&people[4], "us")] {
            let list = [
                register(machine, &operator.account).into(),
                PublishOffer {
                    node: NodeId::of_first_key(&machine.key),
                    offer: offer(region),
                }
                .into(),
            ];
            let listed = world.try_as(&operator, operator.account, list.into());
            listed.expect("the operator may list machines");
        }
        let mut db = web(1);
        db.volumes = BTreeMap::from([(Label::of(&[1; 32], "data"), GIB)]);
        let shop = world.deploy("shop", &[("web", web(3)), ("db", db)], 1);
        world.run(vec![shop.into()]);
        Self { world, people }
    }

    pub(crate) fn state(&self) -> &State {
        &self.world.state
    }

    /// A transaction of anybody's, right or wrong, signed by whoever sends it.
    pub(crate) fn transaction(&self, state: &State, dice: &mut Dice<'_>) -> Transaction {
        let signer = dice.pick(&self.people);
        let own = self.account_of(&signer);
        let account = if dice.once_in(16) {
            dice.pick(&self.people).account
        } else {
            own
        };
        let count = if dice.once_in(4) { 3 } else { 1 };
        let actions: Vec<Action> = (0..count).map(|_| self.action(state, dice)).collect();
        let nonce = state.key(&account, &signer.key).map_or(0, |key| key.nonce);
        let now_ms = state.tip().time_ms;
        let mut body = Body {
            version: PROTOCOL_VERSION,
            network: state.network(),
            account,
            key: signer.key,
            nonce,
            expires_ms: now_ms.saturating_add(60_000),
            work_limit: 100_000,
            actions,
        };
        match dice.byte() {
            250 => body.version = dice.number().to_le_bytes()[0].into(),
            251 => body.network.0[0] ^= dice.byte(),
            252 => body.nonce = dice.number(),
            253 => body.expires_ms = dice.number(),
            254 => body.work_limit = dice.number(),
            255 => body.actions.clear(),
            _ => {}
        }
        let signature = signer.sign(&body.sign_bytes());
        Transaction { body, signature }
    }

    fn account_of(&self, person: &Person) -> AccountId {
        let [owner, operator] = [self.people[0].account, self.people[2].account];
        let at = self.people.iter().position(|one| one.key == person.key);
        match at {
            Some(1 | 5) => owner,
            Some(3 | 4) => operator,
            _ => person.account,
        }
    }

    fn action(&self, state: &State, dice: &mut Dice<'_>) -> Action {
        match dice.byte() % 20 {
            0 => self.transfer(dice).into(),
            1 => self.add_key(state, dice).into(),
            2 => {
                let key = dice.pick(&self.people).key;
                RevokeKey { key }.into()
            }
            3 => {
                let new = self.newcomer(dice).key;
                RotateKey { new }.into()
            }
            4 => self.register(dice).into(),
            5 => PublishOffer {
                node: node(state, dice),
                offer: any_offer(dice),
            }
            .into(),
            6 if dice.once_in(3) => DrainNode {
                node: node(state, dice),
            }
            .into(),
            6 if dice.once_in(4) => WithdrawOffer {
                node: node(state, dice),
            }
            .into(),
            6 => CordonNode {
                node: node(state, dice),
                is_cordoned: dice.once_in(2),
            }
            .into(),
            7 | 16 => self.deploy(dice).into(),
            8 => scale(state, dice).into(),
            9 => Restart {
                app: app(state, dice),
                service: None,
            }
            .into(),
            10 => Rollback {
                app: app(state, dice),
                to: dice.once_in(2).then(|| u64::from(dice.byte() % 8)),
            }
            .into(),
            11 => Delete {
                app: app(state, dice),
                drops_volumes: dice.once_in(2),
            }
            .into(),
            12 | 17 | 18 => report(state, dice).into(),
            13 | 19 => evidence(state, dice).into(),
            14 => DropVolume {
                app: self.world.app_label("shop"),
                volume: Label::of(&[1; 32], "data"),
            }
            .into(),
            _ => ReportVolume {
                owner: self.people[0].account,
                app: self.world.app_label("shop"),
                volume: Label::of(&[1; 32], "data"),
            }
            .into(),
        }
    }

    fn transfer(&self, dice: &mut Dice<'_>) -> Transfer {
        let to = match dice.byte() % 9 {
            7 => AccountId::COMMONS,
            8 => AccountId([dice.byte(); 32]),
            at => self.people[usize::from(at)].account,
        };
        let amount = amount(dice);
        let memo = "x".repeat(usize::from(dice.byte()) * 2);
        Transfer { to, amount, memo }
    }

    /// Somebody who may be a member or not.
    fn newcomer(&self, dice: &mut Dice<'_>) -> Person {
        let seed = dice.byte();
        if seed < 128 {
            dice.pick(&self.people)
        } else {
            Person::new(seed)
        }
    }

    fn add_key(&self, state: &State, dice: &mut Dice<'_>) -> AddKey {
        let apps = if dice.once_in(2) {
            AppSelector::All
        } else {
            AppSelector::Only(BTreeSet::from([self.world.app_label("shop")]))
        };
        let nodes = if dice.once_in(2) {
            NodeSelector::All
        } else {
            NodeSelector::Only(BTreeSet::from([node(state, dice)]))
        };
        let budget = dice.once_in(2).then(|| Budget {
            amount: amount(dice),
            period_ms: dice.pick(&[60_000, 0, 1, u64::MAX]),
        });
        let now_ms = state.tip().time_ms;
        let expires_ms = dice.once_in(3).then(|| dice.pick(&[now_ms + 5_000, 0]));
        AddKey {
            key: self.newcomer(dice).key,
            grant: Grant {
                verbs: dice.some(Verb::ALL).into_iter().collect(),
                apps,
                nodes,
                budget,
                expires_ms,
            },
        }
    }

    fn register(&self, dice: &mut Dice<'_>) -> RegisterNode {
        let machine = self.newcomer(dice);
        let operator = dice.pick(&self.people).account;
        register(&machine, &operator)
    }

    fn deploy(&self, dice: &mut Dice<'_>) -> Deploy {
        let label = self.world.app_label(dice.pick(&["shop", "blog", "bank"]));
        let names = dice.some(&SERVICES);
        let services = names
            .iter()
            .map(|name| (Label::of(label.as_bytes(), name), self.demand(dice)))
            .collect();
        deploy_of(label, services, dice)
    }

    /// Any demand; small and honest more often than not.
    pub(crate) fn demand(&self, dice: &mut Dice<'_>) -> Demand {
        let replicas = dice.pick(&[1, 0, 2, 3, 5, 1, 2, 500, u32::MAX]);
        let resources = Resources {
            cpu_milli: dice.pick(&[100, 500, 0, 1, 4_000, 1_000_000, u64::MAX]),
            memory_bytes: dice.pick(&[GIB / 4, GIB, 0, 1, 8 * GIB, u64::MAX]),
            storage_bytes: dice.pick(&[0, GIB, 100 * GIB, u64::MAX]),
        };
        let mut volumes = BTreeMap::new();
        if dice.once_in(2) {
            for name in dice.some(&["data", "logs"]) {
                let bytes = dice.pick(&[GIB, 1, 0, u64::MAX]);
                volumes.insert(Label::of(&[1; 32], name), bytes);
            }
        }
        let ports = dice.some(&[0, 80, 443]).into_iter().map(|number| Port {
            number,
            protocol: Protocol::Http,
            is_public: number == 80,
        });
        let ports = ports.collect();
        Demand {
            replicas,
            resources,
            isolation: dice.pick(&[Isolation::Container, Isolation::Vm, Isolation::Wasm]),
            ports,
            volumes,
            constraints: self.constraints(dice),
            update: dice.pick(&[Update::StartFirst, Update::StopFirst, Update::Exclusive]),
            restart: dice.pick(&[
                RestartPolicy::Always,
                RestartPolicy::OnFailure,
                RestartPolicy::Never,
            ]),
            content: Digest([dice.byte() % 4; 32]),
        }
    }

    fn constraints(&self, dice: &mut Dice<'_>) -> Constraints {
        if !dice.once_in(3) {
            return Constraints::default();
        }
        let accounts: Vec<AccountId> = self.people.iter().map(|one| one.account).collect();
        let price = dice.once_in(2).then(|| amount(dice));
        let spread = dice.once_in(2).then(|| u32::from(dice.byte() % 4));
        Constraints {
            regions: words(&dice.some(&REGIONS)),
            operators_allowed: dice.some(&accounts).into_iter().collect(),
            operators_denied: dice.some(&accounts).into_iter().collect(),
            tags: words(&dice.some(&TAGS)),
            price_per_hour_max: price,
            replicas_per_node_max: spread,
            replicas_per_operator_max: dice.once_in(4).then(|| u32::from(dice.byte() % 4)),
            replicas_per_region_max: dice.once_in(4).then(|| u32::from(dice.byte() % 4)),
            reputation_ppm_min: dice.once_in(8).then(|| u32::from(dice.byte()) * 4_000),
            attested_ms_min: dice.once_in(8).then(|| u64::from(dice.byte()) * 100_000),
            is_together: dice.once_in(8),
        }
    }
}

pub(crate) fn deploy_of(
    label: Label,
    services: BTreeMap<Label, Demand>,
    dice: &mut Dice<'_>,
) -> Deploy {
    let wraps = (0..dice.byte() % 3).map(|at| Wrap {
        holder: [at; 32],
        key: vec![at; 48],
    });
    let manifest = SealedManifest {
        ciphertext: Digest([dice.byte(); 32]),
        bytes: dice.pick(&[1, 0, 1 << 20, u64::MAX]),
        wraps: wraps.collect(),
    };
    Deploy {
        label,
        services,
        manifest,
        plan: dice.pick(&[None, None, None, Some(PlanId([7; 32]))]),
    }
}

fn words(of: &[&str]) -> BTreeSet<Word> {
    of.iter().map(|word| word.parse().unwrap()).collect()
}

fn amount(dice: &mut Dice<'_>) -> Credits {
    let micro = match dice.byte() % 10 {
        0 => 1_000_000,
        1 => 1,
        2 => 0,
        3 => -1,
        4 => CREDITS_MAX,
        5 => CREDITS_MAX + 1,
        6 => i128::MAX,
        7 => i128::MIN,
        8 => 1_000_000_000_000,
        _ => i128::from(dice.number()),
    };
    Credits::from_micro(micro)
}

fn register(machine: &Person, operator: &AccountId) -> RegisterNode {
    let consent = RegisterNode::consent_bytes(operator, &[3; 32]);
    RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "attic".parse().unwrap(),
    }
}

fn offer(region: &str) -> Offer {
    Offer {
        capacity: Resources {
            cpu_milli: 8_000,
            memory_bytes: 16 * GIB,
            storage_bytes: 200 * GIB,
        },
        prices: Prices {
            cpu_core_hour: credits("0.02"),
            memory_gib_hour: credits("0.01"),
            storage_gib_hour: credits("0.0001"),
        },
        isolation: BTreeSet::from([Isolation::Container, Isolation::Vm]),
        region: region.parse().unwrap(),
        tags: words(&["ssd"]),
    }
}

fn any_offer(dice: &mut Dice<'_>) -> Offer {
    let mut offer = offer(dice.pick(&REGIONS));
    offer.capacity.cpu_milli = dice.pick(&[8_000, 0, 1_000_000_000, u64::MAX]);
    offer.capacity.memory_bytes = dice.pick(&[16 * GIB, 0, 1 << 50, u64::MAX]);
    offer.prices.cpu_core_hour = amount(dice);
    offer.prices.memory_gib_hour = amount(dice);
    offer.tags = words(&dice.some(&TAGS));
    offer
}

fn one_of<T: Copy>(all: &[T], dice: &mut Dice<'_>, none: T) -> T {
    if all.is_empty() || dice.once_in(16) {
        return none;
    }
    dice.pick(all)
}

fn node(state: &State, dice: &mut Dice<'_>) -> NodeId {
    let all: Vec<NodeId> = state.nodes().map(|(id, _)| *id).collect();
    one_of(&all, dice, NodeId([1; 32]))
}

fn app(state: &State, dice: &mut Dice<'_>) -> AppId {
    let all: Vec<AppId> = state.apps().map(|(id, _)| *id).collect();
    one_of(&all, dice, AppId([1; 32]))
}

fn lease(state: &State, dice: &mut Dice<'_>) -> LeaseId {
    let all: Vec<LeaseId> = state.leases().map(|(id, _)| *id).collect();
    one_of(&all, dice, LeaseId([1; 32]))
}

fn scale(state: &State, dice: &mut Dice<'_>) -> Scale {
    let id = app(state, dice);
    let services = state.app(&id).map(|app| app.services);
    let labels: Vec<Label> = services.unwrap_or_default().into_keys().collect();
    Scale {
        app: id,
        service: one_of(&labels, dice, Label([1; 32])),
        replicas: dice.pick(&[2, 0, 1, 4, 9, 500, u32::MAX]),
    }
}

fn report(state: &State, dice: &mut Dice<'_>) -> ReportLease {
    let id = lease(state, dice);
    let epoch = state.lease(&id).map_or(1, |lease| lease.epoch);
    let report = match dice.byte() % 9 {
        0..=2 => Report::Ready,
        3 => Report::NotReady,
        4 => Report::Ended(EndCause::Exited { code: 0 }),
        5 => Report::Gone,
        6 => Report::Ended(EndCause::Signaled { signal: 9 }),
        7 => Report::Ended(EndCause::ProbeFailed),
        _ => Report::Ended(EndCause::Deleted),
    };
    ReportLease {
        lease: id,
        epoch: epoch.wrapping_add(u64::from(dice.once_in(16))),
        report,
    }
}

fn evidence(state: &State, dice: &mut Dice<'_>) -> SubmitEvidence {
    let count = dice.pick(&[1, 2, 4]);
    let mut items = Vec::new();
    for _ in 0..count {
        let id = lease(state, dice);
        let found = state.lease(&id);
        let (epoch, from_ms) = found.map_or((1, 0), |lease| (lease.epoch, lease.meter.until_ms));
        let now_ms = state.tip().time_ms;
        let until_ms = match dice.byte() % 6 {
            0..=2 => now_ms,
            3 => now_ms + 2_000,
            4 => from_ms,
            _ => dice.number(),
        };
        let span = until_ms.saturating_sub(from_ms);
        items.push(Item {
            lease: id,
            epoch,
            from_ms: from_ms.wrapping_add(u64::from(dice.once_in(16))),
            until_ms,
            ready_ms: dice.pick(&[span, span / 2, 0, span.saturating_add(1)]),
            usage: Usage::default(),
        });
    }
    let node = items.first().and_then(|item| state.lease(&item.lease));
    SubmitEvidence {
        node: node.map_or(NodeId([1; 32]), |lease| lease.node),
        items,
    }
}
