//! The worst blocks that the limits allow: built as a proposer would from more than fits, then executed as a validator
//! would, timed, with the effort that the law counted.

use std::collections::BTreeSet;
use std::time::Instant;

use allod_state::account::AddKey;
use allod_state::account::grant::{AppSelector, Grant, NodeSelector};
use allod_state::app::{Delete, Demand, Scale};
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::limits::{BLOCK_BYTES_MAX, LEASE_RETENTION_MS};
use allod_state::node::{PublishOffer, RegisterNode, WithdrawOffer};
use allod_state::transaction::Verified;
use allod_state::{AccountId, Action, Label, NodeId, Proposal, Transaction, execute};

use crate::peak_mib;
use crate::town::{Person, Town, credits, deploy, offer_of, service_label, small};

pub(crate) fn run() {
    println!(
        "| block | transactions | bytes | effort | of its last steps | rows written | ms | peak MiB so far |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    new_accounts();
    fat_keys();
    registrations();
    let mut town = Town::new(170, 10_000);
    refused_by_everyone(&mut town);
    let app = largest_app(&mut town);
    evidence(&mut town, app);
    scaled_again_and_again(&mut town, app);
    failing_at_once(&mut town, app);
    deleted_at_once(&mut town, app);
    forgotten_at_once(&mut town);
    deleted_where_nothing_is_offered();
}

/// Builds a block from these and times its execution by somebody else.
fn time(what: &str, town: &mut Town, transactions: Vec<Transaction>, after_ms: u64) {
    let mut bytes = 0;
    let fitting = transactions.into_iter().take_while(|transaction| {
        bytes += transaction.to_bytes().len();
        bytes <= BLOCK_BYTES_MAX - 8 * 1024
    });
    let verified: Vec<Verified> = Verified::batch(fitting.collect()).expect("signed here");
    let built = town.build(&verified, after_ms);
    let header = &built.block.header;
    let proposal = Proposal {
        time_ms: header.time_ms,
        proposer: header.proposer,
        transactions: &verified[..built.receipts.len()],
    };
    let began = Instant::now();
    let executed = execute(&town.state, &proposal).expect("what was built is valid");
    let ms = began.elapsed().as_millis();
    assert_eq!(executed.block.header, built.block.header);
    let numbers = [
        executed.receipts.len().to_string(),
        executed.block.to_bytes().len().to_string(),
        executed.effort[0].to_string(),
        executed.effort[1].to_string(),
        executed.writes.len().to_string(),
        ms.to_string(),
        peak_mib().to_string(),
    ];
    let cells = numbers.map(|number| with_commas(&number)).join(" | ");
    println!("| {what} | {cells} |");
    town.state = executed.state;
}

pub(crate) fn with_commas(number: &str) -> String {
    let comes = |at: usize| at > 0 && (number.len() - at).is_multiple_of(3);
    let digits = number.chars().enumerate();
    digits
        .flat_map(|(at, digit)| comes(at).then_some(',').into_iter().chain([digit]))
        .collect()
}

fn new_accounts() {
    let mut town = Town::new(1_000, 0);
    let send = |town: &mut Town, at: usize| {
        let mut to = [7; 32];
        to[..8].copy_from_slice(&at.to_le_bytes());
        let send = Transfer {
            to: AccountId(to),
            amount: credits("0.000001"),
            memo: String::new(),
        };
        let from = town.people[at % 1_000].clone();
        town.signed(&from, vec![send.into()])
    };
    let transactions = (0..21_000).map(|at| send(&mut town, at)).collect();
    time("transfers that open accounts", &mut town, transactions, 1);
}

fn fat_keys() {
    let mut town = Town::new(1, 0);
    let owner = town.people[0].clone();
    let grant = Grant {
        apps: AppSelector::Only((0..64).map(|at| Label([at; 32])).collect()),
        nodes: NodeSelector::Only((0..64).map(|at| NodeId([at; 32])).collect()),
        ..Grant::full()
    };
    let agent = Person::new(4, 0);
    let add = AddKey {
        key: agent.key,
        grant,
    };
    let add = town.signed(&owner, vec![add.into()]);
    town.run(vec![add], 1);
    let send = || Transfer {
        to: AccountId([9; 32]),
        amount: credits("0.000001"),
        memo: String::new(),
    };
    let transactions = (0..21_000)
        .map(|_| town.signed_for(&agent, owner.account, vec![send().into()]))
        .collect();
    time(
        "transfers by a key with 128 grants",
        &mut town,
        transactions,
        1,
    );
}

fn registrations() {
    let mut town = Town::new(400, 0);
    let register = |person: &Person, number: usize| {
        let machine = Person::new(5, number);
        let consent = RegisterNode::consent_bytes(&person.account, &[3; 32]);
        Action::from(RegisterNode {
            key: machine.key,
            consent: machine.sign(&consent),
            sealing_key: [3; 32],
            name: "host".parse().expect("a word"),
        })
    };
    let transactions = (0..400)
        .map(|at| {
            let person = town.people[at].clone();
            let actions = (0..63).map(|more| register(&person, at * 63 + more));
            let actions = actions.collect();
            town.signed(&person, actions)
        })
        .collect();
    time(
        "machines listed, each with a signature",
        &mut town,
        transactions,
        1,
    );
}

/// Demands with the longest lists, that pass every rule but the last on each of 10,000 nodes.
fn refused_by_everyone(town: &mut Town) {
    let mut demand = small(1);
    let words = (0..63).map(|at| format!("a{at}").parse().expect("a word"));
    demand.constraints.regions = words.collect::<BTreeSet<_>>();
    let eu = "eu".parse().expect("a word");
    demand.constraints.regions.insert(eu);
    demand.constraints.operators_denied = (0..64).map(|at| AccountId([at; 32])).collect();
    demand.constraints.price_per_hour_max = Some(credits("0.000001"));
    demand.constraints.tags = small(1).constraints.tags;
    let mut lean = small(1);
    lean.constraints.price_per_hour_max = Some(credits("0.000001"));
    let mut strangers = demand.clone();
    strangers.constraints.price_per_hour_max = None;
    strangers.constraints.operators_allowed = (0..64).map(|at| AccountId([100 + at; 32])).collect();
    refusals(
        town,
        &[
            ("deployments that 10,000 nodes refuse", &lean),
            ("the same with the longest lists", &demand),
            ("the same, refused for who operates each node", &strangers),
        ],
    );
    let before = town.state.clone();
    town.offer_differently();
    let what = "the same with 10,000 different offers";
    refusals(town, &[(what, &demand)]);
    town.state = before;
    for person in town.people.clone() {
        town.forget_nonce(&person, person.account);
    }
}

fn refusals(town: &mut Town, demands: &[(&str, &Demand)]) {
    for (what, demand) in demands {
        let person = town.people[100].clone();
        let transactions = (0..2_000)
            .map(|at| town.signed(&person, vec![deploy(at, 1, demand).into()]))
            .collect();
        let before = town.state.clone();
        time(what, town, transactions, 1);
        town.state = before;
        town.forget_nonce(&person, person.account);
    }
}

/// One account's app of as many replicas as the law lets grow, placed a few thousand at a time.
fn largest_app(town: &mut Town) -> allod_state::AppId {
    let owner = town.people[0].clone();
    let mut demand = small(0);
    demand.resources.cpu_milli = 1;
    demand.constraints.replicas_per_node_max = None;
    let first = town.signed(&owner, vec![deploy(0, 64, &demand).into()]);
    town.run(vec![first], 1);
    let (_, app) = town.state.apps_of(&owner.account).next().expect("deployed");
    let grow = |town: &mut Town, services: std::ops::Range<usize>| {
        let scale = |at: usize| {
            Action::from(Scale {
                app,
                service: service_label(at),
                replicas: 500,
            })
        };
        let transactions: Vec<_> = services
            .map(|at| town.signed(&owner, vec![scale(at)]))
            .collect();
        transactions
    };
    let most = grow(town, 0..48);
    time("replicas placed until no room", town, most, 1);
    loop {
        let placed = town.state.active_leases_of(&app).len() / 500;
        town.forget_nonce(&owner, owner.account);
        if placed == 64 {
            return app;
        }
        let rest = grow(town, placed..64);
        town.run(rest, 1);
    }
}

fn reporters(town: &Town, app: allod_state::AppId) -> Vec<(Person, AccountId, NodeId, Vec<Item>)> {
    let mut found = Vec::new();
    for number in 0..10_000 {
        let machine = Person::new(2, number);
        let node = NodeId::of_first_key(&machine.key);
        let Some(operator) = town.state.node(&node).map(|node| node.operator) else {
            continue;
        };
        let mut items = Vec::new();
        for id in town.state.active_leases_on(&node) {
            let lease = town.state.lease(&id).expect("active");
            if lease.app == app {
                items.push(Item {
                    lease: id,
                    epoch: lease.epoch,
                    from_ms: lease.meter.until_ms,
                    until_ms: town.state.tip().time_ms,
                    ready_ms: 1,
                    usage: Usage::default(),
                });
            }
        }
        if !items.is_empty() {
            found.push((machine, operator, node, items));
        }
    }
    found
}

fn evidence(town: &mut Town, app: allod_state::AppId) {
    town.run(Vec::new(), 10_000);
    let transactions = reporters(town, app)
        .into_iter()
        .map(|(machine, operator, node, items)| {
            let submit = SubmitEvidence { node, items };
            town.signed_for(&machine, operator, vec![submit.into()])
        })
        .collect();
    time(
        "evidence of every replica of the largest app",
        town,
        transactions,
        1,
    );
}

fn scaled_again_and_again(town: &mut Town, app: allod_state::AppId) {
    let owner = town.people[0].clone();
    let service = service_label(0);
    let transactions = (0..2_000)
        .map(|_| {
            let scale = Scale {
                app,
                service,
                replicas: 500,
            };
            town.signed(&owner, vec![scale.into()])
        })
        .collect();
    time(
        "scalings of the largest app to what it is",
        town,
        transactions,
        1,
    );
    town.forget_nonce(&owner, owner.account);
}

/// Every replica fails in one block, and all are due again in the next, on nodes that take no more.
fn failing_at_once(town: &mut Town, app: allod_state::AppId) {
    let transactions = reporters(town, app)
        .into_iter()
        .flat_map(|(machine, operator, _, items)| {
            let reports: Vec<Action> = items
                .iter()
                .take(2)
                .map(|item| {
                    let report = ReportLease {
                        lease: item.lease,
                        epoch: item.epoch,
                        report: Report::Ended(EndCause::ProbeFailed),
                    };
                    report.into()
                })
                .collect();
            Some(town.signed_for(&machine, operator, reports))
        })
        .collect();
    time("replicas that fail in one block", town, transactions, 1);
    time(
        "their successors, placed by the last steps",
        town,
        Vec::new(),
        2_000,
    );
}

fn deleted_at_once(town: &mut Town, app: allod_state::AppId) {
    let owner = town.people[0].clone();
    let delete = Delete {
        app,
        drops_volumes: true,
    };
    let delete = town.signed(&owner, vec![delete.into()]);
    time("the largest app, deleted", town, vec![delete], 1);
}

fn forgotten_at_once(town: &mut Town) {
    let what = "leases that ended 100 days ago, forgotten";
    time(what, town, Vec::new(), LEASE_RETENTION_MS + 1);
}

/// The largest app on one machine, which has withdrawn its offer: whether its time still counts is asked at every end.
fn deleted_where_nothing_is_offered() {
    let mut town = Town::new(1, 0);
    let owner = town.people[0].clone();
    let machine = Person::new(5, 0);
    let consent = RegisterNode::consent_bytes(&owner.account, &[3; 32]);
    let register = RegisterNode {
        key: machine.key,
        consent: machine.sign(&consent),
        sealing_key: [3; 32],
        name: "host".parse().expect("a word"),
    };
    let node = NodeId::of_first_key(&machine.key);
    let mut offer = offer_of(0);
    offer.capacity.memory_bytes *= 64;
    let publish = PublishOffer { node, offer };
    let list = town.signed(&owner, vec![register.into(), publish.into()]);
    town.run(vec![list], 1);
    let app = largest_app(&mut town);
    let withdraw = town.signed(&owner, vec![WithdrawOffer { node }.into()]);
    town.run(vec![withdraw], 1);
    let drops_volumes = true;
    let delete = Delete { app, drops_volumes };
    let delete = town.signed(&owner, vec![delete.into()]);
    let what = "the largest app, deleted where nothing is offered";
    time(what, &mut town, vec![delete], 1);
}
