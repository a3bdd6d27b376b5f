//! Which capabilities a container has inside its own user namespace.

use std::str::FromStr;

use caps::Capability;

/// What every container has. Docker's default list without `CAP_MKNOD` (refused in a user
/// namespace anyway), `CAP_NET_RAW` (forged packets towards the neighbours of the app) and
/// `CAP_AUDIT_WRITE` (the audit log belongs to the host).
pub(crate) const DEFAULT: &[Capability] = &[
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_FOWNER,
    Capability::CAP_FSETID,
    Capability::CAP_KILL,
    Capability::CAP_NET_BIND_SERVICE,
    Capability::CAP_SETFCAP,
    Capability::CAP_SETGID,
    Capability::CAP_SETPCAP,
    Capability::CAP_SETUID,
    Capability::CAP_SYS_CHROOT,
];

/// What a specification may add. Each acts only on what belongs to the workload's own user
/// namespace; those that open much of the kernel (`CAP_SYS_ADMIN`, `CAP_BPF`, …) stay out.
pub const CAPABILITIES_ADDABLE: &[&str] = &[
    "CAP_AUDIT_WRITE",
    "CAP_IPC_LOCK",
    "CAP_LEASE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_SYS_NICE",
    "CAP_SYS_PTRACE",
];

/// Whether a specification may add it; the prefix `CAP_` may be left out.
pub(crate) fn is_addable(name: &str) -> bool {
    CAPABILITIES_ADDABLE.contains(&full_name(name).as_str())
}

/// The default capabilities and the added ones, sorted and each once. Unknown names are skipped:
/// the specification was checked before.
pub(crate) fn granted(added: &[String]) -> Vec<Capability> {
    let mut all: Vec<Capability> = DEFAULT.to_vec();
    let known = added.iter().filter(|name| is_addable(name));
    all.extend(known.filter_map(|name| Capability::from_str(&full_name(name)).ok()));
    all.sort_unstable_by_key(Capability::index);
    all.dedup();
    all
}

fn full_name(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") {
        upper
    } else {
        format!("CAP_{upper}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_capabilities_can_be_added() {
        assert!(is_addable("NET_RAW"));
        assert!(is_addable("cap_sys_ptrace"));
        assert!(!is_addable("CAP_SYS_ADMIN"));
        assert!(!is_addable("ALL"));
        let added = granted(&["NET_RAW".into(), "CAP_NET_RAW".into()]);
        assert_eq!(added.len(), DEFAULT.len() + 1);
        assert!(
            CAPABILITIES_ADDABLE
                .iter()
                .all(|name| Capability::from_str(name).is_ok())
        );
    }
}
