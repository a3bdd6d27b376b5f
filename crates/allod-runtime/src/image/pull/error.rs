//! What can go wrong while fetching, in the words of the person who has to act.

use std::time::Duration;

use crate::image::digest::Digest;
use crate::image::record::RecordError;
use crate::image::reference::ReferenceError;
use crate::image::room::NoRoom;
use crate::image::store::StoreError;

/// Why an image could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The text is not a reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry has no such image.
    #[error("{host} has no image {reference}; check the name and the tag")]
    NotFound {
        /// The registry.
        host: String,
        /// What was asked for.
        reference: String,
    },
    /// The registry wants other credentials, or some.
    #[error("{}", unauthorized(host, reference, *had_credentials))]
    Unauthorized {
        /// The registry.
        host: String,
        /// What was asked for.
        reference: String,
        /// Whether credentials were sent and refused.
        had_credentials: bool,
    },
    /// The registry knows who asks, and does not let them read it.
    #[error("{}", forbidden(host, reference, *had_credentials))]
    Forbidden {
        /// The registry.
        host: String,
        /// What was asked for.
        reference: String,
        /// Whether credentials were sent.
        had_credentials: bool,
    },
    /// The registry asks for patience beyond ours.
    #[error("{host} limits how often images are pulled{}; log in (`allod registry login {host}`) \
             or try again later", retry_hint(*retry_after))]
    RateLimited {
        /// The registry.
        host: String,
        /// How long it asked to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that makes sense, after every try.
    #[error("cannot reach {host}: {why}; check the name and this machine's network")]
    Unreachable {
        /// The host that was dialled.
        host: String,
        /// The last failure.
        why: String,
    },
    /// An answer that ended before its end, at every try.
    #[error("{host} broke its answer off ({why}); try again, and check the network between")]
    CutOff {
        /// The host that was dialled.
        host: String,
        /// What the connection said.
        why: String,
    },
    /// An answer that did not come in time, after every try.
    #[error("{host} did not {action} within {} s; try again", after.as_secs_f32())]
    Timeout {
        /// The host that was dialled.
        host: String,
        /// What it was expected to do.
        action: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// The bytes are not the ones the digest names.
    #[error(
        "{what} from {host} hashes to {actual}, not to {expected}; \
             the registry's copy is damaged or was tampered with"
    )]
    BadDigest {
        /// The registry.
        host: String,
        /// Manifest, configuration or layer.
        what: &'static str,
        /// The name.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The registry sends more or fewer bytes than the manifest says.
    #[error("{what} {digest} from {host} should have {expected} bytes, but {actual} came")]
    WrongSize {
        /// The registry.
        host: String,
        /// Configuration or layer.
        what: &'static str,
        /// The blob.
        digest: Digest,
        /// As the manifest says.
        expected: u64,
        /// As it is announced, or as far as it was read.
        actual: u64,
    },
    /// More bytes than this machine takes.
    #[error("{what} of {reference} has {bytes} bytes; this machine takes {limit}")]
    TooLarge {
        /// The image.
        reference: String,
        /// Which part of it.
        what: &'static str,
        /// Its length, as far as it is known.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The documents do not make an image for this machine.
    #[error("image {reference} cannot be used")]
    Unusable {
        /// The image.
        reference: String,
        /// Why.
        source: RecordError,
    },
    /// A redirect that leads where a registry has no business.
    #[error("{host} redirects to {target}, which is refused: {reason}")]
    RedirectRefused {
        /// Who redirects.
        host: String,
        /// Where to, without its query.
        target: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// The registry itself, or its token service, is where images may not come from.
    #[error("{host} is refused as a registry: {reason}")]
    AddressRefused {
        /// The registry, or the token service it names.
        host: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// An answer outside the protocol.
    #[error(
        "{host} answered {status} to a request for {reference}{}",
        quoted(message)
    )]
    Status {
        /// The registry.
        host: String,
        /// What was asked for.
        reference: String,
        /// The HTTP status.
        status: u16,
        /// What the registry says about it.
        message: String,
    },
    /// This machine has no certificate authorities.
    #[error(
        "this machine has no usable CA certificates ({why}); install the package ca-certificates"
    )]
    NoAuthorities {
        /// What is wrong with them.
        why: String,
    },
    /// The disk has no room for it.
    #[error("no room to fetch {reference}")]
    NoRoom {
        /// The image.
        reference: String,
        /// What was needed, and what there is.
        source: NoRoom,
    },
    /// The store refused.
    #[error("cannot keep what was fetched")]
    Store(#[from] StoreError),
    /// Writing a blob failed.
    #[error("cannot write the layer {digest}; is the disk full?")]
    Write {
        /// The layer.
        digest: Digest,
        /// What the system said.
        source: std::io::Error,
    },
}

impl PullError {
    /// Whether the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::CutOff { .. }
            | Self::Timeout { .. }
            | Self::RateLimited { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 408,
            _ => false,
        }
    }
}

fn unauthorized(host: &str, reference: &str, had_credentials: bool) -> String {
    if had_credentials {
        format!(
            "{host} refuses the stored credentials for {reference}; \
             renew them with `allod registry login {host}`"
        )
    } else {
        format!(
            "{host} does not show {reference} to strangers: the image is private or does not \
             exist; check the name, or log in with `allod registry login {host}`"
        )
    }
}

fn forbidden(host: &str, reference: &str, had_credentials: bool) -> String {
    let who = if had_credentials {
        "the user of the stored credentials"
    } else {
        "strangers"
    };
    format!(
        "{host} forbids {who} to read {reference}; check the name, or log in as a user who may \
         with `allod registry login {host}`"
    )
}

fn retry_hint(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!(" and asks to wait {} s", wait.as_secs())
    })
}

fn quoted(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message:?}")
    }
}
