//! How many rows each account has, so that whoever takes its own along shows that none was left out.
//!
//! 1. A row and its key say whose it is, and nothing else does: an account by name, or whose the app or the machine is
//!    that it is a part of. A lease is its payer's and its payee's while it is active; what is over is in bills.
//! 2. Every write of a row counts it for those whose it becomes, and for those whose it was no longer.
//!
//! So whoever is shown this count under a root, and as many different rows under the same root that are the account's, was
//! shown all of them: no proof has to say what lies between two rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::account::{Account, KeyRecord};
use crate::app::{App, Revision, Slot};
use crate::bill;
use crate::id::{AccountId, AppId, NodeId};
use crate::lease::Lease;
use crate::node::{Node, Reach, Uptime};
use crate::state::Owned;
use crate::table::Row;
use crate::validator::Seat;
use crate::volume::Volume;

/// A kind of row that accounts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum Kind {
    /// The account itself.
    Account,
    /// A key.
    Key,
    /// A machine.
    Node,
    /// An app.
    App,
    /// A kept revision of an app.
    Revision,
    /// A replica slot of an app.
    Slot,
    /// An active lease.
    Lease,
    /// A line of a bill.
    BillLine,
    /// A volume.
    Volume,
    /// Where a machine is found.
    Reach,
    /// A machine's seat among the validators.
    Seat,
    /// How much of the time a machine was there.
    Uptime,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Account => "account",
            Self::Key => "key",
            Self::Node => "machine",
            Self::App => "app",
            Self::Revision => "revision",
            Self::Slot => "slot",
            Self::Lease => "lease",
            Self::BillLine => "bill line",
            Self::Volume => "volume",
            Self::Reach => "reach",
            Self::Seat => "seat",
            Self::Uptime => "uptime",
        })
    }
}

/// Whose a row is, as it says together with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Nobody's any more.
    Nobody,
    /// An account's.
    One(AccountId),
    /// Two accounts', each as much as the other.
    Two(AccountId, AccountId),
    /// The owner's of an app.
    OfApp(AppId),
    /// The operator's of a machine.
    OfNode(NodeId),
}

/// A row that belongs to somebody.
pub(crate) trait Held: Row {
    const KIND: Kind;

    fn whose(key: &Self::Key, row: &Self) -> Whose;
}

macro_rules! held {
    ($($kind:ident: $row:ty, |$key:pat_param, $value:pat_param| $whose:expr;)+) => {
        $(impl Held for $row {
            const KIND: Kind = Kind::$kind;

            fn whose($key: &Self::Key, $value: &Self) -> Whose {
                $whose
            }
        })+
    };
}

held! {
    Account: Account, |id, _| Whose::One(*id);
    Key: KeyRecord, |(account, _), _| Whose::One(*account);
    Node: Node, |_, node| Whose::One(node.operator);
    App: App, |_, app| Whose::One(app.owner);
    Revision: Revision, |(app, _), _| Whose::OfApp(*app);
    Slot: Slot, |(app, _, _), _| Whose::OfApp(*app);
    Lease: Lease, |_, lease| of_lease(lease);
    BillLine: bill::Line, |(payer, _, _), _| Whose::One(*payer);
    Volume: Volume, |(owner, _, _), _| Whose::One(*owner);
    Reach: Reach, |node, _| Whose::OfNode(*node);
    Seat: Seat, |node, _| Whose::OfNode(*node);
    Uptime: Uptime, |node, _| Whose::OfNode(*node);
}

fn of_lease(lease: &Lease) -> Whose {
    if !lease.is_active() {
        Whose::Nobody
    } else if lease.payer == lease.payee {
        Whose::One(lease.payer)
    } else {
        Whose::Two(lease.payer, lease.payee)
    }
}

/// How many rows an account has, by their kinds. This row itself is not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Holdings {
    /// How many of each kind; none of a kind is not listed.
    pub rows: BTreeMap<Kind, u64>,
}

impl Row for Holdings {
    type Key = AccountId;
    const TAG: u8 = 15;
}

/// Rows are not all that an account has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAll {
    /// Some are missing.
    #[error("{} row(s) were left out: {missing}", missing.sum())]
    LeftOut {
        /// How many of each kind.
        missing: Holdings,
    },
    /// Some are not the account's.
    #[error("{} row(s) are none of the account's: {strange}", strange.sum())]
    Strange {
        /// How many of each kind.
        strange: Holdings,
    },
}

impl Holdings {
    /// How many rows there are of all kinds together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let counts = self.rows.values();
        counts.fold(0, |sum: u64, count| sum.saturating_add(*count))
    }

    /// Checks that `rows`, by their stored keys, are all that `account` has: they and these holdings have to be shown
    /// under one root.
    ///
    /// # Errors
    /// Where some are missing, or are not the account's.
    pub fn check(
        &self,
        account: &AccountId,
        rows: &BTreeMap<Vec<u8>, Owned>,
    ) -> Result<(), NotAll> {
        let (mut apps, mut nodes) = (BTreeSet::new(), BTreeSet::new());
        for row in rows.values() {
            match row {
                Owned::App(id, app) if app.owner == *account => drop(apps.insert(*id)),
                Owned::Node(id, node) if node.operator == *account => drop(nodes.insert(*id)),
                _ => {}
            }
        }
        let is_its = |whose: Whose| match whose {
            Whose::Nobody => false,
            Whose::One(one) => one == *account,
            Whose::Two(one, other) => one == *account || other == *account,
            Whose::OfApp(app) => apps.contains(&app),
            Whose::OfNode(node) => nodes.contains(&node),
        };
        let (mut shown, mut strange) = (Self::default(), Self::default());
        for row in rows.values() {
            let (kind, whose) = row.whose();
            if is_its(whose) {
                shown.add(kind);
            } else {
                strange.add(kind);
            }
        }
        let missing = self.without(&shown);
        if missing.sum() > 0 {
            return Err(NotAll::LeftOut { missing });
        }
        if strange.sum() > 0 {
            return Err(NotAll::Strange { strange });
        }
        Ok(())
    }

    /// What these have beyond others.
    fn without(&self, others: &Self) -> Self {
        let rows = self.rows.iter().map(|(kind, count)| {
            let other = others.rows.get(kind).copied().unwrap_or(0);
            (*kind, count.saturating_sub(other))
        });
        Self {
            rows: rows.filter(|(_, count)| *count > 0).collect(),
        }
    }

    pub(crate) fn add(&mut self, kind: Kind) {
        let count = self.rows.entry(kind).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn take(&mut self, kind: Kind) {
        match self.rows.get(&kind).and_then(|count| count.checked_sub(1)) {
            None | Some(0) => drop(self.rows.remove(&kind)),
            Some(rest) => drop(self.rows.insert(kind, rest)),
        }
    }
}

impl fmt::Display for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, count)) in self.rows.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{count} {kind}(s)")?;
        }
        Ok(())
    }
}
