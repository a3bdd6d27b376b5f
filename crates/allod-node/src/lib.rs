//! Makes this machine match the replicated state, and reports what happened.
//!
//! It never holds a rule of the economy: those are the law's.
#![forbid(unsafe_code)]

mod agent;
mod archive;
pub mod carrier;
mod collect;
mod conflict;
mod details;
mod doors;
pub mod fault;
pub mod founding;
pub mod home;
pub mod identity;
mod images;
mod inner;
pub mod invite;
mod ledger;
pub mod limits;
mod lines;
pub mod manifest;
mod manifests;
pub mod node;
pub mod offer;
mod peers;
mod porter;
mod ports;
mod quarantine;
mod readers;
mod registries;
mod scrub;
pub mod seal;
mod signer;
mod snapshots;
pub mod time;
pub mod view;
mod whole;
mod witness;

pub use agent::{service_label, unsupported, volume_label};
pub use allod_ledger::chain::SubmitError;
pub use allod_ledger::mempool::Refusal;
pub use allod_ledger::store::expects_panic;
pub use allod_net::peer::TunnelStream;
pub use allod_runtime::root;
pub use allod_runtime::{Exec, ExecEnd, ExecSpec, ExecStdio, ExecWait};
pub use archive::Retired;
pub use images::{IMAGE_REFUSALS, ImageError};
pub use manifests::KeepManifestError;
pub use node::{ImageView, LogReader, Node, VolumeError, Which, WorkloadError};
pub use peers::JoinError;
pub use porter::PeerCall;
pub use registries::LoginError;

/// Stops every workload of a home's installation, then its root process and all it supervises.
///
/// # Errors
/// Where no root process of this home is running, or it could not stop everything.
pub fn down(home: &home::Home) -> Result<(), allod_runtime::ClientError> {
    let root = allod_runtime::Client::new(home.run_dir());
    root.shutdown(true)?;
    if !root.has_ended_within(limits::DOWN_TIME_MAX) {
        tracing::warn!("all workloads have ended, and the root process has not yet");
    }
    Ok(())
}
