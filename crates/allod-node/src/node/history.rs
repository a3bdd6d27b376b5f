//! What happened, in words, and how credits moved.

use allod_state::event::Event;
use allod_state::{AccountId, AppId, NodeId, State};

use crate::archive::Entry;
use crate::node::Node;
use crate::view::{Happening, Movement};

impl Node {
    /// What happened to an account's apps (or to one of them) after a place, oldest first; without a place, the last
    /// `limit` of it. A place is a height and an index in it.
    #[must_use]
    pub fn events(
        &self,
        owner: &AccountId,
        app: Option<AppId>,
        after: Option<(u64, u32)>,
        limit: usize,
    ) -> Vec<Happening> {
        let state = self.state();
        let concerns = |event: &Event| match (app, event.app()) {
            (Some(wanted), about) => about == Some(wanted),
            (None, Some(about)) => state.app(&about).is_none_or(|app| app.owner == *owner),
            (None, None) => is_about(event, owner, &state),
        };
        let mut happenings = Vec::new();
        for entry in self.inner.archive.recent() {
            for (index, event) in (0..).zip(&entry.events) {
                let is_after = after.is_none_or(|after| (entry.height, index) > after);
                if is_after && concerns(event) {
                    happenings.push(self.happening(&entry, index, event));
                }
            }
        }
        if after.is_some() {
            happenings.truncate(limit);
        } else {
            let surplus = happenings.len().saturating_sub(limit);
            happenings.drain(..surplus);
        }
        happenings
    }

    /// How an account's credits moved, newest last.
    #[must_use]
    pub fn history(&self, account: &AccountId, limit: usize) -> Vec<Movement> {
        let mut movements = Vec::new();
        for entry in self.inner.archive.recent() {
            let moved = entry.events.iter().filter_map(|event| match event {
                Event::Transferred {
                    from,
                    to,
                    amount,
                    memo,
                } => Some((*from, *to, *amount, memo.clone())),
                Event::LeaseCharged {
                    lease,
                    payer,
                    payee,
                    amount,
                } if payer != payee => {
                    Some((*payer, *payee, *amount, format!("lease {}", lease.short())))
                }
                _ => None,
            });
            for (from, to, amount, memo) in moved {
                if from == *account || to == *account {
                    let (height, time_ms) = (entry.height, entry.time_ms);
                    movements.push(Movement {
                        height,
                        time_ms,
                        from,
                        to,
                        amount,
                        memo,
                    });
                }
            }
        }
        let surplus = movements.len().saturating_sub(limit);
        movements.drain(..surplus);
        movements
    }

    fn happening(&self, entry: &Entry, index: u32, event: &Event) -> Happening {
        let (kind, text) = words(event, self);
        Happening {
            height: entry.height,
            index,
            time_ms: entry.time_ms,
            app: event.app(),
            kind: kind.to_owned(),
            text,
        }
    }

    /// What a lease's replica is called: `service/replica`, with its epoch.
    fn replica_name(&self, lease: &allod_state::LeaseId) -> String {
        let Some(row) = self.state().lease(lease) else {
            return lease.short();
        };
        let manifest = self.inner.manifests.opened(&row.manifest);
        let name = manifest
            .as_ref()
            .and_then(|m| crate::agent::find(m, &row))
            .map(|(n, _)| n);
        let name = name.map_or_else(|| row.service.short(), str::to_owned);
        format!("{name}/{} (epoch {})", row.replica, row.epoch)
    }

    fn service_name(&self, app: &AppId, label: &allod_state::Label) -> String {
        let state = self.state();
        let found = state
            .app(app)
            .zip(self.manifest(&state, *app))
            .and_then(|(row, manifest)| {
                let mut names = manifest.services.keys();
                names
                    .find(|name| crate::service_label(&row.label, name) == *label)
                    .cloned()
            });
        found.unwrap_or_else(|| label.short())
    }
}

fn is_about(event: &Event, owner: &AccountId, state: &State) -> bool {
    let is_operated = |node: &NodeId| state.node(node).is_some_and(|node| node.operator == *owner);
    match event {
        Event::Transferred { from, to, .. } => from == owner || to == owner,
        Event::KeyAdded { account, .. }
        | Event::KeyRevoked { account, .. }
        | Event::KeyRotated { account, .. } => account == owner,
        Event::NodeRegistered { operator, .. } => operator == owner,
        Event::AccountOpened { account, by } => account == owner || by == owner,
        Event::OfferPublished { node }
        | Event::OfferWithdrawn { node }
        | Event::NodeDrained { node }
        | Event::NodeReachable { node, .. }
        | Event::NodeCordoned { node, .. }
        | Event::ValidatorStands { node }
        | Event::ValidatorBarred { node, .. }
        | Event::SignaturesLost { node }
        | Event::ValidatorLeft { node } => is_operated(node),
        Event::ValidatorVoted { node, by, .. } => by == owner || is_operated(node),
        Event::VolumeDropped { owner: of, .. } => of == owner,
        // Charges are in the bill and would drown everything else here.
        _ => false,
    }
}

/// An event's kind and what it says.
pub(super) fn words(event: &Event, node: &Node) -> (&'static str, String) {
    match event {
        Event::Transferred { to, amount, .. } => {
            ("credit.transferred", format!("{amount} credits to {to}"))
        }
        Event::KeyAdded { key, .. } => ("key.added", key.to_string()),
        Event::KeyRevoked { key, .. } => ("key.revoked", key.to_string()),
        Event::KeyRotated { new, .. } => ("key.rotated", format!("to {new}")),
        Event::NodeRegistered { node, .. } => ("node.registered", node.to_string()),
        Event::OfferPublished { node } => ("node.offered", node.to_string()),
        Event::OfferWithdrawn { node } => ("node.withdrawn", node.to_string()),
        Event::NodeDrained { node } => ("node.drained", node.to_string()),
        Event::NodeReachable {
            node,
            is_reachable: false,
        } => ("node.given-up", node.to_string()),
        Event::NodeReachable { node, .. } => ("node.back", node.to_string()),
        Event::ValidatorBarred { node, height } => (
            "validator.barred",
            format!("{node} signed two things that conflict, for height {height}"),
        ),
        Event::SignaturesLost { node } => (
            "validator.loss",
            format!("{node} lost what it had signed, and signs again from here"),
        ),
        Event::ReadersAdded { revision, .. } => (
            "app.sealed",
            format!("revision {revision}, for machines that could take over"),
        ),
        Event::NodeCordoned {
            node,
            cordoned: true,
        } => ("node.cordoned", node.to_string()),
        Event::NodeCordoned { node, .. } => ("node.uncordoned", node.to_string()),
        Event::LeaseCharged { amount, .. } => ("lease.charged", format!("{amount} credits")),
        Event::VolumeDropped { volume, .. } => ("volume.dropped", volume.short()),
        Event::AccountOpened { account, .. } => ("account.opened", account.to_string()),
        Event::ReachPublished { node } => ("node.reached", node.to_string()),
        Event::ValidatorStands { node } => ("validator.stands", node.to_string()),
        Event::ValidatorVoted {
            node, is_in: true, ..
        } => ("validator.wanted", node.to_string()),
        Event::ValidatorVoted { node, .. } => ("validator.unwanted", node.to_string()),
        Event::ValidatorLeft { node } => ("validator.left", node.to_string()),
        Event::ValidatorsChanged { count } => {
            ("validators.changed", format!("{count} decide blocks now"))
        }
        _ => app_words(event, node),
    }
}

fn app_words(event: &Event, node: &Node) -> (&'static str, String) {
    match event {
        Event::AppDeployed { revision, .. } => ("app.deployed", format!("revision {revision}")),
        Event::AppScaled {
            app,
            service,
            replicas,
        } => {
            let service = node.service_name(app, service);
            ("app.scaled", format!("{service} to {replicas}"))
        }
        Event::AppRestarted { .. } => ("app.restarted", "every replica is replaced".to_owned()),
        Event::AppDeleted { .. } => ("app.deleted", "all leases have ended".to_owned()),
        Event::RolloutFailed {
            app,
            service,
            revision,
            cause,
        } => {
            let service = node.service_name(app, service);
            let text = format!("{service} stays as it is: revision {revision} failed ({cause})");
            ("app.rollout-failed", text)
        }
        Event::LeasePlaced {
            lease, node: on, ..
        } => {
            let name = node.state().node(on).map(|row| row.name.to_string());
            let on = name.unwrap_or_else(|| on.short());
            (
                "lease.placed",
                format!("{} on {on}", node.replica_name(lease)),
            )
        }
        Event::PlacementRefused {
            app,
            service,
            replica,
            why,
        } => {
            let service = node.service_name(app, service);
            ("lease.refused", format!("{service}/{replica}: {why}"))
        }
        Event::LeaseReadiness {
            lease,
            is_ready: true,
            ..
        } => ("lease.ready", node.replica_name(lease)),
        Event::LeaseReadiness { lease, .. } => ("lease.unready", node.replica_name(lease)),
        Event::LeaseEnded { lease, cause, .. } => {
            let mut text = format!("{}: {cause}", node.replica_name(lease));
            let epoch = node.state().lease(lease).map_or(0, |row| row.epoch);
            let workload = allod_runtime::WorkloadId {
                lease: lease.0,
                epoch,
            };
            if let Some(detail) = node.inner.details.get(&workload) {
                text = format!("{text} ({detail})");
            }
            ("lease.ended", text)
        }
        _ => ("ledger", format!("{event:?}")),
    }
}
