//! What a worker does for its one request.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::audit;
use super::exec;
use super::host::{Host, absent_is_none, refuse};
use super::layer;
use super::make;
use super::remove;
use super::volume;
use crate::network::AppTag;
use crate::record;
use crate::request::{Answer, Refusal, Request};
use crate::storage;
use crate::wire;
use crate::workload::{StorageUsage, Usage, WorkloadId};

/// A request, as far as the root process has done it already.
pub(super) enum Job {
    Request(Request),
    /// The control groups were read; network and storage are missing.
    Measure {
        usages: Vec<(WorkloadId, Usage)>,
        with_storage: bool,
    },
}

/// Does the work and answers. An error is the answer that is still to be given.
pub(super) fn run(
    host: &Host,
    job: Job,
    stream: UnixStream,
    fds: Vec<OwnedFd>,
) -> Result<(), Refusal> {
    let answer = match job {
        Job::Request(Request::Create { spec }) => {
            let made = fds.into_iter().next();
            let made = made.ok_or_else(|| invalid("the root process did not come along"))?;
            return make::create(host, &spec, stream, made);
        }
        Job::Request(Request::Exec { exec }) => return exec::exec(host, &exec, &stream),
        Job::Request(Request::RemoveLayer { layer }) => {
            let removed = layer::take_away(host, layer)?;
            // Nobody finds it any more, and whoever asked has others waiting.
            wire::send(&stream, &Answer::Done, &[]).map_err(refuse("answer"))?;
            drop(stream);
            return removed.finish().map_err(refuse("remove the layer's files"));
        }
        Job::Request(Request::ResolverSockets { app }) => {
            return resolver_sockets(host, app, &stream);
        }
        Job::Request(request) => perform(host, request, fds)?,
        Job::Measure {
            usages,
            with_storage,
        } => measure(host, usages, with_storage)?,
    };
    wire::send(&stream, &answer, &[]).map_err(refuse("answer"))
}

fn perform(host: &Host, request: Request, fds: Vec<OwnedFd>) -> Result<Answer, Refusal> {
    let done = |()| Answer::Done;
    match request {
        Request::List => Ok(Answer::Statuses {
            statuses: remove::list(host)?,
        }),
        Request::Status { id } => Ok(Answer::Status {
            status: remove::status(host, &id)?,
        }),
        Request::Signal { id, signal } => remove::signal(host, &id, signal).map(done),
        Request::Stop {
            id,
            signal,
            grace_ms,
        } => Ok(Answer::Status {
            status: remove::stop(host, &id, signal, grace_ms)?,
        }),
        Request::Freeze { id, is_frozen } => remove::freeze(host, &id, is_frozen).map(done),
        Request::Renew { until_boot_ms } => remove::renew(host, &until_boot_ms).map(done),
        Request::Resize { id, resources } => remove::resize(host, &id, resources).map(done),
        Request::Delete { id } => remove::delete(host, &id).map(done),
        Request::UnpackLayer {
            layer,
            media_type,
            bytes_max,
        } => {
            let bytes = layer::unpack(host, layer, (&media_type, bytes_max), sent(fds)?)?;
            Ok(Answer::LayersHere {
                layers: vec![(layer, bytes)],
            })
        }
        Request::UseLayers { layers } => Ok(Answer::LayersHere {
            layers: layer::take_up(host, &layers)?,
        }),
        Request::ListLayers => Ok(Answer::Layers {
            layers: layer::list(host)?,
        }),
        Request::ListLayerUses => Ok(Answer::LayerUses {
            layers: layer::uses(host)?,
        }),
        Request::CollectLayers { keep, budget } => Ok(Answer::Collected {
            freed: layer::collect(host, &keep, &budget)?,
        }),
        Request::EnsureVolume { name } => volume::ensure(host, &name).map(done),
        Request::ListVolumes => Ok(Answer::Volumes {
            volumes: volume::list(host)?,
        }),
        Request::RemoveVolume { name } => volume::remove(host, &name).map(done),
        Request::PackVolume { name } => volume::pack(host, &name, sent(fds)?).map(done),
        Request::FillVolume { name } => volume::fill(host, &name, sent(fds)?).map(done),
        Request::Audit => Ok(Answer::HostObjects {
            objects: audit::audit(host)?,
        }),
        Request::Reap { keep } => Ok(Answer::Reaped {
            removed: remove::reap(host, &keep)?,
        }),
        Request::Shutdown { .. } => remove::stop_all(host).map(done),
        Request::Identify
        | Request::Watch
        | Request::Create { .. }
        | Request::Exec { .. }
        | Request::RemoveLayer { .. }
        | Request::Usage { .. }
        | Request::ResolverSockets { .. } => Err(invalid("the request went to the wrong place")),
    }
}

/// The file that came along.
fn sent(fds: Vec<OwnedFd>) -> Result<File, Refusal> {
    let file = fds.into_iter().next().map(File::from);
    file.ok_or_else(|| invalid("no file came with the request"))
}

fn invalid(what: &str) -> Refusal {
    Refusal::Invalid {
        what: what.to_owned(),
    }
}

fn measure(
    host: &Host,
    mut usages: Vec<(WorkloadId, Usage)>,
    with_storage: bool,
) -> Result<Answer, Refusal> {
    // Without a router there is no traffic to count.
    let traffic = host.network()?.counters().unwrap_or_default();
    for (id, usage) in &mut usages {
        if let Some(traffic) = traffic.get(id) {
            usage.net_rx_bytes = traffic.received_bytes;
            usage.net_tx_bytes = traffic.sent_bytes;
        }
        if with_storage {
            let place = host.place(id);
            let record = absent_is_none(place.record()).map_err(refuse("read the record"))?;
            let volumes = record.map(|record| record.volumes).unwrap_or_default();
            let volume_bytes = volumes
                .iter()
                .map(|name| storage::disk_bytes(&host.layout.volume(name)))
                .sum();
            let upper_bytes = storage::disk_bytes(&place.upper());
            usage.storage = Some(StorageUsage {
                upper_bytes,
                volume_bytes,
            });
        }
    }
    Ok(Answer::Usages { usages })
}

fn resolver_sockets(host: &Host, app: [u8; 32], stream: &UnixStream) -> Result<(), Refusal> {
    let sockets = host
        .network()?
        .resolver_sockets(&AppTag(app))
        .map_err(refuse("open sockets in the app's network"))?;
    let fds = [sockets.udp.as_fd(), sockets.tcp.as_fd()];
    wire::send(
        stream,
        &Answer::Sockets {
            gateway: *sockets.address.ip(),
        },
        &fds,
    )
    .map_err(refuse("answer"))
}

/// A workload whose record says that it uses something, whatever its phase.
pub(super) fn find_user(
    host: &Host,
    uses: impl Fn(&record::Record) -> bool,
) -> Result<Option<WorkloadId>, Refusal> {
    for id in record::all(&host.layout).map_err(refuse("list the workloads"))? {
        let record = absent_is_none(host.place(&id).record()).map_err(refuse("read a record"))?;
        if record.as_ref().is_some_and(&uses) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}
