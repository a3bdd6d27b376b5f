//! The handle of a running node: what every door works through.

mod belongings;
mod bills;
mod claims;
mod company;
mod history;
pub(crate) mod parts;
mod plans;
pub(crate) mod start;
mod validators;
mod verdicts;
mod volumes;
mod workloads;

pub use claims::{Claim, Taken};
pub use start::{Places, Settings, StartError, node_keyfile};
pub use volumes::VolumeError;
pub use workloads::{LogReader, Which, WorkloadError};

use std::path::PathBuf;
use std::sync::Arc;

use allod_ledger::chain::SubmitError;
use allod_state::account::grant::AppSelector;
use allod_state::limits::TRANSACTION_BYTES_MAX;
use allod_state::{AccountId, AppId, Credits, Digest, NodeId, PublicKey, State, Transaction};
use data_encoding::HEXLOWER;
use tokio::sync::watch;

use crate::agent::{Sight, waiting_words};
use crate::archive::Retired;
use crate::identity::Secret;
use crate::images::ImageError;
use crate::inner::Inner;
use crate::limits::{ARCHIVED_MAX, PEERS_CLOSE_MAX};
use crate::manifest::Manifest;
use crate::manifests::KeepManifestError;
use crate::node::parts::Parts;
use crate::registries::LoginError;
use crate::view;

/// A running node. Cloning gives another handle to the same node.
#[derive(Clone)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    seen: watch::Receiver<Arc<Sight>>,
    heights: watch::Receiver<u64>,
    genesis: Arc<Vec<u8>>,
    parts: Arc<Parts>,
}

/// What an image says about itself, for whoever deploys it.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ImageView {
    /// The fixed beginning of its command line.
    pub entrypoint: Vec<String>,
    /// The rest of its command line.
    pub cmd: Vec<String>,
    /// Ports it says it listens on, such as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Paths it wants to outlive a container.
    pub volumes: Vec<String>,
    /// The user it runs as.
    pub user: String,
}

impl Node {
    /// Stops the ledger, so that the next start has little to replay. Workloads go on.
    pub async fn stop(self) {
        let peers = self.inner.peers.borrow().clone();
        if let Some(peers) = peers {
            // Those that do not answer any more are not waited for.
            let _ = tokio::time::timeout(PEERS_CLOSE_MAX, peers.close()).await;
        }
        // Where the ledger has stopped already there is nothing to wait for.
        let _ = self.inner.ledger.chain().shutdown().await;
    }

    /// Waits until a part of the node has stopped at a mistake of its own, which may be never. It is to be begun anew then.
    pub async fn broken(&self) {
        self.parts.broken().await;
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.node
    }

    /// The newest committed state.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.ledger.state()
    }

    /// The height of the newest block, as it rises.
    #[must_use]
    pub fn heights(&self) -> watch::Receiver<u64> {
        self.heights.clone()
    }

    /// Submits a signed transaction and waits until it is durable in a block. The same transaction again gives the
    /// same receipt.
    ///
    /// # Errors
    /// Where it can enter no block, or none took it.
    pub async fn submit(&self, transaction: Transaction) -> Result<view::Receipt, SubmitError> {
        let committed = self.inner.ledger.submit(transaction).await?;
        // Whoever asks for the history next finds it there: the archive takes a block right after it was told.
        let mut heights = self.heights.clone();
        let archived = heights.wait_for(|height| *height >= committed.height);
        let _ = tokio::time::timeout(ARCHIVED_MAX, archived).await;
        let receipt = &committed.receipt;
        Ok(view::Receipt {
            transaction: receipt.transaction,
            height: committed.height,
            rejection: receipt.outcome.as_ref().err().map(view::Rejection::from),
            fee: receipt.fee,
            events: receipt
                .events
                .iter()
                .map(|event| history::words(event, self).1)
                .collect(),
        })
    }

    /// The largest transaction, in bytes.
    pub const TRANSACTION_BYTES_MAX: usize = TRANSACTION_BYTES_MAX;

    /// The network and this node in it.
    #[must_use]
    pub fn network(&self) -> view::Network {
        let state = self.state();
        let ingress = self.inner.doors.ingress.addresses().first();
        view::Network {
            network: state.network(),
            height: state.tip().height,
            time_ms: state.tip().time_ms,
            // What cannot be read is told where it is needed.
            oldest: self.inner.ledger.chain().oldest_height().ok().flatten(),
            validators: state.validators().count(),
            node: self.inner.node,
            ingress: ingress.map(ToString::to_string).unwrap_or_default(),
            notice: self.notice(),
            entrance: self.entrance(),
            disk: self.disk(),
        }
    }

    /// The disk that the ledger lies on.
    fn disk(&self) -> view::Disk {
        let room = rustix::fs::statvfs(&self.inner.dir);
        view::Disk {
            free_bytes: room.map_or(0, |room| room.f_bavail.saturating_mul(room.f_frsize)),
            is_full: self.inner.ledger.view().is_read_only,
            images_bytes: self.inner.images.bytes(),
        }
    }

    /// All machines.
    #[must_use]
    pub fn nodes(&self) -> Vec<view::Node> {
        let state = self.state();
        let nodes = state.nodes().map(|(id, node)| view::Node {
            node: *id,
            name: node.name.to_string(),
            operator: node.operator,
            sealing_key: HEXLOWER.encode(&node.sealing_key),
            region: node.offer.as_ref().map(|offer| offer.region.to_string()),
            capacity: node
                .offer
                .as_ref()
                .map(|offer| offer.capacity)
                .unwrap_or_default(),
            used: state.used_on(id),
            prices: node.offer.as_ref().map(|offer| offer.prices),
            isolation: node
                .offer
                .iter()
                .flat_map(|offer| offer.isolation.iter().copied())
                .collect(),
            tags: node
                .offer
                .iter()
                .flat_map(|offer| offer.tags.iter().map(ToString::to_string))
                .collect(),
            is_cordoned: node.is_cordoned,
            is_draining: node.is_draining,
            is_unreachable: node.is_unreachable,
            reputation_ppm: state.reputation_ppm(id),
            days: days_of(&state, id),
        });
        nodes.collect()
    }

    /// An account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<view::Account> {
        let state = self.state();
        let account = state.account(id)?;
        let now_ms = state.tip().time_ms;
        let keys = state.keys_of(id).map(|(key, record)| view::Key {
            key,
            verbs: record
                .grant
                .verbs
                .iter()
                .map(|verb| verb.name().to_owned())
                .collect(),
            apps: match &record.grant.apps {
                AppSelector::All => None,
                AppSelector::Only(labels) => Some(labels.iter().copied().collect()),
            },
            budget: record.grant.budget.map(|budget| view::Budget {
                amount: budget.amount,
                period_ms: budget.period_ms,
                spent: record.spent_at(now_ms),
            }),
            nonce: record.nonce,
            expires_ms: record.grant.expires_ms,
        });
        Some(view::Account {
            account: *id,
            balance: account.balance,
            line: account.line,
            available: account.available(),
            keys: keys.collect(),
        })
    }

    /// A file of that name in the directory that the node owns, for what a door has to keep.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.inner.dir.join(name)
    }

    /// What became of a key that no account lists any more, as far back as is kept.
    #[must_use]
    pub fn retired_key(&self, key: &PublicKey) -> Option<Retired> {
        self.inner.archive.retired(key)
    }

    /// The apps of an account.
    #[must_use]
    pub fn apps(&self, owner: &AccountId) -> Vec<view::App> {
        let state = self.state();
        let ids: Vec<AppId> = state.apps_of(owner).map(|(_, id)| id).collect();
        let mut apps: Vec<view::App> = ids
            .into_iter()
            .filter_map(|id| self.app_view(&state, id))
            .collect();
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        apps
    }

    /// An app of an account, by its id or its name.
    #[must_use]
    pub fn app(&self, owner: &AccountId, name_or_id: &str) -> Option<view::App> {
        let state = self.state();
        let id = self.app_id(&state, owner, name_or_id)?;
        self.app_view(&state, id)
    }

    /// The id of an account's app, by its id or its name.
    #[must_use]
    pub fn app_id(&self, state: &State, owner: &AccountId, name_or_id: &str) -> Option<AppId> {
        if let Ok(id) = name_or_id.parse::<AppId>() {
            return state.app(&id).filter(|app| app.owner == *owner).map(|_| id);
        }
        let label = allod_state::Label::of(owner.as_bytes(), name_or_id);
        state.app_by_label(owner, &label)
    }

    /// Keeps a sealed manifest, to be named by a deployment.
    ///
    /// # Errors
    /// Where it is too large or cannot be written.
    pub fn keep_manifest(&self, ciphertext: &[u8]) -> Result<Digest, KeepManifestError> {
        self.inner.manifests.keep(ciphertext)
    }

    /// The digest that an image reference means now.
    ///
    /// # Errors
    /// Where the reference or the registry is at fault; the error says which and what to do.
    pub async fn resolve_image(&self, reference: &str) -> Result<String, ImageError> {
        self.inner.images.resolve(reference).await
    }

    /// Takes the images of an archive in.
    ///
    /// # Errors
    /// Where it is no image archive, or cannot be kept.
    pub async fn import_images(&self, file: std::fs::File) -> Result<view::Imported, ImageError> {
        Ok(self.inner.images.import(file).await?.into_iter().collect())
    }

    /// What an image that is here says about itself.
    #[must_use]
    pub fn image(&self, digest: &str) -> Option<ImageView> {
        let config = self.inner.images.record(digest)?.config;
        Some(ImageView {
            entrypoint: config.entrypoint,
            cmd: config.cmd,
            exposed_ports: config.exposed_ports.into_iter().collect(),
            volumes: config.volumes.into_iter().collect(),
            user: config.user,
        })
    }

    /// Keeps credentials for a registry.
    ///
    /// # Errors
    /// Where they cannot be kept.
    pub fn login(
        &self,
        host: String,
        user: String,
        password: &Secret<String>,
    ) -> Result<(), LoginError> {
        self.inner
            .registries
            .login(host, user, password, &self.inner.identity)
    }

    /// Forgets the credentials for a registry; says whether there were any.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn logout(&self, host: &str) -> Result<bool, LoginError> {
        self.inner.registries.logout(host, &self.inner.identity)
    }

    /// The volumes of an account.
    #[must_use]
    pub fn volumes(&self, owner: &AccountId) -> Vec<view::Volume> {
        let state = self.state();
        let volumes = state.volumes().filter(|((of, ..), _)| of == owner);
        let volumes = volumes.map(|((_, app, volume), row)| view::Volume {
            app: *app,
            volume: *volume,
            name: self.volume_name(&state, owner, app, volume),
            node: row.node,
            bytes: row.bytes,
            standing: row.standing,
        });
        volumes.collect()
    }

    fn volume_name(
        &self,
        state: &State,
        owner: &AccountId,
        app: &allod_state::Label,
        volume: &allod_state::Label,
    ) -> String {
        let manifest = state
            .app_by_label(owner, app)
            .and_then(|id| self.manifest(state, id))
            .or_else(|| self.inner.manifests.opened_for(owner, app));
        let found = manifest.and_then(|manifest| {
            let names = manifest.volumes.keys();
            let mut named = names.filter(|name| crate::volume_label(app, name) == *volume);
            named.next().map(|name| format!("{}/{name}", manifest.app))
        });
        found.unwrap_or_else(|| volume.short())
    }

    /// The newest manifest of an app, where this node can open it.
    pub(crate) fn manifest(&self, state: &State, id: AppId) -> Option<Arc<Manifest>> {
        let app = state.app(&id)?;
        let revision = state.revision(&(id, app.revision))?;
        self.inner
            .manifests
            .manifest(&revision.manifest, &app.label, &self.inner.identity)
    }

    fn app_view(&self, state: &State, id: AppId) -> Option<view::App> {
        let app = state.app(&id)?;
        let manifest = self.manifest(state, id);
        let name = manifest
            .as_ref()
            .map_or_else(|| app.label.short(), |m| m.app.clone());
        let mut price_per_hour = Credits::ZERO;
        for lease in state
            .active_leases_of(&id)
            .iter()
            .filter_map(|id| state.lease(id))
        {
            price_per_hour = price_per_hour
                .plus(lease.price_per_hour)
                .unwrap_or(price_per_hour);
        }
        let services = app.services.iter().map(|(label, service)| {
            self.service_view(state, id, &app, (label, service), manifest.as_deref())
        });
        let mut services: Vec<view::Service> = services.collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        Some(view::App {
            app: id,
            name,
            revision: app.revision,
            revisions: state
                .revisions_of(&id)
                .map(|((_, number), _)| *number)
                .collect(),
            services,
            price_per_hour,
        })
    }

    fn service_view(
        &self,
        state: &State,
        id: AppId,
        app: &allod_state::app::App,
        (label, service): (&allod_state::Label, &allod_state::app::Service),
        manifest: Option<&Manifest>,
    ) -> view::Service {
        let found = manifest.and_then(|manifest| {
            let mut services = manifest.services.iter();
            services.find(|(name, _)| crate::service_label(&app.label, name) == *label)
        });
        let name = found.map_or_else(|| label.short(), |(name, _)| name.clone());
        let replicas: Vec<view::Replica> = state
            .slots_of(&id)
            .into_iter()
            .filter(|(_, of, _)| of == label)
            .flat_map(|key| self.replica_views(state, key))
            .collect();
        let ready = replicas
            .iter()
            .filter(|replica| replica.stage == "ready")
            .count();
        let app_name = manifest
            .map(|manifest| manifest.app.clone())
            .unwrap_or_default();
        let revision = state.revision(&(id, service.revision));
        let demand = revision.as_ref().and_then(|it| it.services.get(label));
        view::Service {
            image: found
                .map(|(_, service)| service.image.reference.clone())
                .unwrap_or_default(),
            wanted: service.replicas,
            ready: u32::try_from(ready)
                .unwrap_or(u32::MAX)
                .min(service.replicas),
            is_exclusive: demand.is_some_and(|demand| demand.is_exclusive()),
            is_halted: service.is_halted,
            urls: found
                .map(|(_, service)| self.urls(service))
                .unwrap_or_default(),
            published: self.inner.doors.listening(&app_name, &name),
            replicas,
            name,
        }
    }

    fn urls(&self, service: &crate::manifest::Service) -> Vec<String> {
        let port = self
            .inner
            .doors
            .ingress
            .addresses()
            .first()
            .map_or(80, |a| a.port());
        let url = |ingress: &crate::manifest::Ingress| {
            let path = if ingress.path == "/" {
                ""
            } else {
                &ingress.path
            };
            format!("http://{}:{port}{path}", ingress.host)
        };
        service.ingress.iter().map(url).collect()
    }

    /// How far another machine is with a lease, as far as the ledger says.
    fn stage_elsewhere(&self, state: &State, lease: &allod_state::lease::Lease) -> String {
        if matches!(lease.phase, allod_state::lease::Phase::Ready { .. }) {
            return "ready".to_owned();
        }
        let name = state.node(&lease.node).map(|node| node.name.to_string());
        format!("starting on {}", name.unwrap_or_default())
    }

    /// The serving lease of a slot and its successor, or why there is none.
    fn replica_views(&self, state: &State, key: allod_state::app::SlotKey) -> Vec<view::Replica> {
        let Some(slot) = state.slot(&key) else {
            return Vec::new();
        };
        let sight = self.seen.borrow();
        let leases = [slot.current, slot.successor].into_iter().flatten();
        let mut views: Vec<view::Replica> = leases
            .filter_map(|id| Some((id, state.lease(&id)?)))
            .map(|(id, lease)| {
                let workload = crate::agent::workload_of(&id, &lease);
                let seen = sight.workloads.get(&workload);
                let stage = match seen {
                    Some(seen) => seen.stage.clone(),
                    None if lease.node == self.inner.node => "queued".to_owned(),
                    None => self.stage_elsewhere(state, &lease),
                };
                view::Replica {
                    replica: key.2,
                    lease: Some(id),
                    epoch: lease.epoch,
                    revision: Some(revision_met(state, &lease)),
                    node: Some(lease.node),
                    phase: Some(lease.phase),
                    stage,
                    detail: seen.and_then(|seen| seen.detail.clone()),
                    address: seen.and_then(|seen| seen.address).map(|a| a.to_string()),
                    failures: slot.failures,
                }
            })
            .collect();
        if slot.current.is_none() {
            let last = allod_state::LeaseId::of(&key, slot.epoch);
            let workload = allod_runtime::WorkloadId {
                lease: last.0,
                epoch: slot.epoch,
            };
            views.insert(
                0,
                view::Replica {
                    replica: key.2,
                    lease: None,
                    epoch: slot.epoch,
                    revision: None,
                    node: None,
                    phase: None,
                    stage: slot
                        .waiting
                        .as_ref()
                        .map_or_else(|| "waiting".to_owned(), waiting_words),
                    detail: self.inner.details.get(&workload),
                    address: None,
                    failures: slot.failures,
                },
            );
        }
        views
    }
}

/// The newest revision that a lease meets: a later one that asks its service for the same changed nothing for it.
/// What others have seen of a machine by now.
fn days_of(state: &State, node: &NodeId) -> Vec<view::Day> {
    let uptime = state.uptime(node).unwrap_or_default();
    let days = uptime.until(state.tip().time_ms).days.into_iter();
    let day = |(day, seen): (u32, allod_state::node::Day)| view::Day {
        day,
        watched_ms: seen.watched_ms,
        up_ms: seen.up_ms,
    };
    days.map(day).collect()
}

fn revision_met(state: &State, lease: &allod_state::lease::Lease) -> u64 {
    let service = state
        .app(&lease.app)
        .and_then(|mut app| app.services.remove(&lease.service));
    let Some(service) = service.filter(|service| service.generation == lease.generation) else {
        return lease.revision;
    };
    let demand = |revision| state.demand(&lease.app, revision, &lease.service);
    let runs_the_same = demand(lease.revision)
        .zip(demand(service.revision))
        .is_some_and(|(runs, wanted)| runs.runs_the_same_as(&wanted));
    if runs_the_same {
        service.revision
    } else {
        lease.revision
    }
}
