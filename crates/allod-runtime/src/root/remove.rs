//! Ending and removing workloads. Every step may be repeated: whatever was interrupted, doing it
//! again finishes it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::adopt::settle;
use super::host::{Host, absent_is_none, not_found, refuse};
use super::layer;
use super::shim::poll_readable;
use crate::container::{seed, tether, user};
use crate::fault::{Point, reach};
use crate::fence;
use crate::journal::{self, Intent};
use crate::layout::Layout;
use crate::limits;
use crate::limits::{KILL_WAIT_MS, STOP_AGAIN_MS, STOP_ALL_WAIT_MS};
use crate::record;
use crate::request::Refusal;
use crate::sys;
use crate::workload::{Phase, Resources, Status, WorkloadId};

/// How a workload is doing. One whose shim is gone without a word is put right first.
pub(crate) fn status(host: &Host, id: &WorkloadId) -> Result<Status, Refusal> {
    settle(host, id)?;
    read_status(host, id)?.ok_or_else(|| not_found(format!("workload {id}")))
}

fn read_status(host: &Host, id: &WorkloadId) -> Result<Option<Status>, Refusal> {
    let place = host.place(id);
    let record = absent_is_none(place.record()).map_err(refuse("read the record"))?;
    let state = absent_is_none(place.state()).map_err(refuse("read the status"))?;
    Ok(record.map(|record| Status {
        id: *id,
        app: record.app,
        service: record.service,
        until_boot_ms: record.is_fenced.then(|| place.until_boot_ms()),
        phase: state.map_or(Phase::Created, |state| state.phase),
    }))
}

/// All workloads, each put right first.
pub(crate) fn list(host: &Host) -> Result<Vec<Status>, Refusal> {
    let mut statuses = Vec::new();
    for id in record::all(&host.layout).map_err(refuse("list the workloads"))? {
        settle(host, &id)?;
        statuses.extend(read_status(host, &id)?);
    }
    Ok(statuses)
}

/// Asks a workload to end, waits for its grace, then kills it.
pub(crate) fn stop(
    host: &Host,
    id: &WorkloadId,
    signal: Option<i32>,
    grace_ms: Option<u64>,
) -> Result<Status, Refusal> {
    let before = status(host, id)?;
    if matches!(before.phase, Phase::Exited { .. }) {
        return Ok(before);
    }
    let place = host.place(id);
    let record = place.record().map_err(refuse("read the record"))?;
    place
        .mark_stopping()
        .map_err(refuse("note that it is stopping"))?;
    reach(Point::StopMarked);
    let shim = record.shim.open();
    // Frozen, it would hear nothing. One whose time is over is to hear nothing more.
    if !record.is_fenced {
        host.group(id)
            .freeze(false)
            .map_err(refuse("thaw the workload"))?;
    }
    let may_run = !record.is_fenced || fence::boot_ms() < place.until_boot_ms();
    let state = place.state().map_err(refuse("read the status"))?;
    if let Some(init) = state.init.filter(|_| may_run).and_then(|init| init.open()) {
        let signal = signal.unwrap_or(record.stop_signal);
        let sent = sys::signal_process(init.as_fd(), signal);
        let grace = Duration::from_millis(grace_ms.unwrap_or(record.stop_grace_ms));
        reach(Point::StopSignalled);
        if sent.is_ok() {
            poll_readable([Some(init.as_fd())], Some(grace));
        }
    }
    host.group(id).kill().map_err(refuse("kill the workload"))?;
    reach(Point::StopKilled);
    if let Some(shim) = shim {
        let wait = Duration::from_millis(KILL_WAIT_MS);
        poll_readable([Some(shim.as_fd())], Some(wait));
    }
    ended(host, id)
}

/// How a killed workload ended. Where its shim died as well, the next one has to find out first.
fn ended(host: &Host, id: &WorkloadId) -> Result<Status, Refusal> {
    let deadline = Instant::now() + Duration::from_millis(KILL_WAIT_MS);
    loop {
        let status = status(host, id)?;
        if matches!(status.phase, Phase::Exited { .. }) || Instant::now() >= deadline {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stops the time of a running workload, or lets it go on.
pub(crate) fn freeze(host: &Host, id: &WorkloadId, is_frozen: bool) -> Result<(), Refusal> {
    let status = status(host, id)?;
    if !matches!(status.phase, Phase::Running { .. }) {
        let what = format!("workload {id}");
        return Err(Refusal::Busy {
            what,
            why: "it does not run".to_owned(),
        });
    }
    let record = host.place(id).record().map_err(refuse("read the record"))?;
    if record.is_fenced {
        let what = format!("workload {id}");
        return Err(Refusal::Busy {
            what,
            why: "it runs for as long as it is renewed, and nobody else freezes or thaws it"
                .to_owned(),
        });
    }
    host.group(id)
        .freeze(is_frozen)
        .map_err(refuse("freeze or thaw it"))
}

/// Changes the limits of a running workload.
pub(crate) fn resize(host: &Host, id: &WorkloadId, resources: Resources) -> Result<(), Refusal> {
    status(host, id)?;
    let record = host.place(id).record().map_err(refuse("read the record"))?;
    host.group(id)
        .limit(&tether::make_room(resources, record.is_fenced))
        .map_err(refuse("change its limits"))
}

/// Lets workloads run on, each until some time.
pub(crate) fn renew(host: &Host, until_boot_ms: &[(WorkloadId, u64)]) -> Result<(), Refusal> {
    let latest = fence::boot_ms() + limits::UNTIL_AHEAD_MS_MAX;
    for (id, until) in until_boot_ms.iter().take(limits::WORKLOADS_MAX) {
        if *until > latest {
            let what = format!("{until} ms is too far ahead: it is {} ms", fence::boot_ms());
            return Err(Refusal::Invalid { what });
        }
        absent_is_none(host.place(id).renew_until(*until)).map_err(refuse("let it run on"))?;
    }
    Ok(())
}

/// Sends a signal to the first process.
pub(crate) fn signal(host: &Host, id: &WorkloadId, signal: i32) -> Result<(), Refusal> {
    if !(1..=64).contains(&signal) {
        return Err(Refusal::Invalid {
            what: format!("{signal} is not a signal"),
        });
    }
    status(host, id)?;
    let state = host.place(id).state().map_err(refuse("read the status"))?;
    let Some(init) = state.init.and_then(|init| init.open()) else {
        let what = format!("workload {id}");
        return Err(Refusal::Busy {
            what,
            why: "it does not run".to_owned(),
        });
    };
    sys::signal_process(init.as_fd(), signal).map_err(refuse("send the signal"))
}

/// Removes a workload, whatever state it is in.
pub(crate) fn delete(host: &Host, id: &WorkloadId) -> Result<(), Refusal> {
    let intent = Intent::Delete { id: *id };
    let journal = host.layout.journal();
    journal::begin(&journal, intent).map_err(refuse("write the journal"))?;
    reach(Point::DeleteBegun);
    host.group(id).kill().map_err(refuse("kill the workload"))?;
    reach(Point::DeleteKilled);
    end_shim(host, id)?;
    reach(Point::DeleteShimEnded);
    let _alone = lock(host, id)?;
    reach(Point::DeleteLocked);
    purge(host, id)?;
    reach(Point::DeleteFinished);
    // A maker that was killed could not say that its work is over; with this, it is.
    let unfinished = journal::unfinished(&journal).map_err(refuse("read the journal"))?;
    let making = Intent::Create { id: *id };
    if unfinished.contains(&making) {
        journal::finish(&journal, making).map_err(refuse("write the journal"))?;
    }
    journal::finish(&journal, intent).map_err(refuse("write the journal"))
}

/// Waits until the shim has ended by itself, and ends it if it does not.
fn end_shim(host: &Host, id: &WorkloadId) -> Result<(), Refusal> {
    let record = absent_is_none(host.place(id).record()).map_err(refuse("read the record"))?;
    let Some(shim) = record.and_then(|record| record.shim.open()) else {
        return Ok(());
    };
    let wait = Some(Duration::from_millis(KILL_WAIT_MS));
    if poll_readable([Some(shim.as_fd())], wait) == [true] {
        return Ok(());
    }
    sys::signal_process(shim.as_fd(), libc::SIGKILL).map_err(refuse("end the shim"))?;
    if poll_readable([Some(shim.as_fd())], wait) == [true] {
        return Ok(());
    }
    let what = format!("workload {id}");
    Err(Refusal::Busy {
        what,
        why: "its shim outlives SIGKILL".to_owned(),
    })
}

/// Takes the lock of a workload whose shim has ended, so that no new one takes over while it is being removed. Whoever
/// still holds it is killed: a shim that has just taken over, a maker that nobody waits for, or what one has forked.
fn lock(host: &Host, id: &WorkloadId) -> Result<Option<File>, Refusal> {
    let deadline = Instant::now() + Duration::from_millis(KILL_WAIT_MS);
    loop {
        for group in [host.group(id), host.shim_group(id)] {
            group.kill().map_err(refuse("kill the workload"))?;
        }
        match absent_is_none(host.place(id).try_lock()).map_err(refuse("lock the workload"))? {
            Some(None) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Some(None) => {
                return Err(Refusal::Busy {
                    what: format!("workload {id}"),
                    why: "somebody is at work on it".to_owned(),
                });
            }
            lock => return Ok(lock.flatten()),
        }
    }
}

/// Removes what this process itself has begun to make.
pub(crate) fn abandon(host: &Host, id: &WorkloadId) -> Result<(), Refusal> {
    end_children();
    host.shim_group(id)
        .leave()
        .map_err(refuse("leave its control group"))?;
    purge(host, id)
}

/// Removes everything on the host that belongs to a workload, by name; its place in the private
/// network is given up, and swept later.
pub(crate) fn purge(host: &Host, id: &WorkloadId) -> Result<(), Refusal> {
    let groups = [host.group(id), host.shim_group(id)];
    for group in &groups {
        group.kill().map_err(refuse("kill the workload"))?;
    }
    reach(Point::PurgeKilled);
    host.network()?
        .detach(id)
        .map_err(refuse("take it off the network"))?;
    reach(Point::PurgeDetached);
    for group in &groups {
        group
            .remove()
            .map_err(refuse("remove its control groups"))?;
    }
    reach(Point::PurgeGroupsRemoved);
    user::release(host.layout.installation, id).map_err(refuse("give back its users"))?;
    reach(Point::PurgeUsersReleased);
    match std::fs::remove_dir_all(host.place(id).directory()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(refuse("remove its directory")(error))
        }
        _ => {
            reach(Point::PurgeDirectoryRemoved);
            Ok(())
        }
    }
}

/// Kills and reaps what this process has forked and not finished with: a container that was
/// being made may have processes outside its control group.
fn end_children() {
    let deadline = Instant::now() + Duration::from_secs(2);
    let own = std::process::id();
    while Instant::now() < deadline {
        let path = format!("/proc/self/task/{own}/children");
        for pid in std::fs::read_to_string(path)
            .unwrap_or_default()
            .split_ascii_whitespace()
        {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Err(rustix::io::Errno::CHILD) => return,
            _ => continue,
        }
    }
}

/// Finishes what was interrupted: deletions go on, half-made workloads go, lost ones are noted.
pub(crate) fn recover(host: &Host) -> Result<(), Refusal> {
    let intents =
        journal::unfinished(&host.layout.journal()).map_err(refuse("read the journal"))?;
    reach(Point::RecoverBegun);
    for intent in intents {
        let id = intent.workload();
        match intent {
            Intent::Delete { .. } => delete(host, &id)?,
            Intent::Create { .. } if !host.place(&id).exists() => {
                purge(host, &id)?;
                let journal = host.layout.journal();
                journal::finish(&journal, intent).map_err(refuse("write the journal"))?;
            }
            // One that came to run is made, whatever became of it since; others are settled
            // below, unless their shim is still at it.
            Intent::Create { .. } => {
                let state = host.place(&id).state();
                if state.is_ok_and(|state| state.phase != Phase::Created) {
                    let journal = host.layout.journal();
                    journal::finish(&journal, intent).map_err(refuse("write the journal"))?;
                }
            }
        }
    }
    reach(Point::RecoverIntentsDone);
    seed::sweep(&host.layout.volumes()).map_err(refuse("sweep the volumes"))?;
    layer::sweep(host)?;
    list(host)?;
    reach(Point::RecoverSettled);
    sweep(host)
}

/// Removes what removed workloads have left in the private network.
pub(crate) fn sweep(host: &Host) -> Result<(), Refusal> {
    let network = host.network()?;
    reach(Point::SweepBegun);
    network
        .sweep()
        .map_err(refuse("sweep the private network"))?;
    reach(Point::SweepDone);
    Ok(())
}

/// Removes what is not to be kept, and what belongs to no workload at all.
pub(crate) fn reap(host: &Host, keep: &[WorkloadId]) -> Result<Vec<WorkloadId>, Refusal> {
    recover(host)?;
    let mut found: BTreeSet<WorkloadId> = record::all(&host.layout)
        .map_err(refuse("list the workloads"))?
        .into_iter()
        .collect();
    let groups = host.hierarchy.children(&host.layout.cgroup_parent());
    found.extend(groups.iter().filter_map(|name| Layout::cgroup_owner(name)));
    let claims = user::claims(host.layout.installation).map_err(refuse("list user ranges"))?;
    found.extend(claims.iter().filter_map(|(_, holder)| *holder));
    let mut removed = Vec::new();
    for id in found.into_iter().filter(|id| !keep.contains(id)) {
        delete(host, &id)?;
        removed.push(id);
    }
    sweep(host)?;
    Ok(removed)
}

/// Stops all workloads at once, each with its own grace, and leaves nothing of them on the host. One that somebody else is
/// stopping or deleting just then is looked at again.
pub(crate) fn stop_all(host: &Host) -> Result<(), Refusal> {
    let deadline = Instant::now() + Duration::from_millis(STOP_ALL_WAIT_MS);
    loop {
        let running: Vec<WorkloadId> = list(host)?
            .iter()
            .filter(|status| !matches!(status.phase, Phase::Exited { .. }))
            .map(|status| status.id)
            .collect();
        if running.is_empty() {
            return vacate(host);
        }
        if Instant::now() >= deadline {
            return Err(Refusal::Busy {
                what: format!("{} workloads", running.len()),
                why: "they could not be stopped".to_owned(),
            });
        }
        stop_each(host, &running)?;
    }
}

fn stop_each(host: &Host, ids: &[WorkloadId]) -> Result<(), Refusal> {
    for id in ids {
        // One child each, so that the graces run side by side.
        match sys::fork().map_err(refuse("fork"))? {
            sys::Fork::Child => {
                let is_stopped = stop(host, id, None, None).is_ok();
                if !is_stopped {
                    // Whoever else is at it needs a moment.
                    std::thread::sleep(Duration::from_millis(STOP_AGAIN_MS));
                }
                sys::exit_now(i32::from(!is_stopped));
            }
            sys::Fork::Parent(_) => {}
        }
    }
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::empty()) {
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            _ => continue,
        }
    }
}

/// Takes everything off the host that is there for running workloads. What they have written, and
/// how they ended, stays on disk; the next start makes the rest again.
fn vacate(host: &Host) -> Result<(), Refusal> {
    host.hierarchy
        .group(&host.layout.cgroup_parent())
        .remove()
        .map_err(refuse("remove the control groups"))?;
    host.network()?
        .destroy()
        .map_err(refuse("remove the private network"))
}

/// Removes what the private network kept beside it, once nobody can look at it any more.
pub(crate) fn run_dir(host: &Host) -> io::Result<()> {
    absent_is_none(std::fs::remove_dir_all(host.network_run_dir())).map(drop)
}
