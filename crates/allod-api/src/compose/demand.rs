//! The public half of a service, still with the names that the law must not see.

use std::collections::BTreeMap;

use allod_state::app::{Constraints, Demand, Port, RestartPolicy, Update};
use allod_state::node::{Isolation, Resources};
use allod_state::{Digest, Label};

/// What the law is asked for one service. Only the volumes' names keep it from being public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceDemand {
    /// How many replicas it starts with.
    pub replicas: u32,
    /// What each replica needs, its volumes not counted.
    pub resources: Resources,
    /// How each replica is kept apart.
    pub isolation: Isolation,
    /// The ports it listens on.
    pub ports: Vec<Port>,
    /// Its volumes by name, and their sizes in bytes.
    pub volumes: BTreeMap<String, u64>,
    /// Where it may run.
    pub constraints: Constraints,
    /// What is first when a replica is replaced.
    pub update: Update,
    /// What follows when its process ends.
    pub restart: RestartPolicy,
}

impl ServiceDemand {
    /// The demand as the law takes it, with the volumes' names blinded in the scope of the app. Its content is not known
    /// here: the client fills it in once the image's digest is.
    pub fn blinded(&self, app: &Label) -> Demand {
        let blind = |(name, bytes): (&String, &u64)| (allod_node::volume_label(app, name), *bytes);
        Demand {
            replicas: self.replicas,
            resources: self.resources,
            isolation: self.isolation,
            ports: self.ports.clone(),
            volumes: self.volumes.iter().map(blind).collect(),
            constraints: self.constraints.clone(),
            update: self.update,
            restart: self.restart,
            content: Digest([0; 32]),
        }
    }
}
