//! Container images: fetched by the unprivileged process, unpacked by root, trusted by neither.
//!
//! The work is cut in two where the privileges are:
//!
//! * [`Puller`] and [`import`] run in the network process. They write into a
//!   directory that process owns ([`BlobStore`]) and nowhere else: `blobs/sha256/<hex>`,
//!   `partial/<hex>`, `images/<manifest hex>.json`.
//! * [`unpack::layer`] runs as root, in a short-lived child, without network or async runtime.
//!   It believes nothing the other half says: it hashes the compressed bytes *and* the
//!   uncompressed stream again, and reads the archive with a parser that refuses instead of
//!   repairing. It writes `layers/<diff id hex>/` ([`LayerStore`]), a directory only root
//!   can enter, because a layer may hold set-uid files owned by user 0.
//!
//! Root can rebuild the whole chain of trust from one manifest digest with
//! [`BlobStore::verified_record`]: manifest, configuration, layer digests and diff ids.
//!
//! *Why our own registry client.* `oci-client` 0.18 follows redirects inside its HTTP library,
//! connects to whatever the name resolves to at that moment, and buffers manifests without a
//! bound; its errors fold "no such tag", "wrong password" and "slow down" into one. Here every hop
//! is resolved, checked and dialled by the address that was checked, every body has a limit,
//! and each failure a person can act upon is its own [`PullError`].

mod digest;
pub mod import;
pub mod limits;
mod manifest;
pub mod pull;
mod record;
mod reference;
mod room;
mod store;
pub mod unpack;

pub use digest::{Digest, DigestError, Hasher};
pub use import::ImportError;
pub use limits::Limits;
pub use pull::{Credentials, Progress, PullError, Puller};
pub use record::{ImageConfig, ImageRecord, LayerRecord, RecordError};
pub use reference::{Reference, ReferenceError};
pub use room::NoRoom;
pub(crate) use room::Room;
pub use store::{BlobStore, Budget, Freed, LayerStore, Removed, StoreError};
pub use unpack::{LayerStats, UnpackError};
