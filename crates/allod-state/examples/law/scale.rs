//! How memory, the time of a block and placements grow with the network: a town with ten leases a node, under the load
//! that so many make.

use std::process::Command;
use std::time::{Duration, Instant};

use allod_state::app::{Delete, Demand, Scale};
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::transaction::Verified;
use allod_state::{
    AccountId, Action, AppId, Executed, LeaseId, NodeId, Proposal, Transaction, execute,
};

use crate::hostile::with_commas;
use crate::now_mib;
use crate::town::{GIB, Person, Town, deploy, service_label, small};

const NODES: [usize; 3] = [1_000, 3_000, 10_000];
const LEASES_EACH: usize = 10;
const REPLICAS: u32 = 10;
/// Apps of one block while the town fills, and while placements are measured.
const APPS_PER_BLOCK: usize = 100;
/// Machines tell what was used so often, each in a transaction of its own; a block comes every second.
const EVIDENCE_EVERY_S: usize = 30;
/// For so many leases one ends in a second, and one service is scaled; besides, one app is deployed and one deleted.
const CHANGES_OF: usize = 10_000;

/// What a lease asks for: a node has room for twelve.
fn demand() -> Demand {
    let mut demand = small(REPLICAS);
    demand.resources.cpu_milli = 5_000;
    demand.resources.memory_bytes = GIB;
    demand.constraints.regions.clear();
    demand
}

/// What is measured, and with how many digits it is shown.
const FIGURES: [(&str, usize); 14] = [
    ("leases", 0),
    ("memory of the process with that state, MiB", 0),
    ("the most while blocks came, MiB", 0),
    ("transactions of a block", 0),
    ("evidence items in them", 0),
    ("rows written by a block", 0),
    ("signatures of a block, ms at p50", 1),
    ("a block built, ms at p50", 1),
    ("longest", 1),
    ("a block executed, ms at p50", 1),
    ("longest", 1),
    ("µs of it for each row", 1),
    ("an empty block executed, µs at p50", 0),
    ("placements executed a second", 0),
];

/// Each size in a process of its own, because memory is the process's; and the ratios to the first.
pub(crate) fn run() {
    let program = std::env::current_exe().expect("this program");
    let figures = NODES.map(|nodes| {
        let mut command = Command::new(&program);
        let said = command.args(["scale", &nodes.to_string()]).output();
        let said = said.expect("a process");
        assert!(said.status.success(), "{said:?}");
        let line = String::from_utf8(said.stdout).expect("text");
        let figures = line.split_whitespace().map(|figure| figure.parse());
        let figures: Vec<f64> = figures.map(|figure| figure.expect("a number")).collect();
        figures
    });
    let [first, second, third] = NODES.map(|nodes| with_commas(&nodes.to_string()));
    println!("| nodes | {first} | {second} | to the first | {third} | to the first |");
    println!("|---|---|---|---|---|---|");
    for (at, (what, digits)) in FIGURES.into_iter().enumerate() {
        let [first, second, third] = [0, 1, 2].map(|size: usize| figures[size][at]);
        let shown = |figure: f64| match digits {
            0 => with_commas(&format!("{figure:.0}")),
            _ => format!("{figure:.digits$}"),
        };
        println!(
            "| {what} | {} | {} | {:.1}x | {} | {:.1}x |",
            shown(first),
            shown(second),
            second / first,
            shown(third),
            third / first
        );
    }
}

/// One size, as a line of figures.
pub(crate) fn one(nodes: usize) {
    let mut life = Life::new(nodes);
    let (leases, mib) = (life.count(), now_mib());
    let (mut signing, mut building, mut executing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut transactions, mut rows, mut items) = (0, 0, 0);
    for second in 0..EVIDENCE_EVERY_S {
        let (signed, told) = life.second(second);
        items += told;
        let began = Instant::now();
        let verified = Verified::batch(signed).expect("signed here");
        signing.push(began.elapsed());
        let (executed, built_in, executed_in) = life.block(&verified, 1_000);
        building.push(built_in);
        executing.push(executed_in);
        transactions += executed.receipts.len();
        rows += executed.writes.len();
        assert!(is_done(&executed), "all of it is right");
    }
    let peak = crate::peak_mib();
    let (signing, building, executing) = (Times(signing), Times(building), Times(executing));
    let per_block = |count: usize| count as f64 / EVIDENCE_EVERY_S as f64;
    let figures: [f64; FIGURES.len()] = [
        leases as f64,
        mib as f64,
        peak as f64,
        per_block(transactions),
        per_block(items),
        per_block(rows),
        signing.median_ms(),
        building.median_ms(),
        building.longest_ms(),
        executing.median_ms(),
        executing.longest_ms(),
        executing.median_ms() * 1_000.0 / per_block(rows),
        life.empty_ms() * 1_000.0,
        life.placements_per_second(),
    ];
    println!("{}", figures.map(|figure| figure.to_string()).join(" "));
}

/// A town, and what is under way in it.
struct Life {
    town: Town,
    machines: Vec<(Person, NodeId, AccountId)>,
    owners: Vec<Person>,
    apps: usize,
    /// How often a service was scaled.
    scaled: usize,
}

impl Life {
    fn new(nodes: usize) -> Self {
        let owners = nodes / 50;
        let town = Town::new(owners, nodes);
        let machines = (0..nodes).map(|number| {
            let machine = Person::new(2, number);
            let node = NodeId::of_first_key(&machine.key);
            let operator = town.state.node(&node).expect("listed").operator;
            (machine, node, operator)
        });
        let machines = machines.collect();
        let owners = town.people[..owners].to_vec();
        let mut life = Self {
            town,
            machines,
            owners,
            apps: 0,
            scaled: 0,
        };
        while life.count() < nodes * LEASES_EACH {
            let transactions = life.deployments(APPS_PER_BLOCK);
            let executed = life.town.run(transactions, 1);
            assert!(is_done(&executed), "there is room");
        }
        life
    }

    fn count(&self) -> usize {
        let on = |(_, node, _): &(_, NodeId, _)| self.town.state.active_leases_on(node).len();
        self.machines.iter().map(on).sum()
    }

    fn deployments(&mut self, count: usize) -> Vec<Transaction> {
        let deployment = |_| {
            let owner = self.owners[self.apps % self.owners.len()].clone();
            let action = deploy(self.apps, 1, &demand()).into();
            self.apps += 1;
            self.town.signed(&owner, vec![action])
        };
        (0..count).map(deployment).collect()
    }

    /// What comes in one second, and how many items of evidence are in it.
    fn second(&mut self, second: usize) -> (Vec<Transaction>, usize) {
        let leases = self.machines.len() * LEASES_EACH;
        let changes = (leases / CHANGES_OF).max(1);
        let (mut transactions, mut items) = (Vec::new(), 0);
        let reporters = self.machines.iter().skip(second).step_by(EVIDENCE_EVERY_S);
        for (machine, node, operator) in reporters.cloned().collect::<Vec<_>>() {
            let evidence = self.evidence(node);
            // A machine on which nothing runs tells nothing.
            if evidence.items.is_empty() {
                continue;
            }
            items += evidence.items.len();
            let signed = self
                .town
                .signed_for(&machine, operator, vec![evidence.into()]);
            transactions.push(signed);
        }
        // Those that end are on machines whose evidence comes in another second.
        for at in 0..changes {
            let at = (second + 1 + at * EVIDENCE_EVERY_S) % self.machines.len();
            let (machine, node, operator) = self.machines[at].clone();
            let ids = self.town.state.active_leases_on(&node);
            if let Some(id) = ids.first() {
                let end = self.end_of(*id);
                transactions.push(self.town.signed_for(&machine, operator, vec![end]));
            }
        }
        transactions.extend(self.deployments(1));
        for _ in 0..changes {
            let signed = self.scaling();
            transactions.extend(signed);
        }
        transactions.extend(self.deletion(second));
        (transactions, items)
    }

    fn evidence(&self, node: NodeId) -> SubmitEvidence {
        let state = &self.town.state;
        let item = |id: LeaseId| {
            let lease = state.lease(&id).expect("active");
            let (from_ms, until_ms) = (lease.meter.until_ms, state.tip().time_ms);
            (from_ms < until_ms).then(|| Item {
                lease: id,
                epoch: lease.epoch,
                from_ms,
                until_ms,
                ready_ms: until_ms - from_ms,
                usage: Usage {
                    cpu_ms: 1_000,
                    memory_mib_seconds: 3_000,
                    ..Usage::default()
                },
            })
        };
        let items = state.active_leases_on(&node).into_iter().filter_map(item);
        let items = items.collect();
        SubmitEvidence { node, items }
    }

    fn end_of(&self, lease: LeaseId) -> Action {
        let epoch = self.town.state.lease(&lease).expect("active").epoch;
        let report = Report::Ended(EndCause::ProbeFailed);
        let report = ReportLease {
            lease,
            epoch,
            report,
        };
        report.into()
    }

    /// The next owner's first app, one up or one down.
    fn scaling(&mut self) -> Option<Transaction> {
        let at = self.scaled % self.owners.len();
        let is_up = (self.scaled / self.owners.len()).is_multiple_of(2);
        self.scaled += 1;
        let owner = self.owners[at].clone();
        let scale = Scale {
            app: self.first_app(&owner)?,
            service: service_label(0),
            replicas: REPLICAS + u32::from(is_up),
        };
        Some(self.town.signed(&owner, vec![scale.into()]))
    }

    fn first_app(&self, owner: &Person) -> Option<AppId> {
        let (_, app) = self.town.state.apps_of(&owner.account).next()?;
        Some(app)
    }

    /// An owner's last app; of another owner than those that scale in the same second.
    fn deletion(&mut self, second: usize) -> Option<Transaction> {
        let at = (self.scaled + self.owners.len() / 2 + second) % self.owners.len();
        let owner = self.owners[at].clone();
        let (_, app) = self.town.state.apps_of(&owner.account).last()?;
        let delete = Delete {
            app,
            drops_volumes: true,
        };
        Some(self.town.signed(&owner, vec![delete.into()]))
    }

    /// A block, as its proposer builds it and as a validator executes it.
    fn block(&mut self, verified: &[Verified], after_ms: u64) -> (Executed, Duration, Duration) {
        let began = Instant::now();
        let built = self.town.build(verified, after_ms);
        let built_in = began.elapsed();
        assert_eq!(built.receipts.len(), verified.len(), "all of it fits");
        let header = &built.block.header;
        let proposal = Proposal {
            time_ms: header.time_ms,
            proposer: header.proposer,
            transactions: verified,
        };
        let began = Instant::now();
        let executed = execute(&self.town.state, &proposal).expect("what was built is valid");
        let executed_in = began.elapsed();
        assert_eq!(executed.block.header, *header);
        self.town.state = executed.state.clone();
        (executed, built_in, executed_in)
    }

    /// What a block takes in which nothing happens.
    fn empty_ms(&mut self) -> f64 {
        let times = (0..20).map(|_| self.block(&[], 1_000).2).collect();
        Times(times).median_ms()
    }

    /// Blocks of deployments and nothing else, as long as there is room.
    fn placements_per_second(&mut self) -> f64 {
        let mut times = Vec::new();
        for _ in 0..5 {
            let apps = APPS_PER_BLOCK / 4;
            let deployments = self.deployments(apps);
            let verified = Verified::batch(deployments).expect("signed here");
            let (executed, _, executed_in) = self.block(&verified, 1_000);
            assert!(is_done(&executed), "there is room");
            times.push(executed_in);
        }
        let placed = (APPS_PER_BLOCK / 4 * REPLICAS as usize) as f64;
        placed * 1_000.0 / Times(times).median_ms()
    }
}

fn is_done(executed: &Executed) -> bool {
    let outcomes = executed.receipts.iter().map(|receipt| &receipt.outcome);
    let failed = outcomes.filter(|outcome| outcome.is_err());
    let failed: Vec<_> = failed.inspect(|outcome| eprintln!("{outcome:?}")).collect();
    failed.is_empty()
}

struct Times(Vec<Duration>);

impl Times {
    fn median_ms(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2].as_secs_f64() * 1_000.0
    }

    fn longest_ms(&self) -> f64 {
        let longest = self.0.iter().max().expect("one at least");
        longest.as_secs_f64() * 1_000.0
    }
}
