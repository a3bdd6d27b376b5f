//! Replicas from outside: their logs, and processes run beside them.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use allod_net::peer::TunnelStream;
use allod_runtime::logs::{Cursor, Stream};
use allod_runtime::{Client, ClientError, Exec, ExecSpec, WorkloadId};
use allod_state::{AccountId, LeaseId, NodeId};
use tokio::sync::mpsc;

use crate::lines::Lines;
use crate::node::Node;
use crate::peers::peer_key;
use crate::porter::{PeerCall, Target};
use crate::view::LogLine;

/// Which replicas of an app are meant.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only of this service.
    pub service: Option<String>,
    /// Only this replica.
    pub replica: Option<u32>,
}

impl Which {
    fn covers(&self, service: &str, replica: u32) -> bool {
        self.service
            .as_deref()
            .is_none_or(|wanted| wanted == service)
            && self.replica.is_none_or(|wanted| wanted == replica)
    }
}

/// Why a replica cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The account has no such app.
    #[error("there is no app `{0}`; list yours: allod status")]
    NoApp(String),
    /// The app has no such service.
    #[error("the app has no service `{0}`; list them: allod status")]
    NoService(String),
    /// Nothing of it runs here.
    #[error("no replica of it runs on this node; see why: allod status")]
    NotRunning,
    /// All of it that runs is on other machines.
    #[error("it runs on another machine, {node}")]
    Elsewhere {
        /// Which, or the first of them.
        node: NodeId,
    },
    /// More than one is meant.
    #[error("this is ambiguous; name one of {}", candidates.join(", "))]
    Ambiguous {
        /// What could be meant.
        candidates: Vec<String>,
    },
    /// The runtime refused.
    #[error(transparent)]
    Runtime(#[from] ClientError),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Stopping,
}

/// Reads the logs of some replicas, from their last lines on.
pub struct LogReader {
    lines: Arc<Lines>,
    sources: Vec<Source>,
}

struct Source {
    service: String,
    replica: u32,
    id: WorkloadId,
    at: Cursor,
    is_gone: bool,
}

impl LogReader {
    /// The next lines of all replicas, by time; none where there is nothing new. It reads files: call it from a
    /// thread that may block.
    pub fn read(&mut self) -> Vec<LogLine> {
        let mut all = Vec::new();
        for source in &mut self.sources {
            let (service, replica) = (source.service.clone(), source.replica);
            if source.is_gone {
                let kept = self.lines.last_lines(&source.id);
                let line = |(at_ms, is_error, text)| LogLine {
                    service: service.clone(),
                    replica,
                    at_ms,
                    is_error,
                    text,
                };
                all.extend(kept.into_iter().map(line));
                continue;
            }
            // A replica that was removed meanwhile has said all it will.
            let Ok((lines, at)) = self.lines.read(&source.id, source.at) else {
                continue;
            };
            source.at = at;
            all.extend(lines.into_iter().map(|line| LogLine {
                service: service.clone(),
                replica,
                at_ms: line.at_ms,
                is_error: line.stream == Stream::Stderr,
                text: String::from_utf8_lossy(&line.text).into_owned(),
            }));
        }
        self.sources.retain(|source| !source.is_gone);
        all.sort_by_key(|line| line.at_ms);
        all
    }
}

impl Node {
    /// The logs of an app's replicas on this node, from about the last `tail` lines of each.
    ///
    /// # Errors
    /// Where there is no such app or service.
    pub fn logs(
        &self,
        owner: &AccountId,
        app: &str,
        which: &Which,
        tail: usize,
    ) -> Result<LogReader, WorkloadError> {
        let lines = Arc::clone(&self.inner.lines);
        let replicas = self.replicas(owner, app, which)?;
        let sources = replicas.into_iter().map(|replica| {
            let at = lines.tail(&replica.id, tail);
            Source { at, ..replica }
        });
        Ok(LogReader {
            sources: sources.collect(),
            lines,
        })
    }

    /// Runs a process beside a replica. Blocking work: call it from a thread that may block.
    ///
    /// # Errors
    /// Where no single running replica is meant, or the runtime refuses.
    pub fn exec(
        &self,
        owner: &AccountId,
        app: &str,
        which: &Which,
        exec: impl FnOnce(WorkloadId) -> ExecSpec,
    ) -> Result<Exec, WorkloadError> {
        let running = self.replicas(owner, app, which)?;
        let running: Vec<&Source> = running.iter().filter(|source| !source.is_gone).collect();
        if running.is_empty()
            && let Some(node) = self.elsewhere(owner, app, which).pop_first()
        {
            return Err(WorkloadError::Elsewhere { node });
        }
        let mut services: Vec<String> = running
            .iter()
            .map(|source| format!("{app}/{}", source.service))
            .collect();
        services.sort_unstable();
        services.dedup();
        if services.len() > 1 {
            return Err(WorkloadError::Ambiguous {
                candidates: services,
            });
        }
        let source = running.into_iter().min_by_key(|source| source.replica);
        let source = source.ok_or(WorkloadError::NotRunning)?;
        let runtime: &Client = &self.inner.runtime;
        Ok(runtime.exec(exec(source.id))?)
    }

    /// Whether this machine runs a replica of those meant.
    #[must_use]
    pub fn has_running(&self, owner: &AccountId, app: &str, which: &Which) -> bool {
        let found = self.replicas(owner, app, which);
        found.is_ok_and(|found| found.iter().any(|source| !source.is_gone))
    }

    /// The other machines that have replicas of those meant.
    #[must_use]
    pub fn elsewhere(&self, owner: &AccountId, app: &str, which: &Which) -> BTreeSet<NodeId> {
        let id = self.app_id(&self.state(), owner, app);
        let seen = self.seen.borrow();
        let elsewhere = seen.elsewhere.values();
        let meant = elsewhere
            .filter(|seen| Some(seen.app) == id && which.covers(&seen.service, seen.replica));
        meant.map(|seen| seen.node).collect()
    }

    /// A connection to the API of another machine.
    ///
    /// # Errors
    /// Where that machine is not reached, or refuses.
    pub async fn call(&self, node: &NodeId) -> io::Result<TunnelStream> {
        let row = self.state().node(node).ok_or(io::ErrorKind::NotFound)?;
        let peers = self.inner.peers.borrow().clone();
        let peers = peers.ok_or_else(|| io::Error::other("this machine has no company yet"))?;
        peers
            .tunnel(peer_key(&row.key), Target::Api.to_bytes())
            .await
    }

    /// The connections of other machines to the API here, for the first who asks.
    #[must_use]
    pub fn calls(&self) -> Option<mpsc::Receiver<PeerCall>> {
        self.inner.doors.calls.take()
    }

    /// The replicas meant: those with a lease on this node, and the last lease of those without.
    fn replicas(
        &self,
        owner: &AccountId,
        app: &str,
        which: &Which,
    ) -> Result<Vec<Source>, WorkloadError> {
        let state = self.state();
        let id = self
            .app_id(&state, owner, app)
            .ok_or_else(|| WorkloadError::NoApp(app.to_owned()))?;
        let manifest = self.manifest(&state, id).ok_or(WorkloadError::NotRunning)?;
        if let Some(service) = which
            .service
            .as_ref()
            .filter(|s| !manifest.services.contains_key(*s))
        {
            return Err(WorkloadError::NoService(service.clone()));
        }
        let seen = self.seen.borrow();
        let is_meant = |service: &str, replica: u32| which.covers(service, replica);
        let here = seen.workloads.iter().filter(|(_, seen)| seen.app == id);
        let mut sources: Vec<Source> = here
            .filter(|(_, seen)| is_meant(&seen.service, seen.replica))
            .map(|(workload, seen)| Source {
                service: seen.service.clone(),
                replica: seen.replica,
                id: *workload,
                at: Cursor::default(),
                is_gone: false,
            })
            .collect();
        let Some(row) = state.app(&id) else {
            return Ok(sources);
        };
        for name in manifest.services.keys() {
            let label = crate::service_label(&row.label, name);
            for key in state
                .slots_of(&id)
                .into_iter()
                .filter(|(_, of, _)| *of == label)
            {
                let has_lease = sources
                    .iter()
                    .any(|s| s.service == *name && s.replica == key.2);
                let epoch = state.slot(&key).map_or(0, |slot| slot.epoch);
                if has_lease || !is_meant(name, key.2) {
                    continue;
                }
                let last = LeaseId::of(&key, epoch);
                let id = WorkloadId {
                    lease: last.0,
                    epoch,
                };
                let (service, replica) = (name.clone(), key.2);
                sources.push(Source {
                    service,
                    replica,
                    id,
                    at: Cursor::default(),
                    is_gone: true,
                });
            }
        }
        Ok(sources)
    }
}
