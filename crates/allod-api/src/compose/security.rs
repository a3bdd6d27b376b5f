//! What a deploy file may not ask for, and why.
//!
//! A node runs services of people it does not know. Whatever opens the machine itself to one of
//! them is refused here, with the reason and a way to do without; the runtime refuses it again.

use std::collections::BTreeSet;

use super::diagnostic::Report;
use super::node::{At, Fields, Value};

/// Capabilities that every container has.
const CAPABILITIES_HELD: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Capabilities that a container may add without reaching beyond itself.
const CAPABILITIES_ADDABLE: [&str; 7] = [
    "CAP_AUDIT_WRITE",
    "CAP_IPC_LOCK",
    "CAP_LEASE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
];

const ADDABLE_ARE: &str = "those that can be added are";

/// Capabilities that exist, but command the machine or its kernel.
const CAPABILITIES_REFUSED: [&str; 23] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_OWNER",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_PACCT",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// Takes the keys of a service that could open the machine, and refuses what does.
pub(crate) fn refuse(fields: &mut Fields<'_>, report: &mut Report) {
    if let Some(at) = fields.take("privileged")
        && at.truth(report) == Some(true)
    {
        let message = "`privileged` would give the service the whole machine";
        let help = format!(
            "leave it out, or add the one capability it needs with `cap_add`; {ADDABLE_ARE} {}",
            CAPABILITIES_ADDABLE.join(", ")
        );
        report.push(at.key_error(message).help(help));
    }
    for (key, what) in [
        ("network_mode", "network"),
        ("pid", "process table"),
        ("ipc", "shared memory"),
        ("userns_mode", "user ids"),
        ("uts", "host name"),
        ("cgroup", "control groups"),
    ] {
        if let Some(at) = fields.take(key) {
            namespace(&at, what, report);
        }
    }
    for key in ["devices", "device_cgroup_rules"] {
        let Some(at) = fields.take(key) else { continue };
        if matches!(&at.node.value, Value::List(items) if items.is_empty()) {
            continue;
        }
        let message = format!("`{key}` would give the service hardware of the machine");
        let help = "leave it out; hardware that an offer advertises is asked for in the demand, \
                    not by its path";
        report.push(at.key_error(message).help(help));
    }
    if let Some(at) = fields.take("cgroup_parent") {
        let message = "`cgroup_parent` would move the service out of its limits";
        report.push(
            at.key_error(message)
                .help("leave it out; limits go under `deploy.resources`"),
        );
    }
    if let Some(at) = fields.take("security_opt") {
        for item in at.items(report) {
            option(&item, report);
        }
    }
    if let Some(at) = fields.take("volumes_from") {
        let message = "`volumes_from` is not supported: it mounts volumes that are not named";
        report.push(
            at.key_error(message)
                .help("name the shared volume in both services"),
        );
    }
    for key in ["gpus", "runtime"] {
        let Some(at) = fields.take(key) else { continue };
        let message = format!("`{key}` is not supported by this version of Allod");
        report.push(
            at.key_error(message)
                .help("leave it out to run without a GPU"),
        );
    }
}

fn namespace(at: &At<'_>, what: &str, report: &mut Report) {
    let Some(text) = at.text(report) else { return };
    let key = &at.name;
    match text {
        "bridge" | "default" | "private" | "shareable" | "" => {}
        "host" => {
            let message =
                format!("`{key}: host` would share the machine's {what} with the service");
            let help = match key.as_str() {
                "network_mode" => "leave it out, and list what must be reached under `ports`",
                _ => "leave it out; every service has its own",
            };
            report.push(at.error(message).help(help));
        }
        "none" => {
            let message = format!("`{key}: none` is not supported by this version of Allod");
            let help = "leave it out; nothing outside the app reaches a service without `ports`";
            report.push(at.error(message).help(help));
        }
        other => {
            let message = format!("`{key}: {other}` would share one service's {what} with another");
            report.push(
                at.error(message)
                    .help("let them talk over the network by their names"),
            );
        }
    }
}

fn option(at: &At<'_>, report: &mut Report) {
    let Some(text) = at.text(report) else { return };
    match text.replace('=', ":").as_str() {
        "no-new-privileges" | "no-new-privileges:true" => {}
        "no-new-privileges:false"
        | "seccomp:unconfined"
        | "apparmor:unconfined"
        | "systempaths:unconfined" => {
            let message = format!("`{text}` would take a protection of the machine away");
            report.push(at.error(message).help("leave it out"));
        }
        _ => {
            let message = format!("the option `{text}` has no effect on Allod");
            report.push(at.warning(message));
        }
    }
}

/// Reads `cap_add`.
pub(crate) fn added(at: &At<'_>, report: &mut Report) -> BTreeSet<String> {
    let mut added = BTreeSet::new();
    for item in at.items(report) {
        let Some(text) = item.text(report) else {
            continue;
        };
        match capability(text) {
            (name, Capability::Held | Capability::Addable) => {
                added.insert(name);
            }
            (_, Capability::Refused | Capability::All) => {
                let message = format!("the capability `{text}` reaches beyond the container");
                let help = format!(
                    "do without; {ADDABLE_ARE} {}",
                    CAPABILITIES_ADDABLE.join(", ")
                );
                report.push(item.error(message).help(help));
            }
            (_, Capability::Unknown) => {
                let message = format!("there is no capability `{text}`");
                report.push(
                    item.error(message)
                        .help("check the spelling, as in NET_RAW"),
                );
            }
        }
    }
    added
}

/// Reads `cap_drop`.
pub(crate) fn dropped(at: &At<'_>, report: &mut Report) -> BTreeSet<String> {
    let mut dropped = BTreeSet::new();
    for item in at.items(report) {
        let Some(text) = item.text(report) else {
            continue;
        };
        match capability(text) {
            (_, Capability::All) => {
                dropped.insert("ALL".to_string());
            }
            (name, Capability::Held) => {
                dropped.insert(name);
            }
            // Nobody has it here to begin with.
            (_, Capability::Addable | Capability::Refused) => {}
            (_, Capability::Unknown) => {
                let message = format!("there is no capability `{text}`");
                report.push(
                    item.error(message)
                        .help("check the spelling, as in NET_RAW"),
                );
            }
        }
    }
    dropped
}

/// What is added beside, and taken from, the capabilities that every container has. With `ALL`
/// dropped, what is added again stays.
pub(crate) fn capabilities(
    added: &BTreeSet<String>,
    dropped: &BTreeSet<String>,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let held = BTreeSet::from(CAPABILITIES_HELD.map(str::to_string));
    let lost = if dropped.contains("ALL") {
        &held
    } else {
        dropped
    };
    let lost = lost.difference(added).cloned().collect();
    (added.difference(&held).cloned().collect(), lost)
}

enum Capability {
    Held,
    Addable,
    Refused,
    All,
    Unknown,
}

fn capability(text: &str) -> (String, Capability) {
    let upper = text.to_ascii_uppercase();
    let name = match upper.strip_prefix("CAP_") {
        Some(_) => upper,
        None => format!("CAP_{upper}"),
    };
    let kind = match name.as_str() {
        "CAP_ALL" => Capability::All,
        name if CAPABILITIES_HELD.contains(&name) => Capability::Held,
        name if CAPABILITIES_ADDABLE.contains(&name) => Capability::Addable,
        name if CAPABILITIES_REFUSED.contains(&name) => Capability::Refused,
        _ => Capability::Unknown,
    };
    (name, kind)
}
