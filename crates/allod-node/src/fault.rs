//! Where a test can have the network process killed, to see that the machine still becomes what the ledger says and
//! that nothing stays behind.
//!
//! The points are passed in every build, and do nothing: only a process that was started with a plan looks at it, by a
//! flag that no help shows. The plan is a file with the name of one point; whoever passes it first removes the file and
//! dies.

use std::path::PathBuf;
use std::sync::OnceLock;

use rustix::process::{Signal, getpid, kill_process};

/// What the plan is called in the node's directory.
pub const PLAN: &str = "fault-plan";

macro_rules! points {
    ($($point:ident,)*) => {
        /// A step between two changes, named for what has just been done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Point { $($point,)* }

        /// The names of all points. Those of founding come first, then those of a start, then those of an app's life.
        pub const POINTS: &[&str] = &[$(stringify!($point),)*];
    };
}

points! {
    FoundingAccountMade,
    FoundingNodeMade,
    FoundingGenesisWritten,
    FoundingListingWritten,
    StartLedgerOpened,
    StartArchiveOpened,
    StartListed,
    StartLooked,
    ImageFetched,
    ImageLayerUnpacked,
    FileFilled,
    ManifestKept,
    CommitSeen,
    ArchiveHeadWritten,
    ArchiveWritten,
    ImageReady,
    VolumeMade,
    WorkloadMade,
    WorkloadStarted,
    ReadyReported,
    Drained,
    Stopped,
    LinesKept,
    Deleted,
    AppForgotten,
    EvidenceSubmitted,
    VolumeRemoved,
    VolumeReported,
}

static PATH: OnceLock<PathBuf> = OnceLock::new();

/// Has this process look at a plan.
pub fn arm(path: PathBuf) {
    // A process is one node at most.
    let _ = PATH.set(path);
}

/// Dies here, if the plan says so.
pub(crate) fn reach(point: Point) {
    let Some(path) = PATH.get() else {
        return;
    };
    let name = std::fs::read_to_string(path).unwrap_or_default();
    // Whoever removes the plan carries it out.
    if name.trim() == format!("{point:?}") && std::fs::remove_file(path).is_ok() {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
