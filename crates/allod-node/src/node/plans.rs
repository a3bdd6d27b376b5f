//! Plans: what actions would do, found out by the very function that would do it.

use allod_state::app::reader::readers;
use allod_state::event::Event;
use allod_state::{AccountId, Action, AppId, Credits, NodeId, Rehearsal, Rejection, rehearse};
use data_encoding::HEXLOWER;

use crate::node::Node;
use crate::view;

impl Node {
    /// What these actions of an account would do to the newest state.
    #[must_use]
    pub fn plan(&self, account: &AccountId, actions: &[Action]) -> view::Plan {
        let state = self.state();
        let Rehearsal {
            after,
            outcome,
            plan,
        } = rehearse(&state, account, actions);
        let mut placements = Vec::new();
        let events = outcome.as_ref().map(Vec::as_slice).unwrap_or_default();
        let changed = changed(events);
        let touched = changed.last().copied();
        // The block's last steps place what others wait for, too.
        let is_meant = |event: &&Event| {
            let app = event.app();
            changed.is_empty() || app.is_some_and(|app| changed.contains(&app))
        };
        for event in events.iter().filter(is_meant) {
            if let Event::LeasePlaced {
                service,
                replica,
                lease,
                node,
                ..
            } = event
            {
                let price = after
                    .lease(lease)
                    .map_or(Credits::ZERO, |lease| lease.price_per_hour);
                placements.push(view::Placement {
                    service: *service,
                    replica: *replica,
                    node: *node,
                    node_name: after
                        .node(node)
                        .map(|n| n.name.to_string())
                        .unwrap_or_default(),
                    price_per_hour: price,
                });
            }
        }
        let mut price_per_hour = Credits::ZERO;
        let leases = touched
            .map(|app| after.active_leases_of(&app))
            .unwrap_or_default();
        for lease in leases.iter().filter_map(|id| after.lease(id)) {
            price_per_hour = price_per_hour
                .plus(lease.price_per_hour)
                .unwrap_or(price_per_hour);
        }
        let readers = touched.map(|app| readers(&after, &app)).unwrap_or_default();
        let reader = |node: NodeId| {
            let key = after.node(&node)?.sealing_key;
            let sealing_key = HEXLOWER.encode(&key);
            Some(view::Reader { node, sealing_key })
        };
        let rejection = outcome.err();
        view::Plan {
            id: plan,
            placements,
            price_per_hour,
            readers: readers.into_iter().filter_map(reader).collect(),
            refusals: rejection
                .as_ref()
                .map(|r| self.refusals(r))
                .unwrap_or_default(),
            rejection: rejection.as_ref().map(view::Rejection::from),
            root: state.root().to_string(),
            height: state.tip().height,
        }
    }

    fn refusals(&self, rejection: &Rejection) -> Vec<view::NodeRefusal> {
        let Rejection::NoPlacement { why } = rejection else {
            return Vec::new();
        };
        let state = self.state();
        let refusals = why.refusals.iter().map(|refusal| view::NodeRefusal {
            node: refusal.node,
            name: state
                .node(&refusal.node)
                .map(|n| n.name.to_string())
                .unwrap_or_default(),
            rules: refusal.failing.iter().map(ToString::to_string).collect(),
        });
        refusals.collect()
    }
}

/// The apps that actions deploy or scale.
fn changed(events: &[Event]) -> Vec<AppId> {
    let changed = events.iter().filter_map(|event| match event {
        Event::AppDeployed { app, .. } | Event::AppScaled { app, .. } => Some(*app),
        _ => None,
    });
    changed.collect()
}
