//! Making a workload. The process that made it stays beside it as its shim.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::pipe::{PipeFlags, pipe_with};

use super::host::{Host, chain, refuse};
use super::layer;
use super::output::Outputs;
use super::remove;
use super::shim::{self, Shim};
use crate::container::executor::CommandExecutor;
use crate::container::rootfs::{self, Rootfs, private};
use crate::container::spec::{ProcessPlan, bundle};
use crate::container::tether;
use crate::container::user::{self, Slot};
use crate::fault::{Point, reach};
use crate::image::LayerStore;
use crate::journal::{self, Intent};
use crate::network::{AppTag, ResolverSockets};
use crate::record::{Allowance, Place, ProcessId, Record, State, now_ms};
use crate::request::{Answer, Refusal};
use crate::workload::{EndCause, Phase, StartFault, Status, WorkloadSpec};
use crate::{fence, limits, signal, wire};

/// Where the shim keeps what later processes of the workload are started with.
pub(crate) const PLAN_FILE: &str = "plan.json";

/// Makes and starts a workload, answers, and then watches it to its end. Through `made` the root
/// process hears when there is something to watch.
pub(crate) fn create(
    host: &Host,
    spec: &WorkloadSpec,
    stream: UnixStream,
    made: OwnedFd,
) -> Result<(), Refusal> {
    spec.check().map_err(|error| Refusal::Invalid {
        what: error.to_string(),
    })?;
    let place = host.place(&spec.id);
    let exists = || Refusal::Exists {
        what: format!("workload {}", spec.id),
    };
    if place.exists() {
        return Err(exists());
    }
    let others = crate::record::all(&host.layout).map_err(refuse("list the workloads"))?;
    if others.len() >= limits::WORKLOADS_MAX {
        let what = format!(
            "this machine keeps at most {} workloads",
            limits::WORKLOADS_MAX
        );
        return Err(Refusal::Invalid { what });
    }
    let intent = Intent::Create { id: spec.id };
    let journal = host.layout.journal();
    journal::begin(&journal, intent).map_err(refuse("write the journal"))?;
    reach(Point::CreateBegun);
    if let Err(error) = place.create(host.reader_gid) {
        let _ = journal::finish(&journal, intent);
        let is_there = error.kind() == io::ErrorKind::AlreadyExists;
        return Err(if is_there {
            exists()
        } else {
            refuse("make its directory")(error)
        });
    }
    reach(Point::CreateDirectoryMade);
    let Some(lock) = place.try_lock().map_err(refuse("lock its directory"))? else {
        return Err(exists());
    };
    reach(Point::CreateLocked);
    match make(host, spec, &place) {
        Ok(Made {
            shim,
            status,
            resolver,
        }) => {
            journal::finish(&journal, intent).map_err(refuse("write the journal"))?;
            reach(Point::CreateFinished);
            // Without a root process, the next one finds it.
            let _ = rustix::io::write(&made, b"1");
            reach(Point::CreateTold);
            drop(made);
            // Whoever asked may be gone; the workload is there all the same.
            let answer = Answer::Made {
                status,
                gateway: resolver.as_ref().map(|sockets| *sockets.address.ip()),
            };
            let fds: Vec<_> = resolver
                .iter()
                .flat_map(|sockets| [sockets.udp.as_fd(), sockets.tcp.as_fd()])
                .collect();
            let _ = wire::send(&stream, &answer, &fds);
            drop((stream, resolver));
            reach(Point::CreateAnswered);
            let watched = shim.watch();
            drop(lock);
            watched.map_err(refuse("write down its end"))
        }
        Err(cause) => {
            remove::abandon(host, &spec.id)?;
            journal::finish(&journal, intent).map_err(refuse("write the journal"))?;
            Err(Refusal::NotStarted { cause })
        }
    }
}

fn host_fault<E: std::error::Error>(step: &'static str) -> impl FnOnce(E) -> EndCause {
    move |error| EndCause::StartFailed {
        fault: StartFault::Host {
            step: step.to_owned(),
            why: chain(&error),
        },
    }
}

/// A workload that runs.
struct Made {
    shim: Shim,
    status: Status,
    /// The sockets of its app's resolver, unless somebody holds them already. They are bound before the first process
    /// starts, so that a question it asks at once waits for its answer instead of being refused.
    resolver: Option<ResolverSockets>,
}

fn make(host: &Host, spec: &WorkloadSpec, place: &Place) -> Result<Made, EndCause> {
    if spec.args().is_empty() {
        return Err(EndCause::StartFailed {
            fault: StartFault::NoCommand,
        });
    }
    let slot = begin(host, spec, place)?;
    // While the host's mount namespace is still the own one: the router is pinned by a mount.
    let network = host
        .network()
        .map_err(host_fault("open the private network"))?;
    network
        .ensure()
        .map_err(host_fault("prepare the private network"))?;
    reach(Point::CreateNetworkEnsured);
    let group = host.group(&spec.id);
    let is_fenced = spec.until_boot_ms.is_some();
    group
        .create(&tether::make_room(spec.resources, is_fenced))
        .map_err(host_fault("make its control group"))?;

    reach(Point::CreateGroupMade);
    let plan = prepare(host, spec, place, slot)?;
    reach(Point::CreateRootFurnished);
    place
        .write_start(&plan)
        .map_err(host_fault("write down how to start more of it"))?;
    let logs = crate::logs::Writer::open(&place.logs(), spec.logs, host.reader_gid)
        .map_err(host_fault("open its logs"))?;
    let bundle = bundle(&host.layout, spec, &plan, slot);
    let owner = (slot.base() + plan.user.uid, slot.base() + plan.user.gid);
    reach(Point::CreateLogsOpened);
    let outputs = Outputs::make(place, owner).map_err(host_fault("make its outputs"))?;
    reach(Point::CreateOutputsMade);
    let launched = launch(host, spec, &bundle, outputs.inner)?;

    let (pid, told) = (launched.pid, launched.told);
    reach(Point::CreateContainerMade);
    let attachment = network
        .attach(AppTag(spec.app), spec.id, pid.cast_unsigned())
        .map_err(host_fault("attach it to the network"))?;
    reach(Point::CreateAttached);
    let resolver = network.resolver_sockets(&AppTag(spec.app)).ok();
    rootfs::write_network_files(&spec.hostname, attachment.address, attachment.gateway)
        .map_err(host_fault("write its resolver configuration"))?;
    reach(Point::CreateFilesWritten);
    start(launched.container, launched.report, spec, place)?;

    reach(Point::CreateStarted);
    let init = ProcessId::of(pid).map_err(host_fault("identify its first process"))?;
    let phase = Phase::Running {
        pid,
        address: attachment.address,
        started_ms: now_ms(),
    };
    place
        .write_state(&State::running(phase.clone(), init))
        .map_err(host_fault("write the status"))?;
    reach(Point::CreateRunningWritten);
    let shim = Shim::of_child(place.clone(), group, (pid, told), outputs.outer, logs)
        .and_then(|shim| shim.fenced(is_fenced))
        .map_err(host_fault("watch its first process"))?;
    let status = Status {
        id: spec.id,
        app: spec.app,
        service: spec.service.clone(),
        until_boot_ms: spec.until_boot_ms,
        phase,
    };
    Ok(Made {
        shim,
        status,
        resolver,
    })
}

/// Leaves everything that this process could be ended by, and writes down what it is about to do.
fn begin(host: &Host, spec: &WorkloadSpec, place: &Place) -> Result<Slot, EndCause> {
    shim::detach().map_err(host_fault("detach the shim"))?;
    reach(Point::CreateDetached);
    // Whatever is forked from here on can be found, and killed, should this process die.
    host.shim_group(&spec.id)
        .enter()
        .map_err(host_fault("enter a control group of its own"))?;
    reach(Point::CreateGroupEntered);
    let slot = Slot::claim(host.layout.installation, &spec.id)
        .map_err(host_fault("claim a range of users"))?;
    reach(Point::CreateUsersClaimed);
    if let Some(until) = spec.until_boot_ms {
        let made = place.make_until(until);
        made.map_err(host_fault("write down until when it may run"))?;
    }
    let record = record(spec, slot).map_err(host_fault("read its own process"))?;
    place
        .write_record(&record)
        .map_err(host_fault("write the record"))?;
    reach(Point::CreateRecordWritten);
    let created = State {
        phase: Phase::Created,
        init: None,
    };
    place
        .write_state(&created)
        .map_err(host_fault("write the status"))?;
    reach(Point::CreateStateWritten);
    Ok(slot)
}

fn record(spec: &WorkloadSpec, slot: Slot) -> io::Result<Record> {
    let named = [
        spec.stop_signal.as_deref(),
        Some(spec.image.stop_signal.as_str()),
    ];
    let stop_signal = named.into_iter().flatten().find_map(signal::parse);
    Ok(Record {
        id: spec.id,
        app: spec.app,
        service: spec.service.clone(),
        layers: spec.image.layers.clone(),
        volumes: spec
            .volumes
            .iter()
            .map(|volume| volume.name.clone())
            .collect(),
        user_slot: slot.0,
        stop_signal: stop_signal.unwrap_or(libc::SIGTERM),
        stop_grace_ms: spec.stop_grace_ms,
        logs: spec.logs,
        allowance: Allowance::of(spec),
        is_fenced: spec.until_boot_ms.is_some(),
        shim: ProcessId::of(std::process::id().cast_signed())?,
    })
}

/// Builds the root file system, and finds out whom and what to run in it.
fn prepare(
    host: &Host,
    spec: &WorkloadSpec,
    place: &Place,
    slot: Slot,
) -> Result<ProcessPlan, EndCause> {
    // No layer goes between the look for it and its mount.
    let layers =
        LayerStore::open(host.layout.directory()).map_err(host_fault("open the layers"))?;
    let _in_use = layers.in_use().map_err(host_fault("hold the layers"))?;
    let rootfs = Rootfs::mount(&host.layout, place, spec, slot)?;
    layer::mark_used(&layers, &spec.image.layers);
    reach(Point::CreateRootMounted);
    let wanted = spec.user.as_deref().unwrap_or(&spec.image.user);
    let user = user::resolve(rootfs.root(), wanted)
        .map_err(host_fault("read the image's users"))?
        .ok_or_else(|| EndCause::StartFailed {
            fault: StartFault::UnknownUser {
                user: wanted.to_owned(),
            },
        })?;
    rootfs.furnish(&host.layout, spec, &user)?;
    let plan = ProcessPlan::new(spec, user);
    rootfs.ensure_working_dir(&plan.working_dir)?;
    let args = spec.args();
    let command = args.first().map_or("", String::as_str);
    let path = plan.variable("PATH").unwrap_or_default();
    rootfs.check_command(command, path, &plan.working_dir)?;
    let text = serde_json::to_vec(&plan).map_err(host_fault("write down how to start it"))?;
    rootfs::write_private(&private(PLAN_FILE), &text, 0o600)
        .map_err(host_fault("write down how to start it"))?;
    Ok(plan)
}

/// A container whose first process waits for the word to start.
struct Launched {
    container: Container,
    pid: i32,
    report: OwnedFd,
    /// Where a tether tells how the command has ended.
    told: Option<OwnedFd>,
}

fn launch(
    host: &Host,
    spec: &WorkloadSpec,
    bundle: &serde_json::Value,
    [stdout, stderr]: [OwnedFd; 2],
) -> Result<Launched, EndCause> {
    // The first process is forked from here with the workload's outputs in place: what the container library has to
    // say about itself must not appear among what the workload says.
    let _quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    let step = "make the container";
    let text = serde_json::to_vec(bundle).map_err(host_fault(step))?;
    rootfs::write_private(&private("bundle/config.json"), &text, 0o600)
        .map_err(host_fault(step))?;
    let (report, report_writer) = pipe_with(PipeFlags::CLOEXEC).map_err(host_fault(step))?;
    let null = File::open("/dev/null").map_err(host_fault(step))?;
    let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
    let word = spec.until_boot_ms.map(|_| pipe_with(flags)).transpose();
    let (told, tells) = word.map_err(host_fault(step))?.unzip();
    let executor = CommandExecutor {
        filters: Rc::clone(&host.filters),
        report: Rc::new(report_writer),
        tells: tells.map(Rc::new),
    };
    let name = spec.id.tag(host.layout.installation);
    let container = ContainerBuilder::new(name, SyscallType::Linux)
        .with_root_path(private("state"))
        .map_err(host_fault(step))?
        .with_executor(executor)
        .with_stdin(null)
        .with_stdout(stdout)
        .with_stderr(stderr)
        .as_init(private("bundle"))
        .with_systemd(false)
        .with_detach(true)
        .build()
        .map_err(host_fault(step))?;
    let pid = container
        .pid()
        .map(|pid| pid.as_raw())
        .ok_or_else(|| host_fault(step)(io::Error::other("the container has no first process")))?;
    Ok(Launched {
        container,
        pid,
        report,
        told,
    })
}

/// Gives the word, and waits until the command really runs.
fn start(
    mut container: Container,
    report: OwnedFd,
    spec: &WorkloadSpec,
    place: &Place,
) -> Result<(), EndCause> {
    if spec.until_boot_ms.is_some() {
        fence::await_time(place).map_err(host_fault("start it while it may run"))?;
    }
    let step = "start the container";
    container.start().map_err(host_fault(step))?;
    let mut text = Vec::new();
    File::from(report)
        .take(4)
        .read_to_end(&mut text)
        .map_err(host_fault(step))?;
    let Ok(errno) = <[u8; 4]>::try_from(text.as_slice()) else {
        if let Some(tether) = container.pid().filter(|_| spec.until_boot_ms.is_some()) {
            // Where memory runs out, it outlives what it stands above, which was forked before. Not every host lets one.
            let _ = std::fs::write(format!("/proc/{tether}/oom_score_adj"), "-900");
        }
        return Ok(());
    };
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
    let command = spec.args().into_iter().next().unwrap_or_default();
    let fault = match error.kind() {
        // The file was found before: what is missing is its interpreter.
        io::ErrorKind::NotFound => StartFault::CommandNotExecutable {
            command,
            why: "its interpreter or dynamic loader is not in the image".to_owned(),
        },
        _ => StartFault::CommandNotExecutable {
            command,
            why: error.to_string(),
        },
    };
    Err(EndCause::StartFailed { fault })
}
