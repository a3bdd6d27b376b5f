//! What becomes of a workload whose shim has died: it lives on, and a new shim takes over.
//!
//! The workload does not need its shim: its mounts are in its own namespace, its outputs are pipes with names
//! ([`super::output`]), and its parent is then the root process, as that of all orphans. So a child of the root process
//! becomes the new shim. It holds the lock of the workload's directory, so that there is one at a time.

use std::os::fd::OwnedFd;

use super::host::{Host, absent_is_none, refuse};
use super::shim::{self, Shim};
use super::{output, remove};
use crate::fault::{Point, reach};
use crate::journal::{self, Intent};
use crate::logs::Writer;
use crate::record::{Place, ProcessId, Record, State};
use crate::request::Refusal;
use crate::workload::{Phase, WorkloadId};

/// Puts right what a dead shim has left. A workload that was being made is removed, and so is one that ran before the
/// machine was restarted: nothing of it is left but files. For one that ran until now, the root process has a new shim
/// take over ([`adopt`]), which finds out whether it still does.
pub(super) fn settle(host: &Host, id: &WorkloadId) -> Result<(), Refusal> {
    let place = host.place(id);
    if !place.exists() || matches!(standing(&place)?, Standing::Ended) || has_shim(&place)? {
        return Ok(());
    }
    // It may have come to run, or have ended, between the two looks.
    if !matches!(standing(&place)?, Standing::Unmade) {
        return Ok(());
    }
    remove::purge(host, id)?;
    journal::finish(&host.layout.journal(), Intent::Create { id: *id })
        .map_err(refuse("write the journal"))
}

/// What is written down about where a workload stands.
enum Standing {
    /// How it ended.
    Ended,
    /// It came to run since the machine was started: what it is, and its first process.
    Running(Box<Record>, ProcessId),
    /// Neither: it is being made, or was, or ran before the machine was restarted.
    Unmade,
}

/// Reads the status once: a shim that writes the end meanwhile would be in neither of two readings.
fn standing(place: &Place) -> Result<Standing, Refusal> {
    let record = absent_is_none(place.record()).map_err(refuse("read the record"))?;
    let state = absent_is_none(place.state()).map_err(refuse("read the status"))?;
    Ok(match (state, record) {
        (Some(state), _) if matches!(state.phase, Phase::Exited { .. }) => Standing::Ended,
        (
            Some(State {
                phase: Phase::Running { .. },
                init: Some(init),
            }),
            Some(record),
        ) if init.is_of_this_boot() => Standing::Running(Box::new(record), init),
        _ => Standing::Unmade,
    })
}

/// Whether a shim lives, or somebody is about to become it.
fn has_shim(place: &Place) -> Result<bool, Refusal> {
    match absent_is_none(place.record()).map_err(refuse("read the record"))? {
        Some(record) => Ok(record.shim.is_alive()),
        None => match absent_is_none(place.try_lock()).map_err(refuse("lock a workload"))? {
            Some(lock) => Ok(lock.is_none()),
            None => Ok(false),
        },
    }
}

/// What is known of a workload that came to run since the machine was started, and whose end is not written down.
pub(super) fn orphan(place: &Place) -> Result<Option<(Record, ProcessId)>, Refusal> {
    Ok(match standing(place)? {
        Standing::Running(record, init) => Some((*record, init)),
        Standing::Ended | Standing::Unmade => None,
    })
}

/// In a child of the root process: becomes the shim of a workload that has none, and watches it to its end, which may
/// be now. Through `told` comes the exit status, should the root process have to reap it.
pub(super) fn adopt(host: &Host, id: &WorkloadId, told: OwnedFd) -> Result<(), Refusal> {
    reach(Point::AdoptForked);
    let place = host.place(id);
    if !place.exists() || orphan(&place)?.is_none() {
        return settle(host, id);
    }
    // A shim that another root process has sent is waited for, to its end or the workload's.
    let lock = absent_is_none(place.lock()).map_err(refuse("lock the workload"))?;
    match orphan(&place)? {
        Some((record, init)) if lock.is_some() && place.exists() => {
            take_over(host, place, record, &init, told)
        }
        _ => settle(host, id),
    }
}

fn take_over(
    host: &Host,
    place: Place,
    record: Record,
    init: &ProcessId,
    told: OwnedFd,
) -> Result<(), Refusal> {
    let id = record.id;
    reach(Point::AdoptLocked);
    shim::detach().map_err(refuse("detach the shim"))?;
    reach(Point::AdoptDetached);
    host.shim_group(&id)
        .enter()
        .map_err(refuse("enter a control group of its own"))?;
    reach(Point::AdoptGroupEntered);
    let logs = Writer::open(&place.logs(), record.logs, host.reader_gid)
        .map_err(refuse("open its logs"))?;
    reach(Point::AdoptLogsOpened);
    let outputs = output::open(&place).map_err(refuse("open its outputs"))?;
    let own = ProcessId::of(std::process::id().cast_signed());
    let record = Record {
        shim: own.map_err(refuse("read its own process"))?,
        ..record
    };
    // On a full disk the record names the dead one. The lock still says that there is a shim.
    if let Err(error) = place.write_record(&record) {
        tracing::warn!(workload = %id, %error, "the new shim is not written down");
    }
    reach(Point::AdoptRecordWritten);
    tracing::info!(workload = %id, shim = record.shim.pid, "a new shim took over");
    let shim = Shim::of_orphan(place, host.group(&id), init.open(), told, outputs, logs);
    let shim = shim
        .fenced(record.is_fenced)
        .map_err(refuse("have it stand still when its time is over"))?;
    shim.watch().map_err(refuse("write down its end"))
}

#[cfg(test)]
mod tests;
