//! The bundle that libcontainer makes a container of.

use serde_json::{Value, json};

use super::capability;
use super::user::{Slot, User};
use crate::layout::Layout;
use crate::limits::{NOFILE_DEFAULT, NOFILE_MAX, USER_RANGE};
use crate::workload::WorkloadSpec;

/// What is looked for commands in, where an image does not say.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the first process is started with; the same holds for those that join it later. It holds
/// secrets in its variables, so it is never shown.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct ProcessPlan {
    pub(crate) user: User,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) working_dir: String,
    pub(crate) capabilities: Vec<String>,
}

impl ProcessPlan {
    pub(crate) fn new(spec: &WorkloadSpec, user: User) -> Self {
        let working_dir = [
            spec.working_dir.as_deref(),
            Some(spec.image.working_dir.as_str()),
        ];
        let working_dir = working_dir
            .into_iter()
            .flatten()
            .find(|path| !path.is_empty());
        let granted = capability::granted(&spec.cap_add);
        Self {
            env: environment(spec, &user),
            user,
            working_dir: working_dir.unwrap_or("/").to_owned(),
            capabilities: granted.iter().map(ToString::to_string).collect(),
        }
    }

    /// The value of a variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The image's variables, then the specification's, each name once; PATH, HOME and HOSTNAME are
/// always there.
fn environment(spec: &WorkloadSpec, user: &User) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = vec![
        ("PATH".to_owned(), PATH_DEFAULT.to_owned()),
        ("HOME".to_owned(), user.home.clone()),
        ("HOSTNAME".to_owned(), spec.hostname.clone()),
    ];
    let image = spec
        .image
        .env
        .iter()
        .filter_map(|text| text.split_once('='));
    let own = spec.env.iter().filter_map(|variable| {
        Some((
            variable.name.as_str(),
            std::str::from_utf8(variable.value.expose()).ok()?,
        ))
    });
    for (name, value) in image.chain(own) {
        match all.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => all.push((name.to_owned(), value.to_owned())),
        }
    }
    all
}

/// The text of `config.json`.
pub(crate) fn bundle(
    layout: &Layout,
    spec: &WorkloadSpec,
    plan: &ProcessPlan,
    slot: Slot,
) -> Value {
    let env: Vec<String> = plan
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // Users other than root start without capabilities; they keep the right to regain them only
    // through files that grant them, which "no new privileges" rules out.
    let none: &[String] = &[];
    let held = if plan.user.uid == 0 {
        plan.capabilities.as_slice()
    } else {
        none
    };
    let mapping = json!([{"containerID": 0, "hostID": slot.base(), "size": USER_RANGE}]);
    let (soft, hard) = open_files();
    json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname,
        "root": {"path": super::rootfs::private("rootfs"), "readonly": spec.read_only_root},
        "process": {
            "terminal": false,
            "user": {
                "uid": plan.user.uid,
                "gid": plan.user.gid,
                "additionalGids": plan.user.groups,
            },
            "args": spec.args(),
            "env": env,
            "cwd": plan.working_dir,
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": plan.capabilities,
                "permitted": held,
                "effective": held,
                "inheritable": [],
                "ambient": [],
            },
            "rlimits": [
                {"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
            ],
        },
        "mounts": mounts(),
        "linux": {
            "cgroupsPath": format!("/{}", layout.cgroup(&spec.id)),
            // The group has its limits already; only devices are left to say.
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "network"}, {"type": "cgroup"}, {"type": "user"},
            ],
            "uidMappings": mapping,
            "gidMappings": mapping,
            // The network namespace is the workload's own: low ports harm nobody.
            "sysctl": {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 65535",
            },
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
                "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
                "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    })
}

fn mounts() -> Value {
    json!([
        {"destination": "/proc", "type": "proc", "source": "proc",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]},
    ])
}

/// How many open files a workload gets, soft and hard: no more than this process itself has.
pub(crate) fn open_files() -> (u64, u64) {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let hard = own.maximum.unwrap_or(NOFILE_MAX).min(NOFILE_MAX);
    (NOFILE_DEFAULT.min(hard), hard)
}
