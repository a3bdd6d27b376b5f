//! Fences: a workload that may run for a time only stands still when it is over, whatever becomes of everybody else.
//!
//! Rules:
//! 1. The time is written in the workload's directory, by the clock that counts a machine's sleep. Whoever renews it needs
//!    the root process; whoever enforces it is the shim, which needs nobody.
//! 2. When it is over, the shim freezes the workload, and kills it where it does not stand still within
//!    [`FENCE_WAIT_MS`](limits::FENCE_WAIT_MS). It thaws it when the time was renewed, unless it is being stopped: then it
//!    is killed as it is. Nobody else thaws it.
//! 3. It starts only while it may run, and dies with its shim: the kernel kills its first process, which is the
//!    [tether](crate::container::tether), and with that one everything in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

use crate::container::cgroup::Group;
use crate::limits;
use crate::record::Place;

/// Milliseconds since the machine was booted, its sleep included.
#[must_use]
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1_000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

/// Waits until a workload that is about to start may run.
pub(crate) fn await_time(place: &Place) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_millis(limits::FENCE_START_WAIT_MS);
    while place.until_boot_ms() <= boot_ms() {
        if Instant::now() >= deadline {
            let text = "nobody has let it run in time";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        std::thread::sleep(Duration::from_millis(limits::FENCE_LOOK_MS));
    }
    Ok(())
}

/// The fence of one workload, in its shim.
pub(crate) struct Fence {
    place: Place,
    group: Group,
    /// Readable when it is to be looked at again.
    timer: OwnedFd,
    /// Since when it is to stand still, where it is.
    closed_ms: Option<u64>,
}

impl Fence {
    /// Closed until [`Self::look`] opens it: whoever was its shim before may have frozen it.
    pub(crate) fn new(place: Place, group: Group) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self {
            place,
            group,
            timer: timerfd_create(TimerfdClockId::Boottime, flags)?,
            closed_ms: Some(boot_ms()),
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }

    /// Freezes, thaws or kills, as it is time to, and says when to look again.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        let (now, until) = (boot_ms(), self.place.until_boot_ms());
        if now < until {
            if self.closed_ms.is_some() && !self.place.is_stopping() {
                self.group.freeze(false)?;
                self.closed_ms = None;
            }
            return self.wake_at(until);
        }
        let closed_ms = *self.closed_ms.get_or_insert(now);
        if !self.group.is_frozen() {
            self.group.freeze(true)?;
            if now >= closed_ms + limits::FENCE_WAIT_MS && !self.group.is_frozen() {
                self.group.kill()?;
            }
        }
        self.wake_at(now + limits::FENCE_LOOK_MS)
    }

    fn wake_at(&self, boot_ms: u64) -> io::Result<()> {
        let (seconds, rest) = (boot_ms / 1_000, boot_ms % 1_000);
        let at = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec {
                tv_sec: seconds.cast_signed(),
                tv_nsec: (rest * 1_000_000).cast_signed(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &at)?;
        Ok(())
    }
}
