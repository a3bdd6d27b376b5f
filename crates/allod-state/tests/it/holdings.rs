//! How many rows each account has, and that nobody leaves one out unseen.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::account::grant::Grant;
use allod_state::account::{AddKey, RevokeKey};
use allod_state::app::{Delete, Demand, Scale};
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::holdings::{Kind, NotAll, Whose};
use allod_state::lease::{EndCause, Lease, Report, ReportLease};
use allod_state::node::PublishReach;
use allod_state::state::Owned;
use allod_state::validator::{Leave, Stand};
use allod_state::volume::ReportVolume;
use allod_state::{AccountId, Action, Credits, Label, LeaseId};

use crate::audit::Audit;
use crate::pool::Pool;
use crate::samples::reach;
use crate::world::{GIB, Person, web};

/// The founder's app runs with a volume on the machine of the neighbour, who is the first of the others.
struct Town {
    pool: Pool,
    founder: AccountId,
    neighbour: AccountId,
}

impl Town {
    fn new() -> Self {
        let pool = Pool::of_owners(3);
        let mut town = Self {
            founder: pool.machines[0].1.account,
            neighbour: pool.machines[1].1.account,
            pool,
        };
        town.deploys(1);
        town
    }

    /// Everything is counted right after every step.
    fn audit(&self) {
        let world = &self.pool.world;
        Audit::of(world.writes.clone()).holdings(&world.state);
    }

    fn runs(&mut self, action: impl Into<Action>) {
        self.pool.world.run(vec![action.into()]);
        self.audit();
    }

    fn says(&mut self, number: usize, action: impl Into<Action>) {
        self.pool.says(number, action).unwrap();
        self.audit();
    }

    fn data(&self) -> Label {
        Label::of(self.pool.world.app_label("shop").as_bytes(), "data")
    }

    fn deploys(&mut self, version: u8) {
        let mut demand = Demand {
            volumes: BTreeMap::from([(self.data(), GIB)]),
            ..web(1)
        };
        demand.constraints.operators_allowed = BTreeSet::from([self.neighbour]);
        let services = [("db", demand), ("web", web(2))];
        let deploy = self.pool.world.deploy("shop", &services, version);
        self.runs(deploy);
    }

    /// The lease that both are part of.
    fn lease(&self) -> (LeaseId, Lease) {
        let mut leases = self.pool.world.active("shop").into_iter();
        leases.find(|(_, lease)| !lease.volumes.is_empty()).unwrap()
    }

    fn reports(&mut self, report: Report) {
        let (lease, row) = self.lease();
        let epoch = row.epoch;
        self.says(
            1,
            ReportLease {
                lease,
                epoch,
                report,
            },
        );
    }

    fn is_billed(&mut self) {
        self.pool.world.wait(30_000);
        let (lease, row) = self.lease();
        let from_ms = row.meter.until_ms;
        let item = Item {
            lease,
            epoch: row.epoch,
            from_ms,
            until_ms: from_ms + 30_000,
            ready_ms: 20_000,
            usage: Usage::default(),
        };
        let node = self.pool.node(1);
        let items = vec![item];
        self.says(1, SubmitEvidence { node, items });
    }

    fn count(&self, account: AccountId, kind: Kind) -> u64 {
        let holdings = self.pool.world.state.holdings(&account);
        holdings.rows.get(&kind).copied().unwrap_or(0)
    }

    /// The rows of an account as they are stored.
    fn rows_of(&self, account: AccountId) -> BTreeMap<Vec<u8>, Owned> {
        let state = &self.pool.world.state;
        let rows = state.owned_by(&account).into_iter().map(|key| {
            let (value, _) = state.prove(&key);
            let row = Owned::read(&key, &value.unwrap()).unwrap();
            (key, row)
        });
        rows.collect()
    }
}

#[test]
fn every_row_counts_for_whose_it_is_from_its_first_block_to_its_last() {
    let mut town = Town::new();
    let (founder, neighbour) = (town.founder, town.neighbour);
    assert_eq!(town.count(founder, Kind::Volume), 1);
    assert_eq!(town.count(neighbour, Kind::Volume), 0);
    town.reports(Report::Ready);
    town.is_billed();
    assert_eq!(town.count(founder, Kind::BillLine), 1);
    let agent = Person::new(9);
    let (key, grant) = (agent.key, Grant::full());
    let keys = town.count(founder, Kind::Key);
    town.runs(AddKey { key, grant });
    assert_eq!(town.count(founder, Kind::Key), keys + 1);
    town.runs(RevokeKey { key });
    assert_eq!(town.count(founder, Kind::Key), keys);
    let node = town.pool.node(1);
    town.says(1, PublishReach { node, ..reach() });
    assert_eq!(town.count(neighbour, Kind::Reach), 1);
    let owner = town.pool.machines[1].1.clone();
    for (action, seats) in [(Stand { node }.into(), 1), (Leave { node }.into(), 0)] {
        let done = town.pool.world.try_as(&owner, neighbour, vec![action]);
        done.unwrap();
        town.audit();
        assert_eq!(town.count(neighbour, Kind::Seat), seats);
    }
    town.deploys(2);
    assert_eq!(town.count(founder, Kind::Revision), 2);
    let app = town.pool.world.app("shop");
    let service = Label::of(town.pool.world.app_label("shop").as_bytes(), "web");
    for replicas in [3, 1] {
        town.runs(Scale {
            app,
            service,
            replicas,
        });
    }
    town.runs(Delete {
        app,
        drops_volumes: true,
    });
    assert_eq!(town.count(founder, Kind::Slot), 0);
    let gone = ReportVolume {
        owner: founder,
        app: town.pool.world.app_label("shop"),
        volume: town.data(),
    };
    town.says(1, gone);
    assert_eq!(town.count(founder, Kind::Volume), 0);
    assert_eq!(town.count(founder, Kind::BillLine), 1, "it stays");
}

#[test]
fn a_lease_is_of_both_its_sides_and_of_nobody_once_it_is_over() {
    let mut town = Town::new();
    let (_, lease) = town.lease();
    assert_eq!((lease.payer, lease.payee), (town.founder, town.neighbour));
    town.reports(Report::Ready);
    let counts = |town: &Town| {
        let of = |account| town.count(account, Kind::Lease);
        [of(town.founder), of(town.neighbour)]
    };
    let [of_founder, of_neighbour] = counts(&town);
    assert!(of_neighbour > 0);
    town.reports(Report::Ended(EndCause::OutOfMemory));
    assert_eq!(counts(&town), [of_founder - 1, of_neighbour - 1]);
    // What fails leaves no count behind.
    let owner = town.pool.world.owner.clone();
    let deploy = town.pool.world.deploy("bank", &[("web", web(1))], 1);
    let send = allod_state::credit::Transfer {
        to: town.neighbour,
        amount: Credits::from_micro(i128::from(u64::MAX)),
        memo: String::new(),
    };
    let before = town.pool.world.state.holdings(&owner.account);
    let actions = vec![deploy.into(), send.into()];
    let refused = town.pool.world.try_as(&owner, owner.account, actions);
    assert!(refused.is_err());
    assert_eq!(town.pool.world.state.holdings(&owner.account), before);
    town.audit();
}

#[test]
fn no_row_is_left_out_unseen() {
    let mut town = Town::new();
    town.reports(Report::Ready);
    town.is_billed();
    let rows = town.rows_of(town.founder);
    let holdings = town.pool.world.state.holdings(&town.founder);
    assert_eq!(holdings.check(&town.founder, &rows), Ok(()));
    assert_eq!(holdings.sum(), u64::try_from(rows.len()).unwrap());
    for (key, row) in &rows {
        let mut rows = rows.clone();
        rows.remove(key);
        let Err(NotAll::LeftOut { missing }) = holdings.check(&town.founder, &rows) else {
            panic!("{row:?} was left out unseen");
        };
        let (kind, _) = row.whose();
        assert!(missing.rows[&kind] > 0, "{missing}");
        let has_parts = matches!(kind, Kind::App | Kind::Node);
        assert!(has_parts || missing.sum() == 1, "{missing}");
    }
}

/// Nor is it made up for by what is somebody else's, be it as well shown.
#[test]
fn no_row_of_another_counts() {
    let town = Town::new();
    let holdings = town.pool.world.state.holdings(&town.founder);
    let rows = town.rows_of(town.founder);
    let others = town.rows_of(town.neighbour);
    for (key, row) in &others {
        if rows.contains_key(key) {
            continue;
        }
        let (kind, _) = row.whose();
        let mut rows = rows.clone();
        rows.insert(key.clone(), row.clone());
        let told = holdings.check(&town.founder, &rows);
        let Err(NotAll::Strange { strange }) = told else {
            panic!("{row:?} passed for the founder's");
        };
        assert_eq!(strange.rows, BTreeMap::from([(kind, 1)]));
        let own = rows.iter().find(|(key, own)| {
            let is_own = !others.contains_key(*key);
            is_own && own.whose().0 == kind
        });
        let Some(own) = own.map(|(key, _)| key.clone()) else {
            continue;
        };
        rows.remove(&own);
        let told = holdings.check(&town.founder, &rows);
        assert!(matches!(told, Err(NotAll::LeftOut { .. })), "{told:?}");
    }
    let nobodys = Owned::Other(Kind::Lease, Whose::Nobody);
    let mut rows = rows;
    rows.insert(vec![7], nobodys);
    assert!(holdings.check(&town.founder, &rows).is_err());
}
