//! Making a container out of a specification: root file system, limits, identity, filters.

pub(crate) mod capability;
