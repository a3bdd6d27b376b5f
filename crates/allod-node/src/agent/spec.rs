//! From a service of a manifest to what the runtime runs.

use std::collections::BTreeSet;

use allod_runtime::{
    EnvVar, FileMount, Image, LogLimits, Resources, Secret, TmpfsMount, VolumeMount, VolumeName,
    WorkloadId, WorkloadSpec,
};
use allod_state::app::Demand;
use allod_state::lease::Lease;
use allod_state::{AccountId, Label};
use data_encoding::BASE32_NOPAD;

use crate::manifest::Service;

const PIDS_DEFAULT: u32 = 512;
const TMPFS_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
const MODE_TMPFS: u32 = 0o1777;

/// The name on this machine of a volume, from what the ledger calls it.
pub(crate) fn volume_name(owner: &AccountId, app: &Label, volume: &Label) -> VolumeName {
    let mut hasher = blake3::Hasher::new_derive_key("allod volume name v1");
    for part in [owner.as_bytes(), app.as_bytes(), volume.as_bytes()] {
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let text = BASE32_NOPAD.encode(hash.as_bytes()).to_ascii_lowercase();
    text.parse()
        .expect("base32 of a hash is 52 plain characters")
}

/// The label of a volume that a manifest names.
pub fn volume_label(app: &Label, name: &str) -> Label {
    Label::of(app.as_bytes(), &format!("volume {name}"))
}

/// The label of a service that a manifest names.
pub fn service_label(app: &Label, name: &str) -> Label {
    Label::of(app.as_bytes(), name)
}

/// The specification of one lease's workload. Its `demand` says what it may write; it may run until `until_boot_ms`, and
/// for ever without.
pub(crate) fn workload(
    id: WorkloadId,
    lease: &Lease,
    name: &str,
    service: &Service,
    image: Image,
    demand: Option<&Demand>,
    until_boot_ms: Option<u64>,
) -> WorkloadSpec {
    let footprint = lease.footprint;
    let volumes = service.mounts.iter().map(|mount| {
        let label = volume_label(&lease.app_label, &mount.volume);
        VolumeMount {
            name: volume_name(&lease.payer, &lease.app_label, &label),
            target: mount.target.clone(),
            read_only: mount.read_only,
            bytes_max: demand.and_then(|demand| demand.volumes.get(&label).copied()),
        }
    });
    let files = service.files.iter().map(|file| FileMount {
        target: file.target.clone(),
        contents: Secret::new(file.bytes.0.clone()),
        mode: file.mode,
        owner: Some((file.uid, file.gid)),
    });
    let tmpfs = service.tmpfs.iter().map(|tmpfs| TmpfsMount {
        target: tmpfs.target.clone(),
        bytes_max: tmpfs.bytes_max.unwrap_or(TMPFS_BYTES_DEFAULT),
        mode: tmpfs.mode.unwrap_or(MODE_TMPFS),
    });
    let env = service.env.iter().map(|(name, value)| EnvVar {
        name: name.clone(),
        value: Secret::from(value.as_str()),
    });
    let hostname = service.hostname.clone();
    WorkloadSpec {
        id,
        app: lease.app.0,
        hostname: hostname.unwrap_or_else(|| format!("{name}-{}", lease.replica)),
        service: name.to_owned(),
        image,
        entrypoint: service.entrypoint.clone(),
        command: service.command.clone(),
        env: env.collect(),
        user: service.user.clone(),
        working_dir: service.working_dir.clone(),
        resources: Resources {
            cpu_milli: u32::try_from(footprint.cpu_milli).unwrap_or(u32::MAX),
            memory_bytes: footprint.memory_bytes,
            pids: service.pids_max.unwrap_or(PIDS_DEFAULT),
        },
        storage_bytes_max: demand.map(|demand| demand.resources.storage_bytes),
        volumes: volumes.collect(),
        files: files.collect(),
        tmpfs: tmpfs.collect(),
        cap_add: service.cap_add.iter().cloned().collect(),
        read_only_root: service.read_only,
        stop_signal: service.stop_signal.clone(),
        stop_grace_ms: service.stop_grace_ms,
        logs: LogLimits {
            file_bytes_max: service.logs.file_bytes_max,
            files: service.logs.files_max,
        },
        until_boot_ms,
    }
}

/// What of a service this node's runtime cannot honour. It is said before anything is signed, never dropped in silence.
pub fn unsupported(service: &Service) -> BTreeSet<&'static str> {
    let mut what = BTreeSet::new();
    if !service.cap_drop.is_empty() {
        what.insert("cap_drop");
    }
    if service.init {
        what.insert("init");
    }
    if service.shm_bytes.is_some() {
        what.insert("shm_size");
    }
    if !service.extra_hosts.is_empty() {
        what.insert("extra_hosts");
    }
    what
}
