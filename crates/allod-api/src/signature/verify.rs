//! Verifying a request, as the node does.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use allod_state::{AccountId, PublicKey, Signature};
use http::request::Parts;

use super::base::{component, header_bytes, signature_base};
use super::digest;
use super::door::Door;
use super::error::SignatureError;
use super::limits::{COMPONENT_BYTES_MAX, LIFETIME_S_MAX, SKEW_S_MAX, TARGET_BYTES_MAX};
use super::profile::{Claim, IF_PRESENT};
use super::replay::{Replay, Share};

/// Lets signed requests in, each once.
#[derive(Debug)]
pub struct Verifier {
    door: Door,
    started_s: u64,
    replay: Mutex<Replay>,
}

/// Who signed a request. What the key may do is the caller's next question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// The key that signed.
    pub key: PublicKey,
    /// The account it says it acts for; to be checked against the state, where the key must be one of that account's.
    pub account: Option<AccountId>,
}

/// A request whose head is verified and whose body is still to come.
#[derive(Debug)]
#[must_use = "the body must be checked before the request is believed"]
pub struct Head {
    verified: Verified,
    digest: Option<[u8; 32]>,
}

impl Head {
    /// Who signed the head.
    #[must_use]
    pub const fn signer(&self) -> Verified {
        self.verified
    }

    /// Checks the body: it must be the signed one, or empty where none was signed.
    ///
    /// # Errors
    /// Where it is another body.
    pub fn with_body(self, body: &[u8]) -> Result<Verified, SignatureError> {
        digest::check(self.digest, body).map(|()| self.verified)
    }

    /// Checks a body that was not kept in memory, by its SHA-256.
    ///
    /// # Errors
    /// Where it is another body, or none was signed.
    pub fn with_sha256(self, sha256: [u8; 32]) -> Result<Verified, SignatureError> {
        match self.digest {
            None => Err(SignatureError::DigestMissing),
            Some(promised) if promised == sha256 => Ok(self.verified),
            Some(_) => Err(SignatureError::DigestMismatch),
        }
    }
}

impl Verifier {
    /// Starts with an empty memory of nonces, so nothing signed before `started_s` (unix seconds) is let in.
    #[must_use]
    pub fn new(door: Door, started_s: u64) -> Self {
        Self {
            door,
            started_s,
            replay: Mutex::default(),
        }
    }

    /// Keeps the nonces in use in a file, so that the next process knows them.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub fn with_journal(self, path: PathBuf, now_s: u64) -> io::Result<Self> {
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        replay.continue_in(path, now_s)?;
        drop(replay);
        Ok(self)
    }

    /// The hosts and origins that are let in; for unsigned routes.
    #[must_use]
    pub const fn door(&self) -> &Door {
        &self.door
    }

    /// Verifies a whole request. `is_known` says whether that account has the key.
    ///
    /// # Errors
    /// The first reason why it is not let in.
    pub fn verify(
        &self,
        parts: &Parts,
        body: &[u8],
        now_s: u64,
        is_known: impl FnOnce(&Verified) -> bool,
    ) -> Result<Verified, SignatureError> {
        self.verify_head(parts, now_s, is_known)?.with_body(body)
    }

    /// Verifies all but the body, so that a stranger's body is never read. Uses the nonce up.
    ///
    /// # Errors
    /// The first reason why it is not let in.
    pub fn verify_head(
        &self,
        parts: &Parts,
        now_s: u64,
        is_known: impl FnOnce(&Verified) -> bool,
    ) -> Result<Head, SignatureError> {
        self.verify_head_of(parts, now_s, |verified| {
            let account = verified.account;
            let account = account.unwrap_or_else(|| AccountId::of_first_key(&verified.key));
            is_known(verified).then_some(Share::Account(account))
        })
    }

    /// The same where it is known whose share of the memory the nonce takes; `share_of` has none for an unknown key.
    ///
    /// # Errors
    /// The first reason why it is not let in.
    pub fn verify_head_of(
        &self,
        parts: &Parts,
        now_s: u64,
        share_of: impl FnOnce(&Verified) -> Option<Share>,
    ) -> Result<Head, SignatureError> {
        self.door.check(parts)?;
        check_sizes(parts)?;
        let claim = Claim::read(&parts.headers)?;
        self.check_times(&claim, now_s)?;
        let verified = Verified {
            key: claim.key,
            account: claim.account,
        };
        let share = share_of(&verified).ok_or_else(|| SignatureError::KeyUnknown {
            key: claim.key.to_string(),
        })?;
        self.check_signature(parts, &claim)?;
        let digest = digest::promised(&parts.headers)?;
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        replay.claim((share, claim.key), &claim.nonce, claim.expires_s, now_s)?;
        drop(replay);
        Ok(Head { verified, digest })
    }

    fn check_times(&self, claim: &Claim, now_s: u64) -> Result<(), SignatureError> {
        let (created_s, expires_s) = (claim.created_s, claim.expires_s);
        match expires_s.checked_sub(created_s) {
            Some(1..=LIFETIME_S_MAX) => {}
            _ => {
                // Structured fields hold 15 digits, so both fit.
                let seconds = expires_s
                    .cast_signed()
                    .saturating_sub(created_s.cast_signed());
                return Err(SignatureError::Lifetime { seconds });
            }
        }
        if created_s > now_s.saturating_add(SKEW_S_MAX) {
            return Err(SignatureError::ClockSkew { created_s, now_s });
        }
        if now_s >= expires_s {
            return Err(SignatureError::Expired {
                created_s,
                expires_s,
                now_s,
            });
        }
        if created_s < self.started_s {
            let started_s = self.started_s;
            return Err(SignatureError::BeforeStart {
                created_s,
                started_s,
            });
        }
        Ok(())
    }

    fn check_signature(&self, parts: &Parts, claim: &Claim) -> Result<(), SignatureError> {
        let uncovered = IF_PRESENT
            .iter()
            .find(|name| parts.headers.contains_key(**name) && !claim.components.contains(*name));
        if let Some(component) = uncovered {
            return Err(SignatureError::ComponentMissing { component });
        }
        let values = claim
            .components
            .iter()
            .map(|name| {
                let value = component(parts, self.door.scheme(), name);
                value
                    .map(|value| (*name, value))
                    .ok_or(SignatureError::ComponentAbsent { component: name })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let base = signature_base(values, &claim.parameters);
        claim
            .key
            .verify(base.as_bytes(), &Signature::Ed25519(claim.signature))
            .map_err(|_| SignatureError::Mismatch)
    }
}

fn check_sizes(parts: &Parts) -> Result<(), SignatureError> {
    let target = parts.uri.path().len() + parts.uri.query().map_or(0, str::len);
    if target > TARGET_BYTES_MAX {
        let max = TARGET_BYTES_MAX;
        return Err(SignatureError::TooLarge {
            what: "the path and query",
            bytes: target,
            max,
        });
    }
    for (name, what) in [
        ("content-digest", "Content-Digest"),
        ("idempotency-key", "Idempotency-Key"),
        ("content-type", "Content-Type"),
    ] {
        let bytes = header_bytes(&parts.headers, name);
        if bytes > COMPONENT_BYTES_MAX {
            return Err(SignatureError::TooLarge {
                what,
                bytes,
                max: COMPONENT_BYTES_MAX,
            });
        }
    }
    Ok(())
}
