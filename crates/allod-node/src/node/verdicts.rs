//! Why the replicas of an app are where they are: what each node says to each of them, found out by the law's own rules.

use allod_state::app::SlotKey;
use allod_state::place::{Wanted, verdicts};
use allod_state::{AppId, Credits, State};

use crate::limits::VERDICT_NODES_MAX;
use crate::node::Node;
use crate::view;

impl Node {
    /// What each node says to each replica of an app; of large networks the nodes from its own on.
    #[must_use]
    pub fn verdicts(&self, app: AppId) -> Vec<view::Verdict> {
        let state = self.state();
        let slots = state.slots_of(&app);
        slots
            .into_iter()
            .flat_map(|key| self.verdicts_of(&state, key))
            .collect()
    }

    fn verdicts_of(&self, state: &State, key: SlotKey) -> Vec<view::Verdict> {
        let (id, label, replica) = key;
        let found = state.app(&id).zip(state.slot(&key));
        let Some((app, slot)) = found else {
            return Vec::new();
        };
        let service = app.services.get(&label);
        let revision = service.map_or(app.revision, |service| service.revision);
        let Some(demand) = state.demand(&id, revision, &label) else {
            return Vec::new();
        };
        let lease = slot.current.and_then(|id| state.lease(&id));
        let borne = || state.credit_left_per_hour(&app.owner, Credits::ZERO);
        let wanted = Wanted {
            slot: &key,
            epoch: slot.epoch.saturating_add(1),
            app: &app,
            revision,
            demand: &demand,
            freed: lease.as_ref().map(|lease| (lease.node, lease.footprint)),
            strangers_max: lease.is_none().then(borne),
        };
        let manifest = self.manifest(state, id);
        let name = manifest.and_then(|manifest| {
            let mut names = manifest.services.keys();
            let is_it = |name: &&String| crate::service_label(&app.label, name) == label;
            names.find(is_it).cloned()
        });
        let held = lease.map(|lease| lease.node);
        let said = verdicts(state, &wanted, held, VERDICT_NODES_MAX);
        let view = |verdict: allod_state::place::Verdict| view::Verdict {
            service: name.clone().unwrap_or_else(|| label.short()),
            replica,
            node: verdict.node,
            node_name: state
                .node(&verdict.node)
                .map(|node| node.name.to_string())
                .unwrap_or_default(),
            is_here: held == Some(verdict.node),
            price_per_hour: verdict.price_per_hour,
            rules: verdict.failing.iter().map(ToString::to_string).collect(),
        };
        said.into_iter().map(view).collect()
    }
}
