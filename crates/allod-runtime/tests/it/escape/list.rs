//! The list of probes: what each tries, and what refuses it. `docs/trust.md` shows this list.

/// Where a probe runs beside the default container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// With all others, one after the other, in one container and in one joined process.
    Together,
    /// In a container of its own: it ends its container, or needs help from outside.
    Alone,
}

/// One way out.
pub(super) struct Row {
    /// The probe's name in `examples/probe.rs`.
    pub(super) name: &'static str,
    /// How the answer of a container begins, for its root.
    pub(super) answer: &'static str,
    /// What refuses it.
    pub(super) refused_by: &'static str,
    pub(super) course: Course,
    /// How a kernel without the feature answers; then no hole can be opened for it.
    pub(super) without: Option<&'static str>,
}

const fn row(name: &'static str, answer: &'static str, refused_by: &'static str) -> Row {
    let (course, without) = (Course::Together, None);
    Row {
        name,
        answer,
        refused_by,
        course,
        without,
    }
}

const fn alone(name: &'static str, answer: &'static str, refused_by: &'static str) -> Row {
    let (course, without) = (Course::Alone, None);
    Row {
        name,
        answer,
        refused_by,
        course,
        without,
    }
}

impl Row {
    const fn or_absent(mut self, without: &'static str) -> Self {
        self.without = Some(without);
        self
    }

    /// Whether this is what a container has to answer.
    pub(super) fn is_shut_by(&self, answer: &str) -> bool {
        let Some(why) = answer.strip_prefix("shut ") else {
            return false;
        };
        why.starts_with(self.answer) || self.is_absent(answer)
    }

    /// Whether this kernel has nothing of the kind.
    pub(super) fn is_absent(&self, answer: &str) -> bool {
        let why = answer.strip_prefix("shut ");
        let without = self.without.zip(why);
        without.is_some_and(|(without, why)| why.starts_with(without))
    }
}

const FILTER: &str = "the system-call filter";
const CAPABILITY: &str = "no such capability";
const USER_NAMESPACE: &str = "the user namespace: its root is nobody outside";
const PROCESS_NAMESPACE: &str = "the process namespace";
const MASK: &str = "a mask over the file";
const ABSENT: &str = "nothing of that kind is mounted inside";

/// Every probe, in the order of its name.
pub(super) const ROWS: &[Row] = &[
    row("add-key", "EPERM", FILTER),
    row("alg-socket", "EPERM", FILTER).or_absent("Address family not supported"),
    row(
        "all-capabilities",
        "CapEff is 00000000800405fb",
        "eleven capabilities, inside only",
    ),
    row("bpf", "EPERM", FILTER),
    row(
        "canary",
        "none of",
        "the mount namespace, and no open descriptor leads out of it",
    ),
    row("cgroup-write", "no control group", ABSENT),
    row(
        "chroot-breakout",
        "ENOENT",
        "the root is the mount namespace's own, and not a chroot",
    ),
    row("clone-user-namespace", "EPERM", FILTER),
    row("clone3-user-namespace", "ENOSYS", FILTER),
    row("core-pattern", "EACCES", USER_NAMESPACE),
    row("debugfs", "EPERM", FILTER),
    row("device-files", "no device is there", ABSENT),
    alone("exe-overwrite", "EACCES", USER_NAMESPACE),
    row("fork-bomb", "EAGAIN", "the limit of processes"),
    row("host-processes", "ENOENT", PROCESS_NAMESPACE),
    row("hostname", "EPERM", FILTER),
    row("io-uring", "EPERM", FILTER),
    row("kcore", "/proc/kcore is empty", MASK).or_absent("ENOENT"),
    row("kernel-log", "EPERM", FILTER),
    row("keyring", "EPERM", FILTER),
    row("kill-outside", "ESRCH", PROCESS_NAMESPACE),
    row(
        "leaked-descriptors",
        "only 0 to 2",
        "all others are closed before the command starts",
    ),
    row("link-settings", "EPERM", CAPABILITY),
    row("masked-paths", "all are masked", MASK),
    alone("memory-bomb", "", "the limit of memory: the kernel ends it"),
    row("mknod-block", "EPERM", USER_NAMESPACE),
    row("mknod-kmsg", "EPERM", USER_NAMESPACE),
    row("mount", "EPERM", FILTER),
    row("new-mount-api", "EPERM", FILTER),
    row("new-privileges", "NoNewPrivs is 1", "\"no new privileges\""),
    row("no-system-call-filter", "Seccomp is 2", FILTER),
    row("open-by-handle", "EPERM", FILTER),
    row("packet-socket", "EPERM", CAPABILITY),
    row("perf-events", "EPERM", FILTER),
    row("personality", "EPERM", FILTER),
    row("pivot-root", "EPERM", FILTER),
    row("proc-1-root", "ENOENT", PROCESS_NAMESPACE),
    row("ptrace-outside", "ESRCH", PROCESS_NAMESPACE),
    row("rare-sockets", "EPERM", FILTER),
    row("raw-socket", "EPERM", CAPABILITY),
    row("real-time-priority", "EPERM", CAPABILITY),
    row("release-agent", "EPERM", FILTER),
    row("remount", "EPERM", FILTER),
    row("root-device-files", "no device is there", ABSENT),
    row("set-namespace", "EPERM", FILTER),
    row("sys-write", "EACCES", USER_NAMESPACE),
    row("sysctl", "EACCES", USER_NAMESPACE),
    row("sysrq", "EACCES", USER_NAMESPACE).or_absent("ENOENT"),
    row("terminal-input", "EPERM", FILTER),
    row("trusted-attribute", "EPERM", USER_NAMESPACE),
    row("unmapped-user", "EINVAL", USER_NAMESPACE),
    row("unmask", "EPERM", FILTER),
    row("unshare-mounts", "EPERM", FILTER),
    row("unshare-user-namespace", "EPERM", FILTER),
    row("user-fault", "EPERM", FILTER),
    row(
        "user-namespace-of-host",
        "root is nobody outside",
        USER_NAMESPACE,
    ),
    row("vsock", "EPERM", FILTER),
];
