//! Why a request was not let in: each reason with a stable code and a next step.

use http::StatusCode;

use super::limits::{LIFETIME_S_MAX, QUOTED_CHARS_MAX};

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No single usable `Host`.
    #[error("the request does not name one host")]
    HostMalformed,
    /// A host that this node does not answer for.
    #[error("this node does not answer for the host `{host}`")]
    HostNotAllowed {
        /// What the request named.
        host: String,
    },
    /// A web page of somebody else.
    #[error("pages of `{origin}` may not call this API")]
    OriginNotAllowed {
        /// Where the page came from.
        origin: String,
    },
    /// No signature.
    #[error("the request is not signed")]
    Missing,
    /// Some part is too long.
    #[error("{what} has {bytes} bytes; at most {max} are read")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest that is read.
        max: usize,
    },
    /// Not what RFC 9421 writes.
    #[error("{what} is not well-formed")]
    Malformed {
        /// Which part.
        what: &'static str,
    },
    /// Signed for something else.
    #[error("no signature of the request has the tag `allod-v1`")]
    WrongTag,
    /// More than one signature for us.
    #[error("more than one signature of the request has the tag `allod-v1`")]
    Ambiguous,
    /// Another algorithm.
    #[error("the signature's algorithm is not `ed25519`")]
    WrongAlgorithm,
    /// Something that must be signed is not.
    #[error("the signature does not cover `{component}`")]
    ComponentMissing {
        /// What.
        component: &'static str,
    },
    /// Something is covered that this profile does not know, or twice, or with parameters.
    #[error(
        "the signature covers `{component}`, which is not part of the profile or stands there twice"
    )]
    ComponentUnsupported {
        /// What.
        component: String,
    },
    /// Something is covered that the request does not have.
    #[error("the signature covers `{component}`, which the request does not have")]
    ComponentAbsent {
        /// What.
        component: &'static str,
    },
    /// A parameter is missing.
    #[error("the signature has no usable parameter `{parameter}`")]
    ParameterMissing {
        /// Which.
        parameter: &'static str,
    },
    /// A parameter that this profile does not know.
    #[error("the signature has the parameter `{parameter}`, which is not part of the profile")]
    ParameterUnsupported {
        /// Which.
        parameter: String,
    },
    /// `expires` is not after `created`, or too long after.
    #[error(
        "the signature is made for {seconds} seconds; between 1 and {LIFETIME_S_MAX} are allowed"
    )]
    Lifetime {
        /// From `created` to `expires`.
        seconds: i64,
    },
    /// Too late.
    #[error(
        "the signature was made at {created_s}, held until {expires_s}, and it is now {now_s} here (unix seconds)"
    )]
    Expired {
        /// When it was made, by the client's clock.
        created_s: u64,
        /// Until when it held.
        expires_s: u64,
        /// Our clock.
        now_s: u64,
    },
    /// From the future.
    #[error("the signature was made at {created_s} by the client's clock, and it is only {now_s} here (unix seconds): {} s apart", created_s.saturating_sub(*now_s))]
    ClockSkew {
        /// When it was made, by the client's clock.
        created_s: u64,
        /// Our clock.
        now_s: u64,
    },
    /// From before this process.
    #[error(
        "the signature was made at {created_s}, before this node started at {started_s} (unix seconds)"
    )]
    BeforeStart {
        /// When it was made.
        created_s: u64,
        /// When this process started.
        started_s: u64,
    },
    /// `keyid` is not a public key.
    #[error("`keyid` is neither a public key nor `key@account`")]
    KeyMalformed,
    /// A key the network does not know.
    #[error("no account has the key {key}")]
    KeyUnknown {
        /// The key.
        key: String,
    },
    /// The signature is not the key's over this request.
    #[error("the signature does not match the request")]
    Mismatch,
    /// The same request again.
    #[error("a request with this nonce was already answered")]
    Replayed,
    /// Too many requests at a time.
    #[error("too many signed requests of {whose} are still within their lifetime")]
    TooMany {
        /// `this key` or `all keys`.
        whose: &'static str,
    },
    /// A body without a digest.
    #[error("the request has a body, and no `content-digest` with `sha-256` covers it")]
    DigestMissing,
    /// Another body than the signed one.
    #[error("the body is not the one that was signed")]
    DigestMismatch,
}

impl SignatureError {
    /// One of each, for the page that lists them.
    #[must_use]
    pub fn examples() -> Vec<Self> {
        let component = "content-digest";
        let (created_s, now_s) = (1_700_000_000, 1_700_003_600);
        vec![
            Self::HostMalformed,
            Self::HostNotAllowed {
                host: "HOST".into(),
            },
            Self::OriginNotAllowed {
                origin: "ORIGIN".into(),
            },
            Self::Missing,
            Self::TooLarge {
                what: "a header",
                bytes: 9_000,
                max: 8_192,
            },
            Self::Malformed { what: "a header" },
            Self::WrongTag,
            Self::Ambiguous,
            Self::WrongAlgorithm,
            Self::ComponentMissing { component },
            Self::ComponentUnsupported {
                component: "x-other".into(),
            },
            Self::ComponentAbsent { component },
            Self::ParameterMissing { parameter: "nonce" },
            Self::ParameterUnsupported {
                parameter: "x".into(),
            },
            Self::Lifetime { seconds: 3_600 },
            Self::Expired {
                created_s,
                expires_s: created_s + 60,
                now_s,
            },
            Self::ClockSkew {
                created_s: now_s,
                now_s: created_s,
            },
            Self::BeforeStart {
                created_s,
                started_s: now_s,
            },
            Self::KeyMalformed,
            Self::KeyUnknown { key: "KEY".into() },
            Self::Mismatch,
            Self::Replayed,
            Self::TooMany { whose: "this key" },
            Self::DigestMissing,
            Self::DigestMismatch,
        ]
    }

    /// The stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::HostMalformed => "host_malformed",
            Self::HostNotAllowed { .. } => "host_not_allowed",
            Self::OriginNotAllowed { .. } => "origin_not_allowed",
            Self::Missing => "signature_missing",
            Self::TooLarge { .. } => "signature_too_large",
            Self::Malformed { .. } => "signature_malformed",
            Self::WrongTag => "signature_wrong_tag",
            Self::Ambiguous => "signature_ambiguous",
            Self::WrongAlgorithm => "signature_wrong_algorithm",
            Self::ComponentMissing { .. } => "signature_component_missing",
            Self::ComponentUnsupported { .. } => "signature_component_unsupported",
            Self::ComponentAbsent { .. } => "signature_component_absent",
            Self::ParameterMissing { .. } => "signature_parameter_missing",
            Self::ParameterUnsupported { .. } => "signature_parameter_unsupported",
            Self::Lifetime { .. } => "signature_lifetime",
            Self::Expired { .. } => "signature_expired",
            Self::ClockSkew { .. } => "clock_skew",
            Self::BeforeStart { .. } => "signature_before_start",
            Self::KeyMalformed => "key_malformed",
            Self::KeyUnknown { .. } => "key_unknown",
            Self::Mismatch => "signature_mismatch",
            Self::Replayed => "signature_replayed",
            Self::TooMany { .. } => "signature_too_many",
            Self::DigestMissing => "content_digest_missing",
            Self::DigestMismatch => "content_digest_mismatch",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn next_step(&self) -> &'static str {
        match self {
            Self::HostMalformed => "send exactly one Host header, equal to the URL's authority",
            Self::HostNotAllowed { .. } => {
                "use the API address that `allod up` printed, or add this name to the API's hosts"
            }
            Self::OriginNotAllowed { .. } => {
                "open the dashboard at the API's own address, or add this origin to the API's origins"
            }
            Self::Missing => {
                "call through the `allod` command, or sign the request (see the docs on signed requests)"
            }
            Self::TooLarge { .. } => "send a shorter request",
            Self::Malformed { .. }
            | Self::WrongTag
            | Self::Ambiguous
            | Self::WrongAlgorithm
            | Self::ComponentMissing { .. }
            | Self::ComponentUnsupported { .. }
            | Self::ComponentAbsent { .. }
            | Self::ParameterMissing { .. }
            | Self::ParameterUnsupported { .. }
            | Self::Lifetime { .. }
            | Self::KeyMalformed => {
                "sign as the docs on signed requests say; if this is the `allod` command, upgrade it"
            }
            Self::Expired { .. } => {
                "sign again; if it was just signed, the clocks differ: check `timedatectl` on both machines"
            }
            Self::ClockSkew { .. } => {
                "set the clock that is wrong: check `timedatectl` on both machines"
            }
            Self::BeforeStart { .. } => "sign and send the request again",
            Self::KeyUnknown { .. } => {
                "use an identity of this network (`allod identity show`), or have its owner add the key"
            }
            Self::Mismatch => {
                "sign the request as it is sent; a proxy between may have changed its method, host, path or query"
            }
            Self::Replayed => "sign every request anew, with a fresh nonce",
            Self::TooMany { .. } => {
                "wait a minute and send fewer requests, or use the event stream"
            }
            Self::DigestMissing => "send a Content-Digest header with sha-256 and cover it",
            Self::DigestMismatch => {
                "send the body that was signed; a proxy between may have changed it"
            }
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::HostMalformed | Self::Malformed { .. } => StatusCode::BAD_REQUEST,
            Self::HostNotAllowed { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::OriginNotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::UNAUTHORIZED,
        }
    }
}

/// A peer's text, short and printable enough to repeat in an error.
pub(super) fn quoted(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_ascii_graphic() { char } else { '?' })
        .take(QUOTED_CHARS_MAX)
        .collect()
}
