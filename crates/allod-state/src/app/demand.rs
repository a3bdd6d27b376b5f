//! The public demand of a service: all that placement may know of it.

use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::id::{AccountId, Digest, Label};
use crate::limits::{
    CONSTRAINT_ENTRIES_MAX, EFFORT_PER_NODE, PORTS_PER_SERVICE_MAX, REPLICAS_PER_SERVICE_MAX,
    UPTIME_DAYS, VOLUMES_PER_SERVICE_MAX,
};
use crate::money::Credits;
use crate::node::{DAY_MS, Isolation, Resources, WHOLE_PPM};
use crate::reject::Rejection;
use crate::text::Word;

/// What one service needs. Names, images and settings are in the sealed manifest.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Demand {
    /// How many replicas it starts with.
    pub replicas: u32,
    /// What each replica needs. `storage_bytes` holds its scratch space; volumes come on top.
    pub resources: Resources,
    /// How each replica is kept apart.
    pub isolation: Isolation,
    /// The ports it listens on.
    pub ports: Vec<Port>,
    /// Its volumes and their sizes in bytes. A service with volumes runs one replica, where the volumes are.
    pub volumes: BTreeMap<Label, u64>,
    /// Where it may run.
    pub constraints: Constraints,
    /// What is first when a replica is replaced.
    pub update: Update,
    /// What follows when its process ends.
    pub restart: Restart,
    /// A keyed hash of the service's part of the sealed manifest. A new revision leaves replicas alone whose demand
    /// and content it repeats; the key is the owner's, so that nobody else learns what is equal to what.
    pub content: Digest,
}

/// A port that a service listens on.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Port {
    /// Its number inside the replica.
    pub number: u16,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Whether the ingress serves it.
    pub is_public: bool,
}

/// What is spoken on a port.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// HTTP over TCP.
    Http,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Where a service may run. Every rule given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Constraints {
    /// Only in these regions, or in regions that begin with one of them and a dash; anywhere where empty.
    pub regions: BTreeSet<Word>,
    /// Only on nodes of these operators; of any where empty.
    pub operators_allowed: BTreeSet<AccountId>,
    /// Never on nodes of these operators.
    pub operators_denied: BTreeSet<AccountId>,
    /// Only on nodes with all of these tags.
    pub tags: BTreeSet<Word>,
    /// Only where a replica-hour costs at most this.
    pub price_per_hour_max: Option<Credits>,
    /// At most this many replicas of the service on one node.
    pub replicas_per_node_max: Option<u32>,
    /// At most this many replicas of the service on nodes of one operator.
    pub replicas_per_operator_max: Option<u32>,
    /// At most this many replicas of the service in one region.
    pub replicas_per_region_max: Option<u32>,
    /// Only on nodes with at least this reputation, in parts of a million.
    pub reputation_ppm_min: Option<u32>,
    /// Only on nodes that machines of other operators saw there for so many milliseconds of the last
    /// [`UPTIME_DAYS`] days.
    pub attested_ms_min: Option<u64>,
    /// Only on the node that has the app's other replicas, or their data, and where nothing of it runs yet on one that has
    /// room for all of it: services that speak with one another by the app's network, which ends where the machine does.
    pub is_together: bool,
}

impl Constraints {
    /// Whether it matters which operators and regions have other replicas of the service.
    pub(crate) const fn counts_others(&self) -> bool {
        self.replicas_per_operator_max.is_some() || self.replicas_per_region_max.is_some()
    }
}

/// What is first when a replica is replaced.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Update {
    /// The new one becomes ready before the old one stops.
    StartFirst,
    /// The old one stops before the new one starts.
    StopFirst,
    /// There is one at a time, whatever happens: the new one is placed once nothing of the old one runs, as its machine
    /// or most of its witnesses say. One whose machine has lost contact stands still until it is confirmed, or ends.
    Exclusive,
}

/// What follows when a replica's process ends by itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// A fresh replica.
    Always,
    /// A fresh replica, unless it ended with code 0.
    OnFailure,
    /// Nothing.
    Never,
}

impl Demand {
    /// What one replica takes from a node: its resources and its volumes.
    #[must_use]
    pub fn footprint(&self) -> Resources {
        let volumes = self
            .volumes
            .values()
            .fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        self.resources.plus(Resources {
            cpu_milli: 0,
            memory_bytes: 0,
            storage_bytes: volumes,
        })
    }

    /// Whether a replica that was made for this demand is what `other` asks for. How many there are is no part of it.
    #[must_use]
    pub fn runs_the_same_as(&self, other: &Self) -> bool {
        let Self {
            replicas: _,
            resources,
            isolation,
            ports,
            volumes,
            constraints,
            update,
            restart,
            content,
        } = other;
        self.content == *content
            && self.resources == *resources
            && self.isolation == *isolation
            && self.ports == *ports
            && self.volumes == *volumes
            && self.update == *update
            && self.restart == *restart
            && self.constraints == *constraints
    }

    /// The effort of examining one node: the lists of its constraints are gone through for each.
    pub(crate) fn effort_per_node(&self) -> u64 {
        let constraints = &self.constraints;
        let entries = [
            constraints.regions.len(),
            constraints.operators_allowed.len(),
            constraints.operators_denied.len(),
            constraints.tags.len(),
            self.volumes.len(),
        ];
        let entries = u64::try_from(entries.iter().sum::<usize>()).unwrap_or(u64::MAX);
        // Both read what others saw, day by day.
        let reputation = constraints.reputation_ppm_min.map(|_| EFFORT_PER_NODE);
        let attested = constraints.attested_ms_min.map(|_| EFFORT_PER_NODE);
        EFFORT_PER_NODE
            .saturating_add(entries / 8)
            .saturating_add(reputation.unwrap_or(0))
            .saturating_add(attested.unwrap_or(0))
    }

    /// Whether replacing starts the new replica first. Two replicas never share a volume.
    #[must_use]
    pub fn starts_first(&self) -> bool {
        self.update == Update::StartFirst && self.volumes.is_empty()
    }

    /// Whether two of it never run at once, be one of them on a machine that nobody reaches.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        self.update == Update::Exclusive
    }

    /// Whether it may have so many replicas.
    /// Of so many replicas those that it may have.
    pub(crate) fn at_most(&self, replicas: u32) -> u32 {
        if self.volumes.is_empty() && !self.is_exclusive() {
            replicas
        } else {
            replicas.min(1)
        }
    }

    pub(crate) fn check_replicas(&self, replicas: u32) -> Result<(), Rejection> {
        if replicas > REPLICAS_PER_SERVICE_MAX {
            return Err(Rejection::too_many("replicas"));
        }
        if !self.volumes.is_empty() && replicas > 1 {
            return Err(Rejection::field(
                "a service with volumes runs one replica: two writers would share its data",
            ));
        }
        if self.is_exclusive() && replicas > 1 {
            return Err(Rejection::field(
                "an exclusive service runs one replica: ask for one, or leave `exclusive` out",
            ));
        }
        Ok(())
    }

    pub(crate) fn validate(&self) -> Result<(), Rejection> {
        let Resources {
            cpu_milli,
            memory_bytes,
            storage_bytes,
        } = self.resources;
        if cpu_milli == 0 || memory_bytes == 0 {
            return Err(Rejection::field(
                "a service asks for no CPU or no memory; ask for some of both",
            ));
        }
        if cpu_milli > 1_000_000 || memory_bytes > 1 << 44 || storage_bytes > 1 << 50 {
            return Err(Rejection::field(
                "a service asks for more than any machine has",
            ));
        }
        if self
            .volumes
            .values()
            .any(|bytes| *bytes == 0 || *bytes > 1 << 50)
        {
            return Err(Rejection::field(
                "a volume's size is zero or larger than any disk",
            ));
        }
        self.check_replicas(self.replicas)?;
        if self.ports.len() > PORTS_PER_SERVICE_MAX {
            return Err(Rejection::too_many("ports"));
        }
        if self.ports.iter().any(|port| port.number == 0) {
            return Err(Rejection::field("port 0 is no port"));
        }
        if self.volumes.len() > VOLUMES_PER_SERVICE_MAX {
            return Err(Rejection::too_many("volumes"));
        }
        self.constraints.validate()
    }
}

impl Constraints {
    fn validate(&self) -> Result<(), Rejection> {
        let longest = [
            self.regions.len(),
            self.operators_allowed.len(),
            self.operators_denied.len(),
            self.tags.len(),
        ]
        .into_iter()
        .max();
        if longest > Some(CONSTRAINT_ENTRIES_MAX) {
            return Err(Rejection::too_many("entries in a constraint"));
        }
        if self
            .price_per_hour_max
            .is_some_and(|price| !price.is_nameable())
        {
            return Err(Rejection::BadAmount);
        }
        if self.reputation_ppm_min > Some(WHOLE_PPM) {
            return Err(Rejection::field(
                "no machine has a reputation above 1; ask for less",
            ));
        }
        // Of today there is only a part.
        let whole_days = UPTIME_DAYS.saturating_sub(1);
        if self.attested_ms_min > Some(whole_days.saturating_mul(DAY_MS)) {
            return Err(Rejection::field(
                "what others saw of a machine is kept for 29 days and today; ask for 29d or less",
            ));
        }
        Ok(())
    }
}
