//! The way to the root process, for the unprivileged process beside it.
//!
//! Every call makes a connection, asks, waits for the answer and hangs up, so that nothing has to
//! be kept alive across a restart of either side. The calls block: from async code, use
//! `spawn_blocking`. [`Client::watch`] and [`Exec::wait`] block for long and deserve a thread.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::image::{Budget, Freed};
use crate::limits;
use crate::request::{Answer, ExecEnd, ExecSpec, HostObject, Identity, LayerUse, Refusal, Request};
use crate::root::SOCKET_NAME;
use crate::wire;
use crate::workload::{LayerId, Resources, Status, Usage, VolumeName, WorkloadId, WorkloadSpec};

/// Why a request brought no answer, or not the wished one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no root process answers at {}: start it with `allod up`", socket.display())]
    Unreachable {
        /// The directory of the socket.
        socket: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The connection broke, or took too long.
    #[error("the root process did not answer: ask again, and `list` for what was done")]
    Broken(#[source] io::Error),
    /// The root process understood, and did not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer belongs to another request: two versions of the program are mixed.
    #[error("unexpected answer from the root process: use one version of the binary")]
    Unexpected,
}

/// Asks the root process that listens in one `run/` directory.
#[derive(Debug, Clone)]
pub struct Client {
    run_dir: PathBuf,
}

impl Client {
    /// A client for the root process that listens in `run_dir`; it connects with each call.
    pub fn new(run_dir: &Path) -> Self {
        Self {
            run_dir: run_dir.to_owned(),
        }
    }

    /// Who answers, and where it keeps its things.
    pub fn identify(&self) -> Result<Identity, ClientError> {
        match self.ask(&Request::Identify)? {
            Answer::Identity { identity } => Ok(identity),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Makes and starts a workload. When this returns an error, nothing of it is left.
    pub fn create(&self, spec: WorkloadSpec) -> Result<Status, ClientError> {
        Ok(self.create_with_resolver(spec)?.0)
    }

    /// Makes and starts a workload, and hands over the sockets of its app's resolver where nobody holds them: they
    /// were bound before it started, so that what it asks at once is answered.
    pub fn create_with_resolver(
        &self,
        spec: WorkloadSpec,
    ) -> Result<(Status, Option<ResolverSockets>), ClientError> {
        let stream = self.connect()?;
        let wait = Duration::from_millis(limits::CREATE_TIMEOUT_MS);
        stream
            .set_read_timeout(Some(wait))
            .map_err(ClientError::Broken)?;
        let request = Request::Create {
            spec: Box::new(spec),
        };
        let frame = exchange(&stream, &request, &[])?;
        let answer: Answer = frame.parse().map_err(ClientError::Broken)?;
        let Answer::Made { status, gateway } = refused(answer)? else {
            return Err(ClientError::Unexpected);
        };
        let mut fds = frame.fds.into_iter();
        let sockets = gateway.and_then(|gateway| {
            Some(ResolverSockets {
                gateway,
                datagrams: UdpSocket::from(fds.next()?),
                listener: TcpListener::from(fds.next()?),
            })
        });
        Ok((status, sockets))
    }

    /// All workloads of the installation, whatever their phase. Always the truth of the moment.
    pub fn list(&self) -> Result<Vec<Status>, ClientError> {
        match self.ask(&Request::List)? {
            Answer::Statuses { statuses } => Ok(statuses),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// How one workload is doing.
    pub fn status(&self, id: WorkloadId) -> Result<Status, ClientError> {
        expect_status(self.ask(&Request::Status { id })?)
    }

    /// Runs one more process inside a workload.
    pub fn exec(&self, exec: ExecSpec) -> Result<Exec, ClientError> {
        let has_terminal = exec.terminal.is_some();
        let stream = self.connect()?;
        let frame = exchange(&stream, &Request::Exec { exec }, &[])?;
        let answer: Answer = frame.parse().map_err(ClientError::Broken)?;
        let mut fds = frame.fds.into_iter();
        let stdio = match (refused(answer)?, has_terminal) {
            (Answer::ExecStarted, true) => fds.next().map(ExecStdio::Terminal),
            (Answer::ExecStarted, false) => match (fds.next(), fds.next(), fds.next()) {
                (Some(stdin), Some(stdout), Some(stderr)) => Some(ExecStdio::Pipes {
                    stdin,
                    stdout,
                    stderr,
                }),
                _ => None,
            },
            _ => None,
        };
        let stdio = stdio.ok_or(ClientError::Unexpected)?;
        stream.set_read_timeout(None).map_err(ClientError::Broken)?;
        Ok(Exec {
            stdio,
            end: ExecWait { stream },
        })
    }

    /// Sends a signal to the first process of a workload.
    pub fn signal(&self, id: WorkloadId, signal: i32) -> Result<(), ClientError> {
        self.done(&Request::Signal { id, signal })
    }

    /// Asks a workload to stop, waits for its grace, kills what is left. Absent values are those
    /// of the specification. Stopping what has ended is no error.
    pub fn stop(
        &self,
        id: WorkloadId,
        signal: Option<i32>,
        grace_ms: Option<u64>,
    ) -> Result<Status, ClientError> {
        let longest = limits::STOP_GRACE_MS_MAX + limits::KILL_WAIT_MS;
        let wait = Duration::from_millis(longest + limits::ANSWER_TIMEOUT_MS);
        expect_status(self.ask_within(
            &Request::Stop {
                id,
                signal,
                grace_ms,
            },
            &[],
            wait,
        )?)
    }

    /// Lets workloads run until so many milliseconds after the boot, each. Those that are not here are no error.
    pub fn renew(&self, until_boot_ms: Vec<(WorkloadId, u64)>) -> Result<(), ClientError> {
        self.done(&Request::Renew { until_boot_ms })
    }

    /// Stops the time of all processes of a workload; nothing of it runs until [`Client::thaw`].
    pub fn freeze(&self, id: WorkloadId) -> Result<(), ClientError> {
        self.done(&Request::Freeze {
            id,
            is_frozen: true,
        })
    }

    /// Lets a frozen workload go on.
    pub fn thaw(&self, id: WorkloadId) -> Result<(), ClientError> {
        self.done(&Request::Freeze {
            id,
            is_frozen: false,
        })
    }

    /// Changes the limits of a running workload.
    pub fn resize(&self, id: WorkloadId, resources: Resources) -> Result<(), ClientError> {
        self.done(&Request::Resize { id, resources })
    }

    /// Kills a workload if it runs and removes all of it: processes, mounts, network, cgroup,
    /// writable layer, logs. Volumes stay. Deleting what is not there is no error.
    pub fn delete(&self, id: WorkloadId) -> Result<(), ClientError> {
        let wait = Duration::from_millis(limits::REMOVE_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::Delete { id }, &[], wait)?)
    }

    /// Measures workloads. Those that do not exist are left out of the answer.
    pub fn usage(&self, ids: &[WorkloadId]) -> Result<Vec<(WorkloadId, Usage)>, ClientError> {
        self.measure(Request::Usage {
            ids: ids.to_vec(),
            with_storage: false,
        })
    }

    /// Measures workloads together with their use of the disk, which walks their files.
    pub fn usage_with_storage(
        &self,
        ids: &[WorkloadId],
    ) -> Result<Vec<(WorkloadId, Usage)>, ClientError> {
        self.measure(Request::Usage {
            ids: ids.to_vec(),
            with_storage: true,
        })
    }

    /// Verifies and unpacks the layer in `blob`, which was pulled before, to so many bytes at most; the bytes of its
    /// files. A layer that is unpacked already is no error.
    pub fn unpack_layer(
        &self,
        layer: LayerId,
        media_type: &str,
        blob: impl AsFd,
        bytes_max: u64,
    ) -> Result<u64, ClientError> {
        let request = Request::UnpackLayer {
            layer,
            media_type: media_type.to_owned(),
            bytes_max,
        };
        let wait = Duration::from_millis(limits::UNPACK_TIMEOUT_MS);
        let answer = self.ask_within(&request, &[blob.as_fd()], wait)?;
        let unpacked = expect_layers_here(answer)?;
        let unpacked = unpacked.first().ok_or(ClientError::Unexpected)?;
        Ok(unpacked.1)
    }

    /// Those of these layers that are unpacked, with the bytes of their files. They count as used now: a collection that
    /// spares what was just used leaves them for a workload that is about to be made.
    pub fn use_layers(&self, layers: Vec<LayerId>) -> Result<Vec<(LayerId, u64)>, ClientError> {
        expect_layers_here(self.ask(&Request::UseLayers { layers })?)
    }

    /// The layers that are unpacked.
    pub fn layers(&self) -> Result<Vec<LayerId>, ClientError> {
        match self.ask(&Request::ListLayers)? {
            Answer::Layers { layers } => Ok(layers),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Removes a layer that no workload uses. Refused as busy while a layer is unpacked or a workload made.
    pub fn remove_layer(&self, layer: LayerId) -> Result<(), ClientError> {
        let wait = Duration::from_millis(limits::REMOVE_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::RemoveLayer { layer }, &[], wait)?)
    }

    /// The layers that are unpacked, with their sizes and when they were used.
    pub fn layer_uses(&self) -> Result<Vec<LayerUse>, ClientError> {
        match self.ask(&Request::ListLayerUses)? {
            Answer::LayerUses { layers } => Ok(layers),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Removes layers as far as the budget says so, the longest unused first. Those of any workload that is here, ended
    /// or not, stay, and so do those in `keep`: of images that are about to be started. Refused as busy while a layer
    /// is unpacked or a workload made.
    pub fn collect_layers(&self, keep: &[LayerId], budget: Budget) -> Result<Freed, ClientError> {
        let wait = Duration::from_millis(limits::REMOVE_TIMEOUT_MS);
        let keep = keep.to_vec();
        match self.ask_within(&Request::CollectLayers { keep, budget }, &[], wait)? {
            Answer::Collected { freed } => Ok(freed),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Makes a volume unless it is there already.
    pub fn ensure_volume(&self, name: VolumeName) -> Result<(), ClientError> {
        self.done(&Request::EnsureVolume { name })
    }

    /// The volumes of this installation.
    pub fn volumes(&self) -> Result<Vec<VolumeName>, ClientError> {
        match self.ask(&Request::ListVolumes)? {
            Answer::Volumes { volumes } => Ok(volumes),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Removes a volume and its data; refused while a workload has it.
    pub fn remove_volume(&self, name: VolumeName) -> Result<(), ClientError> {
        let wait = Duration::from_millis(limits::REMOVE_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::RemoveVolume { name }, &[], wait)?)
    }

    /// Writes the archive of a volume's data to `out`, which may be a pipe. Where it fails, what was written is no whole
    /// archive.
    pub fn pack_volume(&self, name: VolumeName, out: impl AsFd) -> Result<(), ClientError> {
        let wait = Duration::from_millis(limits::VOLUME_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::PackVolume { name }, &[out.as_fd()], wait)?)
    }

    /// Makes a volume and fills it from an archive, as a whole or not at all. Refused where it has data already, or a
    /// workload has it.
    pub fn fill_volume(&self, name: VolumeName, archive: impl AsFd) -> Result<(), ClientError> {
        let wait = Duration::from_millis(limits::VOLUME_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::FillVolume { name }, &[archive.as_fd()], wait)?)
    }

    /// Sockets on port 53 of the gateway inside an app's private network, for its resolver.
    pub fn resolver_sockets(&self, app: [u8; 32]) -> Result<ResolverSockets, ClientError> {
        let stream = self.connect()?;
        let frame = exchange(&stream, &Request::ResolverSockets { app }, &[])?;
        let answer: Answer = frame.parse().map_err(ClientError::Broken)?;
        let Answer::Sockets { gateway } = refused(answer)? else {
            return Err(ClientError::Unexpected);
        };
        let mut fds = frame.fds.into_iter();
        let (Some(datagrams), Some(listener)) = (fds.next(), fds.next()) else {
            return Err(ClientError::Unexpected);
        };
        Ok(ResolverSockets {
            gateway,
            datagrams: UdpSocket::from(datagrams),
            listener: TcpListener::from(listener),
        })
    }

    /// Everything on this host that carries the identity of the installation.
    pub fn audit(&self) -> Result<Vec<HostObject>, ClientError> {
        match self.ask(&Request::Audit)? {
            Answer::HostObjects { objects } => Ok(objects),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Removes every workload that is not listed in `keep`, and what unfinished work has left.
    /// Say it only when the list is known to be whole: absence of data never means delete.
    pub fn reap(&self, keep: &[WorkloadId]) -> Result<Vec<WorkloadId>, ClientError> {
        let wait = Duration::from_millis(limits::UNPACK_TIMEOUT_MS);
        match self.ask_within(
            &Request::Reap {
                keep: keep.to_vec(),
            },
            &[],
            wait,
        )? {
            Answer::Reaped { removed } => Ok(removed),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Ends the root process; with `stop_workloads`, after stopping all of them.
    pub fn shutdown(&self, stop_workloads: bool) -> Result<(), ClientError> {
        let longest = limits::STOP_GRACE_MS_MAX + limits::KILL_WAIT_MS;
        let wait = Duration::from_millis(longest + limits::ANSWER_TIMEOUT_MS);
        expect_done(self.ask_within(&Request::Shutdown { stop_workloads }, &[], wait)?)
    }

    /// Waits until the root process has ended, and with it all that it supervises; whether it has.
    #[must_use]
    pub fn has_ended_within(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        loop {
            // Its sockets are closed by its end, at the latest.
            let Ok(mut stream) = self.connect() else {
                return true;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
                return false;
            }
            let _ = stream.read(&mut [0]);
        }
    }

    /// News of workloads. Call [`Client::list`] after this returns, then wait for the first news:
    /// nothing can fall between.
    pub fn watch(&self) -> Result<Watch, ClientError> {
        let stream = self.connect()?;
        let frame = exchange(&stream, &Request::Watch, &[])?;
        expect_done(refused(frame.parse().map_err(ClientError::Broken)?)?)?;
        stream.set_read_timeout(None).map_err(ClientError::Broken)?;
        Ok(Watch { stream })
    }

    fn measure(&self, request: Request) -> Result<Vec<(WorkloadId, Usage)>, ClientError> {
        match self.ask(&request)? {
            Answer::Usages { usages } => Ok(usages),
            _ => Err(ClientError::Unexpected),
        }
    }

    fn done(&self, request: &Request) -> Result<(), ClientError> {
        expect_done(self.ask(request)?)
    }

    fn ask(&self, request: &Request) -> Result<Answer, ClientError> {
        self.ask_within(
            request,
            &[],
            Duration::from_millis(limits::ANSWER_TIMEOUT_MS),
        )
    }

    fn ask_within(
        &self,
        request: &Request,
        fds: &[std::os::fd::BorrowedFd<'_>],
        wait: Duration,
    ) -> Result<Answer, ClientError> {
        let stream = self.connect()?;
        stream
            .set_read_timeout(Some(wait))
            .map_err(ClientError::Broken)?;
        let frame = exchange(&stream, request, fds)?;
        refused(frame.parse().map_err(ClientError::Broken)?)
    }

    fn connect(&self) -> Result<UnixStream, ClientError> {
        let stream = wire::connect(&self.run_dir, SOCKET_NAME).map_err(|source| {
            ClientError::Unreachable {
                socket: self.run_dir.join(SOCKET_NAME),
                source,
            }
        })?;
        let wait = Some(Duration::from_millis(limits::ANSWER_TIMEOUT_MS));
        stream.set_read_timeout(wait).map_err(ClientError::Broken)?;
        stream
            .set_write_timeout(wait)
            .map_err(ClientError::Broken)?;
        Ok(stream)
    }
}

/// Sockets inside an app's private network.
#[derive(Debug)]
pub struct ResolverSockets {
    /// The address that both are bound to, port 53.
    pub gateway: Ipv4Addr,
    /// For questions in datagrams.
    pub datagrams: UdpSocket,
    /// For questions over TCP.
    pub listener: TcpListener,
}

/// A process that runs inside a workload beside its first one.
#[derive(Debug)]
pub struct Exec {
    /// Its standard streams.
    pub stdio: ExecStdio,
    /// Its end.
    pub end: ExecWait,
}

/// The standard streams of an [`Exec`].
#[derive(Debug)]
pub enum ExecStdio {
    /// One pipe for each.
    Pipes {
        /// Write here what it reads.
        stdin: OwnedFd,
        /// What it writes.
        stdout: OwnedFd,
        /// What it complains about.
        stderr: OwnedFd,
    },
    /// The master side of its terminal.
    Terminal(OwnedFd),
}

impl ExecStdio {
    /// Tells the terminal its new size; without a terminal, nothing.
    pub fn resize(&self, rows: u16, columns: u16) -> io::Result<()> {
        let Self::Terminal(master) = self else {
            return Ok(());
        };
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        Ok(rustix::termios::tcsetwinsize(master, size)?)
    }
}

/// Waits for the end of an [`Exec`]. Dropping it kills the process, and so does [`ExecWait::hang_up`].
#[derive(Debug)]
pub struct ExecWait {
    stream: UnixStream,
}

impl ExecWait {
    /// Says that nobody wants the process any more, also while another thread waits for its end: it is killed.
    pub fn hang_up(&self) {
        // A connection that is gone already has said so.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Blocks until the process has ended.
    pub fn wait(&self) -> Result<ExecEnd, ClientError> {
        let frame = wire::receive(&self.stream).map_err(ClientError::Broken)?;
        match refused(frame.parse().map_err(ClientError::Broken)?)? {
            Answer::ExecEnded { end } => Ok(end),
            _ => Err(ClientError::Unexpected),
        }
    }
}

/// News of workloads, without end.
#[derive(Debug)]
pub struct Watch {
    stream: UnixStream,
}

impl Watch {
    /// Blocks until a workload has changed, and says which. On an error, watch again and list:
    /// the root process was restarted, or this side read too slowly.
    pub fn wait(&self) -> Result<WorkloadId, ClientError> {
        let frame = wire::receive(&self.stream).map_err(ClientError::Broken)?;
        match frame.parse().map_err(ClientError::Broken)? {
            Answer::Changed { id } => Ok(id),
            _ => Err(ClientError::Unexpected),
        }
    }

    /// Makes a blocked or later [`Watch::wait`] on `self` return, from another thread.
    pub fn close(&self) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Both)
    }
}

fn exchange(
    stream: &UnixStream,
    request: &Request,
    fds: &[std::os::fd::BorrowedFd<'_>],
) -> Result<wire::Frame, ClientError> {
    // A refusal may be written, and the connection closed, before the request was read to its
    // end: look for the answer first.
    let sent = wire::send(stream, request, fds);
    wire::receive(stream).map_err(|error| ClientError::Broken(sent.err().unwrap_or(error)))
}

fn refused(answer: Answer) -> Result<Answer, ClientError> {
    match answer {
        Answer::Refused { refusal } => Err(ClientError::Refused(refusal)),
        other => Ok(other),
    }
}

fn expect_done(answer: Answer) -> Result<(), ClientError> {
    match answer {
        Answer::Done => Ok(()),
        _ => Err(ClientError::Unexpected),
    }
}

fn expect_layers_here(answer: Answer) -> Result<Vec<(LayerId, u64)>, ClientError> {
    match answer {
        Answer::LayersHere { layers } => Ok(layers),
        _ => Err(ClientError::Unexpected),
    }
}

fn expect_status(answer: Answer) -> Result<Status, ClientError> {
    match answer {
        Answer::Status { status } => Ok(status),
        _ => Err(ClientError::Unexpected),
    }
}
