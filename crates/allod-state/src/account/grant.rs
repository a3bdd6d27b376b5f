//! What a key may do: verbs, resources, a budget per period, an expiry.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::id::{Label, NodeId};
use crate::limits::CONSTRAINT_ENTRIES_MAX;
use crate::money::Credits;
use crate::reject::Rejection;

macro_rules! verbs {
    ($($(#[$doc:meta])* $tag:literal $verb:ident $name:literal),+ $(,)?) => {
        /// The kinds of act a grant can allow.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[borsh(use_discriminant = true)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum Verb { $($(#[$doc])* $verb = $tag),+ }

        impl Verb {
            /// Every verb.
            pub const ALL: &'static [Self] = &[$(Self::$verb),+];

            /// Its name, as people write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$verb => $name),+ }
            }

            /// The verb of that name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|verb| verb.name() == name)
            }
        }
    };
}

verbs! {
    /// Create apps and new revisions, restart and roll back, and run processes beside replicas: whoever decides what an
    /// app runs can run anything in it.
    0 Deploy "deploy",
    /// Change replica counts.
    1 Scale "scale",
    /// End apps and give up volumes.
    2 Delete "delete",
    /// Send credits.
    3 Transfer "transfer",
    /// Add and revoke keys.
    4 Keys "keys",
    /// Register, offer and cordon nodes.
    5 Nodes "nodes",
    /// Report on leases and submit evidence, as nodes do.
    6 Report "report",
    /// Read what is private to the account: logs, events, bills.
    7 Read "read",
    /// Open accounts for newcomers, as an invite does.
    8 Invite "invite",
    /// Stand for validator, vote on who validates, and stop validating.
    9 Validate "validate",
}

/// Which apps a grant covers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AppSelector {
    /// All of the account's.
    All,
    /// Those with these labels.
    Only(BTreeSet<Label>),
}

/// Which nodes a grant covers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeSelector {
    /// All of the account's.
    All,
    /// These.
    Only(BTreeSet<NodeId>),
}

/// A spending limit that renews itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Budget {
    /// How much may be spent or reserved in one period.
    pub amount: Credits,
    /// The period's length in milliseconds.
    pub period_ms: u64,
}

/// What a key may do.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Grant {
    /// The acts it allows.
    pub verbs: BTreeSet<Verb>,
    /// The apps it covers.
    pub apps: AppSelector,
    /// The nodes it covers.
    pub nodes: NodeSelector,
    /// What it may spend; without one, whatever the account can.
    pub budget: Option<Budget>,
    /// Block time in milliseconds from which it allows nothing.
    pub expires_ms: Option<u64>,
}

impl Grant {
    /// Everything, for ever.
    #[must_use]
    pub fn full() -> Self {
        Self {
            verbs: Verb::ALL.iter().copied().collect(),
            apps: AppSelector::All,
            nodes: NodeSelector::All,
            budget: None,
            expires_ms: None,
        }
    }

    /// What a node's own key needs.
    #[must_use]
    pub fn of_node(node: NodeId) -> Self {
        Self {
            verbs: BTreeSet::from([Verb::Report]),
            apps: AppSelector::Only(BTreeSet::new()),
            nodes: NodeSelector::Only(BTreeSet::from([node])),
            budget: None,
            expires_ms: None,
        }
    }

    /// What an invite's key needs: it opens one account, and is gone with that.
    #[must_use]
    pub fn of_invite(expires_ms: u64) -> Self {
        Self {
            verbs: BTreeSet::from([Verb::Invite]),
            apps: AppSelector::Only(BTreeSet::new()),
            nodes: NodeSelector::Only(BTreeSet::new()),
            budget: None,
            expires_ms: Some(expires_ms),
        }
    }

    /// Whether it is an invite's: it allows to open accounts and nothing else.
    #[must_use]
    pub fn is_invite(&self) -> bool {
        self.verbs.iter().eq([&Verb::Invite])
    }

    /// Whether it covers the app with this label.
    #[must_use]
    pub fn covers_app(&self, label: &Label) -> bool {
        match &self.apps {
            AppSelector::All => true,
            AppSelector::Only(labels) => labels.contains(label),
        }
    }

    /// Whether it covers this node.
    #[must_use]
    pub fn covers_node(&self, node: &NodeId) -> bool {
        match &self.nodes {
            NodeSelector::All => true,
            NodeSelector::Only(nodes) => nodes.contains(node),
        }
    }

    /// Whether everything that `child` allows is allowed here too. A key can only hand on what it has.
    #[must_use]
    pub fn covers(&self, child: &Self) -> bool {
        let apps = match (&self.apps, &child.apps) {
            (AppSelector::All, _) => true,
            (AppSelector::Only(_), AppSelector::All) => false,
            (AppSelector::Only(mine), AppSelector::Only(theirs)) => theirs.is_subset(mine),
        };
        let nodes = match (&self.nodes, &child.nodes) {
            (NodeSelector::All, _) => true,
            (NodeSelector::Only(_), NodeSelector::All) => false,
            (NodeSelector::Only(mine), NodeSelector::Only(theirs)) => theirs.is_subset(mine),
        };
        // A limited key hands on no right to spend: two budgets would add up to more than one.
        let budget = self.budget.is_none();
        let expiry = match (self.expires_ms, child.expires_ms) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(mine), Some(theirs)) => theirs <= mine,
        };
        child.verbs.is_subset(&self.verbs) && apps && nodes && budget && expiry
    }

    /// How many apps and nodes it lists.
    pub(crate) fn entries(&self) -> u64 {
        let apps = match &self.apps {
            AppSelector::All => 0,
            AppSelector::Only(labels) => labels.len(),
        };
        let nodes = match &self.nodes {
            NodeSelector::All => 0,
            NodeSelector::Only(nodes) => nodes.len(),
        };
        u64::try_from(apps.saturating_add(nodes)).unwrap_or(u64::MAX)
    }

    pub(crate) fn validate(&self) -> Result<(), Rejection> {
        let apps = match &self.apps {
            AppSelector::All => 0,
            AppSelector::Only(labels) => labels.len(),
        };
        let nodes = match &self.nodes {
            NodeSelector::All => 0,
            NodeSelector::Only(nodes) => nodes.len(),
        };
        if apps > CONSTRAINT_ENTRIES_MAX || nodes > CONSTRAINT_ENTRIES_MAX {
            return Err(Rejection::too_many("resources in the grant"));
        }
        match self.budget {
            Some(budget) if !budget.amount.is_nameable() => Err(Rejection::BadAmount),
            Some(budget) if budget.period_ms == 0 => Err(Rejection::field(
                "the budget's period is zero; name a period such as a day",
            )),
            _ => Ok(()),
        }
    }
}
