//! The loop of the root process: accept, fork, reap, tell.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::WaitOptions;

use super::host::Host;
use super::keep::Keep;
use super::supervise::Supervised;
use super::work::{self, Job};
use super::{Config, Ended, Process, RootError, adopt};
use crate::meter::Meter;
use crate::request::{Answer, Identity, Refusal, Request};
use crate::sys::{self, Fork};
use crate::wire::{self, Frame, FrameReader};
use crate::workload::WorkloadId;
use crate::{fault, limits, record};

mod chores;
mod closing;
mod opening;
mod turn;

use turn::Long;

/// Signals that the loop reads; everybody else gets their default effects back.
const SIGNALS: &[i32] = &[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// The root process.
pub struct Root {
    config: Config,
    host: Host,
    _lock: File,
    listener: UnixListener,
    signals: OwnedFd,
    supervised: Vec<Supervised>,
    pending: Vec<Pending>,
    /// Long requests that wait for others of their kind.
    turns: turn::Turns,
    workers: BTreeMap<i32, Work>,
    /// Shims of an earlier root process: no children of ours, so watched by descriptor.
    adopted: Vec<(WorkloadId, OwnedFd)>,
    /// Makers that say a word when there is something to watch.
    makers: Vec<(WorkloadId, OwnedFd)>,
    keep: Keep,
    /// Workloads whose new shim has died, too, or could not write down the end, and when to send the next.
    unsettled: Vec<(WorkloadId, Instant)>,
    /// How long the last pause was, where the next is to be longer.
    pauses: BTreeMap<WorkloadId, Duration>,
    watchers: Vec<UnixStream>,
    meter: Meter,
    /// When what ended workloads left in the private network is to be removed.
    sweep_at: Option<Instant>,
    /// When the private network is looked at again, so that what others do to it is put right.
    tend_at: Instant,
    /// How soon it is looked at again where a look failed, or had to write all rules: longer each time.
    tend_pause_ms: u64,
    /// When the next guard of the disk is to be sent, where there is none.
    guard_at: Option<Instant>,
    /// Where the guard hears of new workloads.
    guard_hears: Option<OwnedFd>,
    /// Who wants everything stopped, until that begins.
    closing: Option<closing::Asked>,
}

/// A connection whose request has not arrived yet.
struct Pending {
    stream: UnixStream,
    reader: FrameReader,
    deadline: Instant,
}

/// What a child of the root process is there for.
enum Work {
    /// Answers a request; afterwards, this workload may have changed.
    Request {
        changed: Option<WorkloadId>,
        long: Option<Long>,
    },
    /// Makes a workload, and is its shim after that.
    Shim { id: WorkloadId },
    /// Puts right what a shim has left, and may become the next one.
    Settle { id: WorkloadId },
    /// Removes what ended workloads have left in the private network.
    Sweep,
    /// Puts right what others have done to the private network.
    Tend,
    /// Ends workloads that write more than they may.
    Guard,
    /// Stops all workloads, and then the root process ends.
    StopAll,
}

fn step(step: &'static str) -> impl FnOnce(io::Error) -> RootError {
    move |source| RootError::Step { step, source }
}

impl Root {
    /// Takes the installation over: directories, lock, socket. Call it in a process with one
    /// thread, as root, before anything else has started threads.
    pub fn start(config: Config) -> Result<Self, RootError> {
        if !rustix::process::geteuid().is_root() {
            let what = "it must be started as root";
            return Err(RootError::Unsuitable(what.to_owned()));
        }
        let host = opening::prepare(&config)?;
        let lock = File::create(config.run_dir.join("root.lock")).map_err(step("open its lock"))?;
        if !opening::is_locked_soon(&lock) {
            return Err(RootError::AlreadyRunning {
                directory: config.directory,
            });
        }
        if let Some(plan) = config.fault_plan.clone() {
            fault::arm(plan);
        }
        // What loses its parent comes to this process: workloads whose shim was killed.
        sys::become_subreaper().map_err(step("take in orphans"))?;
        sys::mask_signals(SIGNALS).map_err(step("block signals"))?;
        let signals = sys::signal_fd(SIGNALS).map_err(step("listen for signals"))?;
        opening::recover(&host)?;
        let listener = opening::listen(&config).map_err(step("open its socket"))?;
        let mut root = Self {
            config,
            host,
            _lock: lock,
            listener,
            signals,
            supervised: Vec::new(),
            pending: Vec::new(),
            turns: turn::Turns::new(),
            workers: BTreeMap::new(),
            adopted: Vec::new(),
            makers: Vec::new(),
            keep: Keep::default(),
            unsettled: Vec::new(),
            pauses: BTreeMap::new(),
            watchers: Vec::new(),
            meter: Meter::default(),
            sweep_at: None,
            tend_at: Instant::now(),
            tend_pause_ms: limits::TEND_PERIOD_MS,
            guard_at: Some(Instant::now()),
            guard_hears: None,
            closing: None,
        };
        root.adopt().map_err(step("find its workloads"))?;
        Ok(root)
    }

    /// Starts a process, and keeps it running as long as the root process runs.
    pub fn supervise(&mut self, process: Process) {
        self.supervised
            .push(Supervised::new(process, &self.config.run_dir));
    }

    /// Serves until a signal or a request says otherwise. Workloads are not touched by its end.
    pub fn serve(mut self) -> Result<Ended, RootError> {
        let ended = loop {
            for supervised in &mut self.supervised {
                supervised.tend();
            }
            self.close_when_made();
            self.begin_turns();
            self.settle_due();
            self.sweep();
            self.tend();
            self.guard();
            let ready = self.wait().map_err(step("wait for events"))?;
            if ready.signals
                && let Some(ended) = self.take_signals().map_err(step("read a signal"))?
            {
                break ended;
            }
            if ready.listener {
                self.accept();
            }
            self.drop_closed_watchers(&ready.watchers);
            for (number, is_ready) in ready.adopted.iter().enumerate().rev() {
                if *is_ready {
                    let (id, _) = self.adopted.swap_remove(number);
                    self.settle(id);
                }
            }
            self.hear_makers(&ready.makers);
            for supervised in &mut self.supervised {
                supervised.hear();
            }
            if let Some(ended) = self.read_pending(&ready.pending) {
                break ended;
            }
        };
        for supervised in &mut self.supervised {
            supervised.stop(Duration::from_secs(10));
        }
        if matches!(ended, Ended::RequestAndStopped) {
            self.vacated();
        }
        Ok(ended)
    }

    /// Watches the shims that there are, and sends new ones to workloads that have none.
    fn adopt(&mut self) -> io::Result<()> {
        let mut count = 0;
        for id in record::all(&self.host.layout)? {
            let place = self.host.place(&id);
            let shim = place.record().ok().and_then(|record| record.shim.open());
            self.keep.add(&self.host, id);
            if let Some(shim) = shim {
                self.adopted.push((id, shim));
                count += 1;
            } else if adopt::orphan(&place).is_ok_and(|orphan| orphan.is_some()) {
                self.settle(id);
                count += 1;
            }
        }
        if count > 0 {
            tracing::info!(workloads = count, "workloads adopted");
        }
        Ok(())
    }

    /// Keeps what makers have made; those that close without a word have made nothing.
    fn hear_makers(&mut self, ready: &[bool]) {
        for (number, is_ready) in ready.iter().enumerate().rev() {
            if *is_ready {
                let (id, made) = self.makers.swap_remove(number);
                if rustix::io::read(&made, &mut [0u8; 1]) == Ok(1) {
                    if self.keep.is_empty() {
                        self.tend_later();
                    }
                    self.keep.add(&self.host, id);
                    self.tell_guard();
                }
            }
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        let is_full = self.pending.len() >= limits::PENDING_CONNECTIONS_MAX
            || self.requests_running() >= limits::WORKERS_MAX;
        let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
        // A full house leaves the rest in the socket's backlog.
        let listening = if is_full {
            PollFlags::empty()
        } else {
            PollFlags::IN
        };
        fds.push(PollFd::new(&self.listener, listening));
        fds.extend(
            self.pending
                .iter()
                .map(|it| PollFd::new(&it.stream, PollFlags::IN)),
        );
        fds.extend(
            self.watchers
                .iter()
                .map(|it| PollFd::new(it, PollFlags::RDHUP)),
        );
        fds.extend(
            self.adopted
                .iter()
                .map(|(_, shim)| PollFd::new(shim, PollFlags::IN)),
        );
        fds.extend(
            self.makers
                .iter()
                .map(|(_, made)| PollFd::new(made, PollFlags::IN)),
        );
        // Heard in any case, so who of them has news is not asked below.
        let says = self.supervised.iter().filter_map(Supervised::says);
        fds.extend(says.map(|it| PollFd::new(it, PollFlags::IN)));
        let wakes = self.supervised.iter().filter_map(Supervised::wake_at);
        let wakes = wakes.chain(self.pending.iter().map(|it| it.deadline));
        let wakes = wakes.chain(self.unsettled.iter().map(|(_, at)| *at));
        let wakes = wakes.chain(self.sweep_at).chain(self.guard_at);
        let tends = (!self.keep.is_empty()).then_some(self.tend_at);
        let wake = wakes.chain(tends).min();
        let wait = wake.map(|wake| wake.saturating_duration_since(Instant::now()));
        // Rounded up, or the last part of a millisecond would be spent in a busy loop.
        let wait = wait.and_then(|wait| Timespec::try_from(wait + Duration::from_millis(1)).ok());
        match poll(&mut fds, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut take = |count: usize| ready.by_ref().take(count).collect::<Vec<bool>>();
        Ok(Ready {
            signals: take(1) == [true],
            listener: take(1) == [true],
            pending: take(self.pending.len()),
            watchers: take(self.watchers.len()),
            adopted: take(self.adopted.len()),
            makers: take(self.makers.len()),
        })
    }

    fn requests_running(&self) -> usize {
        self.workers
            .values()
            .filter(|work| !matches!(work, Work::Shim { .. } | Work::Settle { .. } | Work::Guard))
            .count()
    }

    fn take_signals(&mut self) -> io::Result<Option<Ended>> {
        let mut ended = None;
        while let Some(signal) = sys::next_signal(self.signals.as_fd())? {
            match signal {
                libc::SIGTERM | libc::SIGINT => ended = Some(Ended::Signal { signal }),
                libc::SIGCHLD => ended = self.reap().or(ended),
                // The terminal went away; the house stays.
                _ => {}
            }
        }
        Ok(ended)
    }

    /// Takes note of all children that have ended; whether the root process is to end, and how.
    fn reap(&mut self) -> Option<Ended> {
        let mut over = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(supervised) = self.supervised.iter_mut().find(|it| it.is(pid)) {
                if supervised.ended(status.as_raw()) {
                    over = Some(Ended::GaveUp);
                }
                continue;
            }
            match self.workers.remove(&pid) {
                Some(Work::Shim { id }) => self.settle(id),
                Some(Work::Settle { id }) if status.exit_status() == Some(0) => {
                    self.keep.remove(&id);
                    self.pauses.remove(&id);
                    self.sweep_soon();
                    self.announce(id);
                }
                Some(Work::Settle { id }) => {
                    // One that was killed is replaced soon.
                    if status.exit_status().is_none() {
                        self.pauses.remove(&id);
                    }
                    self.settle_later(id);
                }
                Some(Work::Request {
                    changed: Some(id), ..
                }) => {
                    self.sweep_soon();
                    self.announce(id);
                }
                Some(Work::StopAll) if status.exit_status() == Some(0) => {
                    over = Some(Ended::RequestAndStopped);
                }
                Some(Work::Sweep) if status.exit_status() != Some(0) => self.sweep_soon(),
                Some(Work::Guard) => {
                    let pause = Duration::from_millis(limits::RESTART_PAUSE_MS);
                    self.guard_at = Some(Instant::now() + pause);
                }
                Some(Work::Tend) => self.tended(status.exit_status() == Some(0)),
                Some(Work::Request { changed: None, .. } | Work::Sweep | Work::StopAll) => {}
                None => self.keep.reaped(pid, status.as_raw()),
            }
        }
        over
    }

    fn accept(&mut self) {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%error, "connection not accepted");
                }
                return;
            }
        };
        let uid = sys::peer_uid(stream.as_fd());
        if !uid.is_ok_and(|uid| uid == 0 || uid == self.config.network_uid) {
            tracing::warn!("connection of a stranger refused");
            return;
        }
        if stream.set_nonblocking(true).is_ok() {
            let deadline = Instant::now() + Duration::from_millis(limits::REQUEST_TIMEOUT_MS);
            self.pending.push(Pending {
                stream,
                reader: FrameReader::default(),
                deadline,
            });
        }
    }

    fn read_pending(&mut self, ready: &[bool]) -> Option<Ended> {
        let mut ended = None;
        let waiting = std::mem::take(&mut self.pending);
        for (number, mut pending) in waiting.into_iter().enumerate() {
            let frame = match ready.get(number) {
                Some(true) => pending.reader.advance(&pending.stream),
                _ => Ok(None),
            };
            match frame {
                Ok(Some(frame)) => ended = self.dispatch(pending.stream, frame).or(ended),
                Ok(None) if Instant::now() < pending.deadline => self.pending.push(pending),
                Ok(None) => {}
                Err(error) if is_transient(&error) => self.pending.push(pending),
                Err(error) => tracing::debug!(%error, "connection dropped"),
            }
        }
        ended
    }

    /// Hands a request to whoever does it.
    fn dispatch(&mut self, stream: UnixStream, frame: Frame) -> Option<Ended> {
        let _ = stream.set_nonblocking(false);
        let _ = stream.set_write_timeout(Some(Duration::from_millis(limits::ANSWER_TIMEOUT_MS)));
        let request = match frame.parse::<Request>() {
            Ok(request) => request,
            Err(error) => {
                answer(
                    &stream,
                    &Answer::Refused {
                        refusal: invalid(error.to_string()),
                    },
                );
                return None;
            }
        };
        let work = match &request {
            Request::Identify => {
                answer(
                    &stream,
                    &Answer::Identity {
                        identity: self.identity(),
                    },
                );
                return None;
            }
            Request::Watch => {
                self.add_watcher(stream);
                return None;
            }
            Request::Shutdown {
                stop_workloads: false,
            } => {
                answer(&stream, &Answer::Done);
                return Some(Ended::Request);
            }
            Request::Shutdown {
                stop_workloads: true,
            } => {
                self.close(stream, frame.fds);
                return None;
            }
            Request::Create { .. } if self.is_closing() => {
                closing::refuse(&stream);
                return None;
            }
            Request::Create { spec } => Work::Shim { id: spec.id },
            request => {
                let changed = match request {
                    Request::Stop { id, .. } | Request::Delete { id } => Some(*id),
                    _ => None,
                };
                let long = Long::of(request);
                Work::Request { changed, long }
            }
        };
        let job = match request {
            Request::Usage { ids, with_storage } => self.measure(&ids, with_storage),
            Request::Delete { id } => {
                self.meter.forget(&id);
                Job::Request(Request::Delete { id })
            }
            other => Job::Request(other),
        };
        self.take_turn(work, stream, frame.fds, job);
        None
    }

    /// Reads the control groups here, where their files are open; the rest is a worker's.
    fn measure(&mut self, ids: &[WorkloadId], with_storage: bool) -> Job {
        let mut usages = Vec::new();
        for id in ids.iter().take(limits::WORKLOADS_MAX) {
            let (host, version) = (&self.host, self.host.hierarchy.version());
            let usage = self.meter.sample(*id, version, || host.group(id));
            usages.extend(usage.map(|usage| (*id, usage)));
        }
        Job::Measure {
            usages,
            with_storage,
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            installation: self.config.installation,
            pid: std::process::id().cast_signed(),
            cgroups: self.host.hierarchy.version(),
            directory: self.config.directory.clone(),
        }
    }

    fn add_watcher(&mut self, stream: UnixStream) {
        if self.watchers.len() >= limits::WATCHERS_MAX {
            let refusal = Refusal::Busy {
                what: "the root process".to_owned(),
                why: format!("it has {} watchers already", limits::WATCHERS_MAX),
            };
            answer(&stream, &Answer::Refused { refusal });
            return;
        }
        answer(&stream, &Answer::Done);
        if stream.set_nonblocking(true).is_ok() {
            self.watchers.push(stream);
        }
    }

    fn drop_closed_watchers(&mut self, is_closed: &[bool]) {
        let mut is_closed = is_closed.iter();
        self.watchers
            .retain(|_| !is_closed.next().copied().unwrap_or(false));
    }

    /// Tells all watchers; one who does not read is dropped, and finds out by connecting again.
    fn announce(&mut self, id: WorkloadId) {
        self.watchers
            .retain(|stream| wire::send(stream, &Answer::Changed { id }, &[]).is_ok());
    }

    fn spawn(&mut self, work: Work, stream: UnixStream, fds: Vec<OwnedFd>, job: Job) {
        let mut kept = vec![OwnedFd::from(stream)];
        kept.extend(fds);
        if let Work::Shim { id } = work {
            match pipe_with(PipeFlags::CLOEXEC) {
                Ok((hears, says)) => {
                    self.makers.push((id, hears));
                    kept.truncate(1);
                    kept.push(says);
                }
                // The connection closes without an answer, and the client says so.
                Err(error) => return tracing::error!(%error, "no pipe for a maker"),
            }
        }
        self.fork(work, kept, move |host, kept| {
            let mut kept = kept.into_iter();
            let Some(stream) = kept.next().map(UnixStream::from) else {
                return 70;
            };
            let copy = stream.try_clone();
            match work::run(host, job, stream, kept.collect()) {
                Ok(()) => 0,
                Err(refusal) => {
                    if let Ok(stream) = copy {
                        answer(&stream, &Answer::Refused { refusal });
                    }
                    1
                }
            }
        });
    }

    /// Lets a child run something, with nothing but `kept` of what the root process has open; whether there is one.
    fn fork(
        &mut self,
        work: Work,
        kept: Vec<OwnedFd>,
        run: impl FnOnce(&Host, Vec<OwnedFd>) -> i32,
    ) -> bool {
        match sys::fork() {
            Ok(Fork::Parent(pid)) => {
                self.workers.insert(pid.as_raw_nonzero().get(), work);
                true
            }
            Ok(Fork::Child) => in_child(&self.host, kept, run),
            Err(error) => {
                tracing::error!(%error, "fork failed");
                false
            }
        }
    }
}

/// Which descriptors have news, in the order in which they were asked about.
struct Ready {
    signals: bool,
    listener: bool,
    pending: Vec<bool>,
    watchers: Vec<bool>,
    adopted: Vec<bool>,
    makers: Vec<bool>,
}

fn in_child(host: &Host, kept: Vec<OwnedFd>, run: impl FnOnce(&Host, Vec<OwnedFd>) -> i32) -> ! {
    let code = catch_unwind(AssertUnwindSafe(|| {
        match sys::mask_signals(&[]).and_then(|()| sys::keep_only(kept)) {
            Ok(kept) => run(host, kept),
            Err(_) => 70,
        }
    }));
    sys::exit_now(code.unwrap_or(70))
}

fn answer(stream: &UnixStream, answer: &Answer) {
    // Whoever asked may be gone already.
    let _ = wire::send(stream, answer, &[] as &[BorrowedFd<'_>]);
}

fn invalid(what: String) -> Refusal {
    Refusal::Invalid { what }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
