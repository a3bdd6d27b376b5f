//! Nobody's machine works for nothing, nobody's replicas delay those of others, and no key spends its budget twice.

use allod_state::account::AddKey;
use allod_state::account::grant::{Budget, Grant};
use allod_state::app::{Delete, Restart, Scale, Waiting};
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::{EndCause, Lease, Report, ReportLease};
use allod_state::limits::{CREDIT_AHEAD_MS, PLACE_RETRY_MAX_MS, PLACE_RETRY_MS};
use allod_state::node::{CordonNode, PublishOffer, RegisterNode};
use allod_state::place::Failing;
use allod_state::{Action, Credits, Label, LeaseId, Rejection};

use crate::pool::Pool;
use crate::world::{Person, World, credits, web};

const HOUR_MS: u64 = 3_600_000;

/// The founder and others; what the founder deploys goes to machines of the others.
fn with_strangers(others: u8) -> Pool {
    let mut pool = Pool::of_owners(others);
    let (node, is_cordoned) = (pool.world.node, true);
    pool.world
        .run(vec![CordonNode { node, is_cordoned }.into()]);
    pool
}

fn available(pool: &Pool) -> Credits {
    let founder = pool.world.owner.account;
    pool.world.state.account(&founder).unwrap().available()
}

/// The founder gives away what it has, but for so much.
fn keep_only(pool: &mut Pool, rest: Credits) {
    let (to, memo) = (pool.machines[1].1.account, String::new());
    let amount = available(pool).minus(rest).unwrap();
    pool.world.run(vec![Transfer { to, amount, memo }.into()]);
}

fn top_up(pool: &mut Pool, amount: Credits) {
    let (to, memo) = (pool.world.owner.account, String::new());
    let other = pool.machines[1].1.clone();
    let transfer = Transfer { to, amount, memo };
    pool.world
        .try_as(&other, other.account, vec![transfer.into()])
        .unwrap();
}

/// An app on a stranger's machine whose payer has just paid its last credit: its lease, which has ended.
fn exhausted(pool: &mut Pool) -> (LeaseId, Lease) {
    let deploy = pool.world.deploy("shop", &[("web", web(1))], 1);
    pool.world.run(vec![deploy.clone().into()]);
    let (_, lease) = pool.world.active("shop")[0].clone();
    let (app, drops_volumes) = (pool.world.app("shop"), true);
    pool.world.run(vec![Delete { app, drops_volumes }.into()]);
    keep_only(pool, lease.price_per_hour);
    let (id, lease) = pool.app("shop");
    pool.pass(HOUR_MS + 1_000);
    let number = pool.number_of(lease.node);
    for ms in [HOUR_MS, 1_000] {
        let row = pool.world.state.lease(&id).unwrap();
        let (items, node) = (vec![item(&row, id, ms)], lease.node);
        pool.says(number, SubmitEvidence { node, items }).unwrap();
    }
    assert_eq!(available(pool), Credits::ZERO);
    assert!(pool.world.active("shop").is_empty(), "credits used up");
    (id, lease)
}

/// So much of a lease's time was ready.
fn item(lease: &Lease, id: LeaseId, ms: u64) -> Item {
    Item {
        lease: id,
        epoch: lease.epoch,
        from_ms: lease.meter.until_ms,
        until_ms: lease.meter.until_ms + ms,
        ready_ms: ms,
        usage: Usage::default(),
    }
}

fn why(pool: &Pool, name: &str) -> Option<Vec<Failing>> {
    let slots = pool.world.state.slots_of(&pool.world.app(name));
    match pool.world.state.slot(&slots[0]).unwrap().waiting {
        Some(Waiting::NoPlacement(why)) => {
            let failing = why.refusals.into_iter().map(|refusal| refusal.failing);
            Some(failing.flatten().collect())
        }
        _ => None,
    }
}

fn is_about_credit(refused: &Result<(), Rejection>) -> bool {
    let Err(Rejection::NoPlacement { why }) = refused else {
        return false;
    };
    let all = why.refusals.iter().flat_map(|refusal| &refusal.failing);
    all.clone().any(|it| matches!(it, Failing::Credit { .. }))
}

#[test]
fn what_could_not_be_paid_is_not_begun_again_before_it_can() {
    let mut pool = with_strangers(1);
    let (_, lease) = exhausted(&mut pool);
    let app = pool.world.app("shop");
    let refused = pool
        .world
        .try_run(vec![Restart { app, service: None }.into()]);
    assert!(is_about_credit(&refused), "{refused:?}");
    let revised = pool.world.deploy("shop", &[("web", web(1))], 2);
    let refused = pool.world.try_run(vec![revised.clone().into()]);
    assert!(is_about_credit(&refused), "{refused:?}");
    // As much as it costs for five minutes, but for a little.
    let ahead = lease
        .price_per_hour
        .mul_div_ceil(CREDIT_AHEAD_MS, HOUR_MS)
        .unwrap();
    top_up(&mut pool, ahead.minus(Credits::from_micro(1)).unwrap());
    let refused = pool.world.try_run(vec![revised.clone().into()]);
    assert!(is_about_credit(&refused), "{refused:?}");
    top_up(&mut pool, Credits::from_micro(1));
    pool.world.run(vec![revised.into()]);
    pool.world.wait(1);
    assert_eq!(pool.world.active("shop").len(), 1);
}

#[test]
fn what_ended_for_want_of_credits_goes_on_by_itself_when_they_are_there() {
    let mut pool = with_strangers(1);
    exhausted(&mut pool);
    pool.pass(PLACE_RETRY_MS);
    let failing = why(&pool, "shop").unwrap();
    assert!(
        failing
            .iter()
            .any(|it| matches!(it, Failing::Credit { .. })),
        "{failing:?}"
    );
    top_up(&mut pool, credits("1"));
    pool.pass(PLACE_RETRY_MAX_MS);
    assert_eq!(pool.world.active("shop").len(), 1);
}

/// However little there is: what costs no more than what it takes the place of adds nothing.
#[test]
fn what_runs_may_be_replaced_by_the_same_and_by_less() {
    let mut pool = with_strangers(1);
    let (_, lease) = pool.app("shop");
    let mut dear = web(1);
    dear.resources.cpu_milli = 2_000;
    let many = pool.world.deploy("dear", &[("web", dear)], 1);
    pool.world.run(vec![many.into()]);
    let price = pool.world.active("dear")[0].1.price_per_hour;
    // Less than five minutes of the dear one alone will be left.
    let minutes = price.mul_div_ceil(20 * 60_000, HOUR_MS).unwrap();
    keep_only(&mut pool, minutes);
    let (id, row) = pool.world.active("dear")[0].clone();
    let number = pool.number_of(row.node);
    pool.pass(16 * 60_000);
    let ms = 16 * 60_000;
    let (items, node) = (vec![item(&row, id, ms)], row.node);
    pool.says(number, SubmitEvidence { node, items }).unwrap();
    for version in [2, 3] {
        let revised = pool.world.deploy("shop", &[("web", web(1))], version);
        pool.world.run(vec![revised.into()]);
        pool.world.wait(1);
        let all = pool.world.active("shop");
        let next = all.iter().find(|(_, row)| row.epoch > lease.epoch);
        let (id, row) = next.expect("it is replaced").clone();
        let (lease, epoch, report) = (id, row.epoch, Report::Ready);
        let report = ReportLease {
            lease,
            epoch,
            report,
        };
        pool.says(pool.number_of(row.node), report).unwrap();
    }
}

/// What is deployed is to be paid for five minutes at least: who deploys and sends everything away gets nothing for nothing.
#[test]
fn nobody_sends_away_what_strangers_are_to_get_soon() {
    let mut pool = with_strangers(1);
    let (_, lease) = pool.app("shop");
    let (to, memo) = (pool.machines[1].1.account, String::new());
    let ahead = lease
        .price_per_hour
        .mul_div_ceil(CREDIT_AHEAD_MS, HOUR_MS)
        .unwrap();
    let most = available(&pool).minus(ahead).unwrap();
    let one = Credits::from_micro(1);
    let send = |amount| Transfer {
        to,
        amount,
        memo: memo.clone(),
    };
    let refused = pool
        .world
        .try_run(vec![send(most.plus(one).unwrap()).into()]);
    assert!(
        matches!(refused, Err(Rejection::InsufficientCredit { .. })),
        "{refused:?}"
    );
    pool.world.run(vec![send(most).into()]);
    let (app, drops_volumes) = (pool.world.app("shop"), true);
    let all = vec![Delete { app, drops_volumes }.into(), send(ahead).into()];
    pool.world.run(all);
    assert_eq!(available(&pool), Credits::ZERO);
}

#[test]
fn a_replica_goes_to_another_stranger_only_where_that_one_can_be_paid() {
    let mut pool = with_strangers(5);
    let (id, lease) = pool.app("shop");
    let (other, row) = pool.app("blog");
    // Five minutes of both; then one minute of this one is paid.
    let minutes = |count: u64| {
        let price = lease.price_per_hour;
        price.mul_div_ceil(count * 60_000, HOUR_MS).unwrap()
    };
    keep_only(&mut pool, minutes(10));
    pool.world.wait(60_000);
    let (items, node) = (vec![item(&row, other, 60_000)], row.node);
    pool.says(pool.number_of(node), SubmitEvidence { node, items })
        .unwrap();
    pool.give_up(lease.node);
    pool.world.wait(1);
    let is_lost = |pool: &Pool| !pool.world.state.lease(&id).unwrap().is_active();
    if !is_lost(&pool) {
        pool.lose(id, &lease);
        pool.world.wait(1);
    }
    assert!(is_lost(&pool));
    let failing = why(&pool, "shop").unwrap();
    let is_it = |it: &Failing| matches!(it, Failing::Credit { price, .. } if *price == lease.price_per_hour);
    assert!(failing.iter().any(is_it), "{failing:?}");
    assert!(pool.world.state.lease(&other).unwrap().is_active());
    top_up(&mut pool, minutes(1));
    pool.world.wait(PLACE_RETRY_MS * 2);
    assert_eq!(pool.world.active("shop").len(), 1);
}

#[test]
fn an_own_machine_needs_no_credit() {
    let mut pool = with_strangers(1);
    exhausted(&mut pool);
    let (node, is_cordoned) = (pool.world.node, false);
    pool.world
        .run(vec![CordonNode { node, is_cordoned }.into()]);
    pool.pass(PLACE_RETRY_MS);
    assert_eq!(pool.world.active("shop")[0].1.node, node);
}

#[test]
fn credits_bear_all_apps_together_and_less_may_always_be_wanted() {
    let mut pool = with_strangers(1);
    let (_, lease) = pool.app("shop");
    let price = lease.price_per_hour;
    keep_only(
        &mut pool,
        price
            .plus(price)
            .unwrap()
            .minus(credits("0.000001"))
            .unwrap(),
    );
    let second = pool.world.deploy("blog", &[("web", web(1))], 1);
    let refused = pool.world.try_run(vec![second.into()]);
    let needed = price.plus(price).unwrap();
    assert!(
        matches!(refused, Err(Rejection::InsufficientCredit { needed: found, .. }) if found == needed),
        "{refused:?}"
    );
    let app = pool.world.app("shop");
    let service = Label::of(pool.world.app_label("shop").as_bytes(), "web");
    let scale = |replicas| Scale {
        app,
        service,
        replicas,
    };
    top_up(&mut pool, credits("0.000001"));
    pool.world.run(vec![scale(2).into()]);
    // Less than for an hour of both.
    keep_only(&mut pool, price);
    pool.world.run(vec![scale(1).into()]);
    assert_eq!(pool.world.active("shop").len(), 1);
}

/// From now on the machine has room for one replica of [`web`].
fn room_for_one(world: &mut World) {
    let mut offer = world.state.node(&world.node).unwrap().offer.unwrap();
    offer.capacity = web(1).resources;
    let node = world.node;
    world.run(vec![PublishOffer { node, offer }.into()]);
}

fn fail(world: &mut World, name: &str) {
    let (id, _) = world.active(name)[0];
    world.report_lease(id, Report::Ended(EndCause::Exited { code: 1 }));
}

fn due_ms(world: &World, name: &str) -> u64 {
    let slot = world.state.slots_of(&world.app(name))[0];
    world.state.slot(&slot).unwrap().due_ms.unwrap()
}

#[test]
fn who_fits_nowhere_comes_after_all_others_and_ever_more_seldom() {
    let mut world = World::new();
    for name in ["many", "one"] {
        world.run(vec![world.deploy(name, &[("web", web(1))], 1).into()]);
    }
    room_for_one(&mut world);
    fail(&mut world, "many");
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let before = due_ms(&world, "many");
        world.wait(before - world.now_ms());
        pauses.push(due_ms(&world, "many") - world.now_ms());
    }
    let doubled = [1, 2, 4, 8, 8].map(|times| times * PLACE_RETRY_MS);
    assert_eq!(pauses, doubled);
    assert_eq!(pauses[4], PLACE_RETRY_MAX_MS);
    // Both are due in one block, and the one that fitted nowhere has been so for longer.
    let due = due_ms(&world, "many");
    world.wait(due - 500 - world.now_ms());
    fail(&mut world, "one");
    assert!(due_ms(&world, "one") > due);
    let due = due_ms(&world, "one");
    assert_eq!(world.state.next_due_ms(), Some(due_ms(&world, "many")));
    world.wait(due - world.now_ms());
    assert_eq!(world.active("one").len(), 1);
    assert!(world.active("many").is_empty());
}

/// However many others are due, some of those that fitted nowhere are looked at in every block.
#[test]
fn who_fits_nowhere_is_looked_at_beside_thousands_of_others() {
    let mut world = World::new();
    let mut small = web(500);
    small.resources.cpu_milli = 1;
    (small.resources.memory_bytes, small.resources.storage_bytes) = (1, 1);
    world.run(vec![world.deploy("one", &[("web", web(1))], 1).into()]);
    let services = ["a", "b", "c", "d"].map(|name| (name, small.clone()));
    world.run(vec![world.deploy("many", &services, 1).into()]);
    let many = world.active("many");
    let mut offer = world.state.node(&world.node).unwrap().offer.unwrap();
    offer.capacity = web(1).resources;
    offer.capacity.memory_bytes -= 1;
    let node = world.node;
    world.run(vec![PublishOffer { node, offer }.into()]);
    fail(&mut world, "one");
    world.wait(1_000);
    let due = due_ms(&world, "one");
    let ends: Vec<Action> = many
        .iter()
        .map(|(lease, row)| {
            ReportLease {
                lease: *lease,
                epoch: row.epoch,
                report: Report::Ended(EndCause::Exited { code: 1 }),
            }
            .into()
        })
        .collect();
    let (machine, account) = (world.machine.clone(), world.owner.account);
    for some in ends.chunks(64) {
        world.try_as(&machine, account, some.to_vec()).unwrap();
    }
    assert!(world.active("many").is_empty());
    // All of them are due, and have been looked at never yet.
    world.wait(due - world.now_ms());
    assert_ne!(due_ms(&world, "one"), due, "it was looked at");
    let placed = world.active("many").len();
    assert!(placed > 0 && placed < 2_000, "{placed}");
}

/// A key that may do everything with so much in two hours.
fn limited(world: &mut World, amount: &str) -> Person {
    let agent = Person::new(9);
    let grant = Grant {
        budget: Some(Budget {
            amount: credits(amount),
            period_ms: 2 * HOUR_MS,
        }),
        ..Grant::full()
    };
    let key = agent.key;
    world.run(vec![AddKey { key, grant }.into()]);
    agent
}

/// An app of the key's, which was ready from the beginning.
fn ready(world: &mut World, agent: &Person, name: &str) -> LeaseId {
    let owner = world.owner.account;
    let deploy = world.deploy(name, &[("web", web(1))], 1);
    world.try_as(agent, owner, vec![deploy.into()]).unwrap();
    let (id, _) = world.active(name)[0];
    world.report_lease(id, Report::Ready);
    id
}

/// The lease was ready until now.
fn charge(world: &mut World, id: LeaseId) {
    let lease = world.state.lease(&id).unwrap();
    let ms = world.now_ms() - lease.meter.until_ms;
    let (items, node) = (vec![item(&lease, id, ms)], world.node);
    world.report(SubmitEvidence { node, items }).unwrap();
}

fn pay(world: &mut World, agent: &Person, amount: &str) -> Result<(), Rejection> {
    let (owner, to) = (world.owner.account, Person::new(77).account);
    let (amount, memo) = (credits(amount), String::new());
    let transfer: Action = Transfer { to, amount, memo }.into();
    world.try_as(agent, owner, vec![transfer])
}

fn is_over_budget(outcome: &Result<(), Rejection>) -> bool {
    matches!(outcome, Err(Rejection::BudgetExceeded { .. }))
}

/// What it was charged for, and what it is about to be.
#[test]
fn what_leases_were_charged_is_spent() {
    let mut world = World::new();
    let agent = limited(&mut world, "0.02");
    let owner = world.owner.account;
    let id = ready(&mut world, &agent, "shop");
    // 0.0076 an hour: 0.0152 for two hours, which leaves 0.0048.
    assert!(is_over_budget(&pay(&mut world, &agent, "0.0049")));
    world.wait(HOUR_MS - 10_000);
    charge(&mut world, id);
    pay(&mut world, &agent, "0.002").unwrap();
    assert!(is_over_budget(&pay(&mut world, &agent, "0.0029")));
    let app = world.app("shop");
    let delete = Delete {
        app,
        drops_volumes: true,
    };
    world.try_as(&agent, owner, vec![delete.into()]).unwrap();
    // An hour of it and the 0.002 are gone, and no more is reserved.
    assert!(is_over_budget(&pay(&mut world, &agent, "0.0105")));
    pay(&mut world, &agent, "0.0104").unwrap();
}

#[test]
fn what_its_last_evidence_will_charge_is_spent_when_an_app_ends() {
    for is_deleted in [true, false] {
        let mut world = World::new();
        let agent = limited(&mut world, "0.0152");
        let owner = world.owner.account;
        let id = ready(&mut world, &agent, "shop");
        world.wait(HOUR_MS);
        let app = world.app("shop");
        let end: Action = if is_deleted {
            let drops_volumes = true;
            Delete { app, drops_volumes }.into()
        } else {
            let service = Label::of(world.app_label("shop").as_bytes(), "web");
            let replicas = 0;
            Scale {
                app,
                service,
                replicas,
            }
            .into()
        };
        world.try_as(&agent, owner, vec![end]).unwrap();
        assert!(is_over_budget(&pay(&mut world, &agent, "0.0077")));
        let lease = world.state.lease(&id).unwrap();
        let (items, node) = (vec![item(&lease, id, HOUR_MS)], world.node);
        world.report(SubmitEvidence { node, items }).unwrap();
        // It is not counted twice.
        assert!(is_over_budget(&pay(&mut world, &agent, "0.0077")));
        pay(&mut world, &agent, "0.0075").unwrap();
    }
}

#[test]
fn what_fits_into_the_end_of_a_period_has_to_fit_into_a_whole_one() {
    let mut world = World::new();
    let agent = limited(&mut world, "0.0152");
    let owner = world.owner.account;
    world.wait(HOUR_MS);
    world.wait(HOUR_MS - 60_000);
    let two = world.deploy("two", &[("web", web(2))], 1);
    let refused = world.try_as(&agent, owner, vec![two.into()]);
    assert!(is_over_budget(&refused), "{refused:?}");
    // One does, exactly; and when all is taken, what adds nothing may still be done.
    let id = ready(&mut world, &agent, "one");
    world.wait(10 * 60_000);
    charge(&mut world, id);
    fail(&mut world, "one");
    world.wait(2_000);
    assert_eq!(world.active("one").len(), 1, "it runs again");
    assert!(is_over_budget(&pay(&mut world, &agent, "0.0001")));
    let app = world.app("one");
    let restart = Restart { app, service: None };
    let same = |replicas| world.deploy("one", &[("web", web(replicas))], 1);
    let both = vec![restart.into(), same(1).into()];
    world.try_as(&agent, owner, both).unwrap();
    // The owner wants more of it than the key's budget bears; the key may go on with that, and with less.
    let service = Label::of(world.app_label("one").as_bytes(), "web");
    let scale = |replicas| Scale {
        app,
        service,
        replicas,
    };
    world.run(vec![scale(3).into()]);
    let same = world.deploy("one", &[("web", web(3))], 1);
    let less = vec![same.into(), scale(2).into()];
    world.try_as(&agent, owner, less).unwrap();
}

#[test]
fn a_dearer_revision_has_to_fit_into_a_whole_period_too() {
    let mut world = World::new();
    let agent = limited(&mut world, "0.0152");
    let owner = world.owner.account;
    ready(&mut world, &agent, "one");
    world.wait(HOUR_MS);
    world.wait(HOUR_MS - 60_000);
    let mut dearer = web(1);
    dearer.resources.cpu_milli = 1_000;
    let revised = world.deploy("one", &[("web", dearer)], 2);
    let refused = world.try_as(&agent, owner, vec![revised.into()]);
    assert!(is_over_budget(&refused), "{refused:?}");
}

/// Points of low order, from RFC 7748 on: zero, one, both of order eight, and those beside the prime.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn a_machine_to_which_nothing_can_be_sealed_is_not_listed() {
    let mut world = World::new();
    let machine = Person::new(12);
    let owner = world.owner.account;
    let register = |sealing_key: [u8; 32]| {
        let consent = RegisterNode::consent_bytes(&owner, &sealing_key);
        let register = RegisterNode {
            key: machine.key,
            consent: machine.sign(&consent),
            sealing_key,
            name: "trap".parse().unwrap(),
        };
        vec![register.into()]
    };
    for text in LOW_ORDER {
        let mut key = [0; 32];
        data_encoding::HEXLOWER
            .decode_mut(text.as_bytes(), &mut key)
            .unwrap();
        // The highest bit is nobody's.
        for highest in [0, 0x80] {
            key[31] = key[31] & 0x7f | highest;
            let refused = world.try_run(register(key));
            assert!(
                matches!(refused, Err(Rejection::BadField { .. })),
                "{text}: {refused:?}"
            );
        }
    }
    world.try_run(register([9; 32])).unwrap();
}
