//! Transfers and placements per second.

use std::time::{Duration, Instant};

use allod_state::credit::Transfer;
use allod_state::place::{Wanted, find};
use allod_state::transaction::Verified;
use allod_state::{AppId, Transaction};

use crate::town::{Person, Town, app_of, credits, deploy, service_label, small};

const ROUNDS: usize = 5;
const TRANSFERS_PER_BLOCK: usize = 2_000;
const DECISIONS: u32 = 2_000;

pub(crate) fn run() {
    transfers();
    for nodes in [1_000, 10_000] {
        placements(nodes);
    }
}

/// Blocks of transfers between a thousand accounts with fees: the median of the rounds.
pub(crate) fn transfers() {
    let mut town = Town::new(1_000, 0);
    let (mut executing, mut verifying) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let transactions: Vec<Transaction> = (0..TRANSFERS_PER_BLOCK)
            .map(|at| transfer(&mut town, at, round))
            .collect();
        let began = Instant::now();
        let verified = Verified::batch(transactions).expect("signed here");
        verifying.push(began.elapsed());
        let began = Instant::now();
        let executed = town.build(&verified, 1);
        executing.push(began.elapsed());
        assert_eq!(executed.receipts.len(), TRANSFERS_PER_BLOCK);
        assert!(
            executed
                .receipts
                .iter()
                .all(|receipt| receipt.outcome.is_ok())
        );
        town.state = executed.state;
    }
    let (executing, verifying) = (median(executing), median(verifying));
    let together = executing + verifying;
    println!(
        r#"{{"what":"transfers","per_block":{TRANSFERS_PER_BLOCK},"per_s":{:.0},"with_signatures_per_s":{:.0}}}"#,
        rate(TRANSFERS_PER_BLOCK, executing),
        rate(TRANSFERS_PER_BLOCK, together),
    );
}

fn transfer(town: &mut Town, at: usize, round: usize) -> Transaction {
    let count = town.people.len();
    let from = town.people[at % count].clone();
    let to = town.people[(at * 7 + round + 1) % count].clone();
    let to = if to.account == from.account {
        Person::new(3, at)
    } else {
        to
    };
    let send = Transfer {
        to: to.account,
        amount: credits("0.01"),
        memo: String::new(),
    };
    town.signed(&from, vec![send.into()])
}

/// Decisions alone, whole blocks of deployments, and demands that every node refuses.
pub(crate) fn placements(nodes: usize) {
    let mut town = Town::new(10, nodes);
    let owner = town.people[0].clone();
    let app = app_of(&owner);
    let demand = small(1);
    let decide = |demand: &allod_state::app::Demand, count: u32| {
        let began = Instant::now();
        for at in 0..count {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&at.to_le_bytes());
            let wanted = Wanted {
                slot: &(AppId(id), service_label(0), 0),
                epoch: 1,
                app: &app,
                revision: 1,
                demand,
                freed: None,
                strangers_max: None,
            };
            let found = find(&town.state, &wanted, &mut 0);
            std::hint::black_box(&found).as_ref().ok();
        }
        began.elapsed()
    };
    let found = median((0..ROUNDS).map(|_| decide(&demand, DECISIONS)).collect());
    let mut picky = demand.clone();
    picky.constraints.tags = ["gpu"].map(|tag| tag.parse().expect("a word")).into();
    picky.constraints.price_per_hour_max = Some(credits("0.000001"));
    let refused_count = DECISIONS / 20;
    let refused = median((0..ROUNDS).map(|_| decide(&picky, refused_count)).collect());
    let mut whole = Vec::new();
    let replicas = 10;
    for round in 0..ROUNDS {
        let transactions: Vec<Transaction> = (0..100)
            .map(|at| {
                let action = deploy(round * 100 + at, 1, &small(replicas)).into();
                town.signed(&owner, vec![action])
            })
            .collect();
        let verified = Verified::batch(transactions).expect("signed here");
        let began = Instant::now();
        let executed = town.build(&verified, 1);
        whole.push(began.elapsed());
        assert!(
            executed
                .receipts
                .iter()
                .all(|receipt| receipt.outcome.is_ok())
        );
        town.state = executed.state;
    }
    let whole = median(whole);
    println!(
        r#"{{"what":"placements","nodes":{nodes},"decisions_per_s":{:.0},"placed_per_s":{:.0},"refused_by_all_per_s":{:.0}}}"#,
        rate(DECISIONS as usize, found),
        rate(100 * replicas as usize, whole),
        rate(refused_count as usize, refused),
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
