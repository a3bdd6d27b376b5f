//! Making a container out of a specification: root file system, limits, identity, filters.

pub(crate) mod capability;
pub(crate) mod cgroup;
pub(crate) mod executor;
pub(crate) mod mount;
pub(crate) mod rootfs;
pub(crate) mod seccomp;
pub(crate) mod seed;
pub(crate) mod spec;
pub(crate) mod tether;
pub(crate) mod user;
