//! What a service gets when its deploy file does not say, in one place.
//!
//! They are chosen so that an ordinary compose file runs on a small machine: four idle services
//! fit into one core and one gigabyte, and a web server or a small database starts within them.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::manifest::{Image, Logs, Restart, Service};

/// CPU of one replica: a quarter of a core.
pub const CPU_MILLI: u64 = 250;
/// Memory of one replica: 256 MiB.
pub const MEMORY_BYTES: u64 = 256 << 20;
/// Scratch space of one replica, outside its volumes: 1 GiB.
pub const STORAGE_BYTES: u64 = 1 << 30;
/// Capacity of a named volume: 1 GiB.
pub const VOLUME_BYTES: u64 = 1 << 30;
/// How many replicas a service starts with.
pub const REPLICAS: u32 = 1;
/// How long a process may take to stop, as compose has it.
pub const STOP_GRACE_MS: u64 = 10_000;
/// The pause between two health checks, as compose has it.
pub const HEALTH_INTERVAL_MS: u64 = 30_000;
/// How long one health check may take, as compose has it.
pub const HEALTH_TIMEOUT_MS: u64 = 30_000;
/// Failed health checks in a row that make a replica unhealthy, as compose has it.
pub const HEALTH_RETRIES: u32 = 3;
/// The pause between two readiness checks. It is short, because a start waits for it.
pub const READY_INTERVAL_MS: u64 = 250;
/// How long one readiness check may take.
pub const READY_TIMEOUT_MS: u64 = 3_000;
/// Failed readiness checks in a row that take a replica out of the traffic again.
pub const READY_RETRIES: u32 = 3;
/// How long after its start a replica must have become ready.
pub const READY_WITHIN_MS: u64 = 60_000;
/// Output is kept in files of this size …
pub const LOG_FILE_BYTES: u64 = 10 << 20;
/// … and this many of them.
pub const LOG_FILES: u32 = 3;
/// The domain under which a service without an `ingress` of its own is reached.
pub const ZONE: &str = "localhost";
/// Permission bits of secrets and configs, as compose has it.
pub const FILE_MODE: u32 = 0o444;

/// A service of which only the image is known. It is restarted always: a cloud keeps what it was
/// given running, where compose would leave it ended.
pub fn service(image: Image) -> Service {
    Service {
        image,
        entrypoint: None,
        command: None,
        env: BTreeMap::new(),
        working_dir: None,
        user: None,
        mounts: Vec::new(),
        tmpfs: Vec::new(),
        files: Vec::new(),
        ports: Vec::new(),
        ingress: Vec::new(),
        readiness: None,
        liveness: None,
        depends_on: BTreeMap::new(),
        restart: Restart::Always,
        stop_signal: None,
        stop_grace_ms: STOP_GRACE_MS,
        cap_add: BTreeSet::new(),
        cap_drop: BTreeSet::new(),
        read_only: false,
        hostname: None,
        aliases: BTreeSet::new(),
        extra_hosts: BTreeMap::new(),
        labels: BTreeMap::new(),
        logs: Logs {
            file_bytes_max: LOG_FILE_BYTES,
            files_max: LOG_FILES,
        },
        init: false,
        shm_bytes: None,
        pids_max: None,
    }
}
