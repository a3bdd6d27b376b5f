//! Where a test can have our processes killed, to see that nothing is lost and nothing stays behind.
//!
//! The points are passed in every build, and do nothing: only a root process that was started with a plan
//! ([`Config::fault_plan`](crate::root::Config::fault_plan)) looks at it, and `allod up` starts none with one. The plan
//! is a file with one line, `<point> <victim>`; whoever passes the point first removes it and kills the victim: `self`,
//! `root` or `both`.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Pid, Signal, getpid, kill_process};

macro_rules! points {
    ($($point:ident,)*) => {
        /// A step between two changes on the host, named for what has just been done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Point { $($point,)* }

        /// The names of all points, in the order in which a life passes them.
        pub const POINTS: &[&str] = &[$(stringify!($point),)*];
    };
}

points! {
    CreateBegun,
    CreateDirectoryMade,
    CreateLocked,
    CreateDetached,
    CreateGroupEntered,
    CreateUsersClaimed,
    CreateRecordWritten,
    CreateStateWritten,
    CreateNetworkEnsured,
    CreateGroupMade,
    CreateRootMounted,
    CreateRootFurnished,
    CreateLogsOpened,
    CreateOutputsMade,
    CreateContainerMade,
    CreateAttached,
    CreateFilesWritten,
    CreateStarted,
    CreateRunningWritten,
    CreateFinished,
    CreateTold,
    CreateAnswered,
    AdoptForked,
    AdoptLocked,
    AdoptDetached,
    AdoptGroupEntered,
    AdoptLogsOpened,
    AdoptRecordWritten,
    EndSeen,
    EndReaped,
    EndGroupKilled,
    EndWritten,
    VerdictWritten,
    VerdictCarriedOut,
    StopMarked,
    StopSignalled,
    StopKilled,
    DeleteBegun,
    DeleteKilled,
    DeleteShimEnded,
    DeleteLocked,
    PurgeKilled,
    PurgeDetached,
    PurgeGroupsRemoved,
    PurgeUsersReleased,
    PurgeDirectoryRemoved,
    DeleteFinished,
    SweepBegun,
    SweepDone,
    RecoverBegun,
    RecoverIntentsDone,
    RecoverSettled,
}

struct Plan {
    path: PathBuf,
    root: Pid,
}

static PLAN: OnceLock<Plan> = OnceLock::new();

/// Has this root process and all that it forks look at a plan.
pub(crate) fn arm(path: PathBuf) {
    let root = getpid();
    // A process starts one root process at most.
    let _ = PLAN.set(Plan { path, root });
}

/// Dies here, if the plan says so.
pub(crate) fn reach(point: Point) {
    if let Some(plan) = PLAN.get() {
        plan.reach(point);
    }
}

impl Plan {
    fn reach(&self, point: Point) {
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let Some((name, victim)) = text.trim().split_once(' ') else {
            return;
        };
        // Whoever removes the plan carries it out.
        if name != format!("{point:?}") || std::fs::remove_file(&self.path).is_err() {
            return;
        }
        let (root, own) = (Some(self.root), Some(getpid()));
        let victims = match victim {
            "root" => [root, None],
            "both" => [root, own],
            _ => [own, None],
        };
        for victim in victims.into_iter().flatten() {
            let _ = kill_process(victim, Signal::KILL);
        }
    }
}
