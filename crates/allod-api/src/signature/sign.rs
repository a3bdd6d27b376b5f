//! Signing a request, as the client does.

use allod_node::identity::Identity;
use allod_state::AccountId;
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::base::{component, signature_base};
use super::digest::{self, CONTENT_DIGEST};
use super::door::Scheme;
use super::limits::LIFETIME_S;
use super::profile::{self, ALWAYS, IF_PRESENT, LABEL, SIGNATURE, SIGNATURE_INPUT, Terms};

const NONCE_RANDOM_BYTES: usize = 16;

/// Why a request could not be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A covered part is missing or not ASCII.
    #[error(
        "cannot sign the request: it has no usable `{component}`; give it an absolute URL and plain headers"
    )]
    Component {
        /// Which.
        component: &'static str,
    },
    /// The time is none that a signature can hold.
    #[error("cannot sign the request: the clock says {now_s} (unix seconds); set it right")]
    Clock {
        /// What the clock says.
        now_s: u64,
    },
    /// The system gave no random bytes.
    #[error("cannot sign the request: the system gave no random bytes")]
    Random,
}

/// Signs the request with `body`, in place of any signature it has. `now_s` is the clock in unix seconds.
///
/// # Errors
/// Where the request names no host, or a covered header is not ASCII.
pub fn sign(
    parts: &mut Parts,
    body: &[u8],
    identity: &Identity,
    now_s: u64,
) -> Result<(), SignError> {
    let sha256 = (!body.is_empty()).then(|| digest::sha256(body));
    sign_for(parts, sha256, identity, identity.account(), now_s)
}

/// The same for a body known by its SHA-256, where there is one, and for an account that is not the identity's own guess;
/// nothing where the API is to find it by the key.
pub(crate) fn sign_for(
    parts: &mut Parts,
    sha256: Option<[u8; 32]>,
    identity: &Identity,
    account: Option<AccountId>,
    now_s: u64,
) -> Result<(), SignError> {
    let mut random = [0; NONCE_RANDOM_BYTES];
    getrandom::fill(&mut random).map_err(|_| SignError::Random)?;
    let nonce = data_encoding::BASE64URL_NOPAD.encode(&random);
    let signer = Signer { identity, account };
    sign_promised(parts, sha256, &signer, now_s, &nonce)
}

/// A key and the account that it says it acts for.
pub(super) struct Signer<'a> {
    pub(super) identity: &'a Identity,
    pub(super) account: Option<AccountId>,
}

#[cfg(test)]
pub(super) fn sign_with_nonce(
    parts: &mut Parts,
    body: &[u8],
    signer: &Signer<'_>,
    now_s: u64,
    nonce: &str,
) -> Result<(), SignError> {
    let sha256 = (!body.is_empty()).then(|| digest::sha256(body));
    sign_promised(parts, sha256, signer, now_s, nonce)
}

fn sign_promised(
    parts: &mut Parts,
    sha256: Option<[u8; 32]>,
    signer: &Signer<'_>,
    now_s: u64,
    nonce: &str,
) -> Result<(), SignError> {
    let scheme = match parts.uri.scheme_str() {
        Some("https") => Scheme::Https,
        _ => Scheme::Http,
    };
    parts.headers.remove(CONTENT_DIGEST);
    if let Some(sha256) = sha256 {
        insert(parts, CONTENT_DIGEST, &digest::of(&sha256));
    }
    let present = IF_PRESENT
        .iter()
        .filter(|name| parts.headers.contains_key(**name));
    let components: Vec<&'static str> = ALWAYS.iter().chain(present).copied().collect();
    let parameters = Terms {
        components: &components,
        created_s: now_s,
        expires_s: now_s.saturating_add(LIFETIME_S),
        nonce,
        key_id: &profile::key_id(&signer.identity.public_key(), signer.account),
    }
    .parameters()
    .ok_or(SignError::Clock { now_s })?;
    let values = components
        .iter()
        .map(|name| {
            let value = component(parts, scheme, name);
            value
                .map(|value| (*name, value))
                .ok_or(SignError::Component { component: name })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let allod_state::Signature::Ed25519(signature) = signer
        .identity
        .sign(signature_base(values, &parameters).as_bytes());
    let signature = data_encoding::BASE64.encode(&signature);
    insert(parts, SIGNATURE_INPUT, &format!("{LABEL}={parameters}"));
    insert(parts, SIGNATURE, &format!("{LABEL}=:{signature}:"));
    Ok(())
}

fn insert(parts: &mut Parts, name: &'static str, value: &str) {
    let value = HeaderValue::from_str(value).expect("structured fields are ASCII");
    parts.headers.insert(HeaderName::from_static(name), value);
}
