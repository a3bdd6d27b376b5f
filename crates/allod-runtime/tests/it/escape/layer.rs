//! One layer opened, and the next one seen: the probes from where one namespace of a container is missing, or its
//! capabilities are not limited. The system-call filter is missing in all of them.
//!
//! A container is made as by default, and the test's own process, which is the host's root, enters it but for one layer.

use std::collections::BTreeMap;
use std::process::Command;

use allod_runtime::Phase;

use super::image::program;
use super::inside::Prison;

/// What is not entered, or not given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opened {
    /// Nothing but the filter.
    Filter,
    Capabilities,
    UserNamespace,
    ProcessNamespace,
    MountNamespace,
}

/// One probe, with one layer opened beside the filter.
pub(super) struct Beyond {
    pub(super) opened: Opened,
    pub(super) probe: &'static str,
    /// How the answer begins, with its first word.
    pub(super) answer: &'static str,
    /// What refuses it then, or what is got.
    pub(super) next: &'static str,
}

const fn beyond(
    opened: Opened,
    probe: &'static str,
    answer: &'static str,
    next: &'static str,
) -> Beyond {
    Beyond {
        opened,
        probe,
        answer,
        next,
    }
}

pub(super) const BEYOND: &[Beyond] = &[
    beyond(Opened::Filter, "mount", "shut EPERM", "no such capability"),
    beyond(Opened::Filter, "unmask", "shut EPERM", "no such capability"),
    beyond(
        Opened::Filter,
        "set-namespace",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::Filter,
        "open-by-handle",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::Filter,
        "pivot-root",
        "shut EPERM",
        "no such capability",
    ),
    beyond(Opened::Filter, "bpf", "shut EPERM", "no such capability"),
    beyond(
        Opened::Filter,
        "kernel-log",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::Filter,
        "release-agent",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::Filter,
        "keyring",
        "open",
        "got: its own session's keys",
    ),
    beyond(
        Opened::Filter,
        "unshare-user-namespace",
        "open",
        "got: a user namespace with rights over itself alone",
    ),
    beyond(
        Opened::Capabilities,
        "core-pattern",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "sysctl",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "sys-write",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "mknod-block",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "open-by-handle",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "kernel-log",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "bpf",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::Capabilities,
        "device-files",
        "shut no device is there",
        "nothing of that kind is mounted inside",
    ),
    beyond(
        Opened::Capabilities,
        "cgroup-write",
        "shut no control group",
        "nothing of that kind is mounted inside",
    ),
    beyond(
        Opened::Capabilities,
        "kill-outside",
        "shut ESRCH",
        "the process namespace",
    ),
    beyond(
        Opened::Capabilities,
        "packet-socket",
        "open",
        "got: packets of its own network namespace",
    ),
    beyond(
        Opened::Capabilities,
        "mount",
        "open",
        "got: mounts of its own mount namespace",
    ),
    beyond(
        Opened::UserNamespace,
        "core-pattern",
        "shut EROFS",
        "a read-only mount",
    ),
    beyond(
        Opened::UserNamespace,
        "sysctl",
        "shut EROFS",
        "a read-only mount",
    ),
    beyond(
        Opened::UserNamespace,
        "sys-write",
        "shut EROFS",
        "a read-only mount",
    ),
    beyond(
        Opened::UserNamespace,
        "mknod-block",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::UserNamespace,
        "mount",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::UserNamespace,
        "open-by-handle",
        "shut EPERM",
        "no such capability",
    ),
    beyond(
        Opened::UserNamespace,
        "device-files",
        "shut no device is there",
        "nothing of that kind is mounted inside",
    ),
    beyond(
        Opened::UserNamespace,
        "kill-outside",
        "shut ESRCH",
        "the process namespace",
    ),
    beyond(
        Opened::UserNamespace,
        "ptrace-outside",
        "shut ESRCH",
        "the process namespace",
    ),
    beyond(
        Opened::UserNamespace,
        "canary",
        "shut none of",
        "the mount namespace",
    ),
    beyond(
        Opened::ProcessNamespace,
        "kill-outside",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::ProcessNamespace,
        "ptrace-outside",
        "shut EPERM",
        "the user namespace",
    ),
    beyond(
        Opened::ProcessNamespace,
        "core-pattern",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::MountNamespace,
        "root-device-files",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::MountNamespace,
        "cgroup-write",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::MountNamespace,
        "core-pattern",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::MountNamespace,
        "proc-1-root",
        "shut EACCES",
        "the user namespace",
    ),
    beyond(
        Opened::MountNamespace,
        "host-processes",
        "open",
        "got: the names of processes",
    ),
    beyond(
        Opened::MountNamespace,
        "canary",
        "open",
        "got: what every user of the host may read",
    ),
];

impl Opened {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Filter => "the system-call filter",
            Self::Capabilities => "the filter, and all capabilities given",
            Self::UserNamespace => "the filter, and the user namespace of the host",
            Self::ProcessNamespace => "the filter, and the process namespace of the host",
            Self::MountNamespace => "the filter, and the mount namespace of the host",
        }
    }

    /// The namespaces that are entered.
    fn entered(self) -> Vec<&'static str> {
        let all = ["-m", "-u", "-i", "-n", "-p", "-C", "-U"];
        let left = match self {
            Self::Filter | Self::Capabilities => "",
            Self::UserNamespace => "-U",
            Self::ProcessNamespace => "-p",
            Self::MountNamespace => "-m",
        };
        all.into_iter()
            .filter(|namespace| *namespace != left)
            .collect()
    }

    fn try_out(self, pid: i32, prison: &Prison, probe: &str) -> String {
        let mut command = Command::new("nsenter");
        command.args(["-t", &pid.to_string()]).args(self.entered());
        command.arg("--");
        match self {
            Self::MountNamespace => command.arg(program("probe")),
            _ => command.arg("/probe"),
        };
        if self != Self::Capabilities {
            command.arg("within");
        }
        command.arg(probe);
        prison.tell(&mut command);
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        format!("{}{complaint}", text.lines().last().unwrap_or_default())
    }
}

fn start(prison: &Prison, number: u8) -> i32 {
    let spec = prison.spec(number, "exec sleep 1000");
    let status = prison.house.client.create(spec).unwrap();
    match status.phase {
        Phase::Running { pid, .. } => pid,
        other => panic!("{other:?}"),
    }
}

#[test]
fn behind_each_layer_is_another_or_it_is_known_what_is_got() {
    let prison = Prison::new();
    let mut started = BTreeMap::new();
    let mut surprises = Vec::new();
    for row in BEYOND {
        // One for each layer: some probes change the container that they are in.
        let number = started.len() as u8;
        let pid = *started
            .entry(row.opened)
            .or_insert_with(|| start(&prison, number));
        let said = row.opened.try_out(pid, &prison, row.probe);
        if !said.starts_with(row.answer) {
            surprises.push(format!("{:?} {}: {said}", row.opened, row.probe));
        }
    }
    assert!(surprises.is_empty(), "{surprises:#?}");
}
