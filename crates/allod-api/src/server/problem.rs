//! What a caller reads when something is refused: RFC 9457, with a stable code and the next step.

use std::borrow::Cow;

use allod_node::{KeepManifestError, Refusal, SubmitError, view};
use allod_state::Rejection;
use axum::body::Body;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::signature::SignatureError;

const MEDIA_TYPE: &str = "application/problem+json";

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(Box<Content>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Content {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    code: Cow<'static, str>,
    next_step: Cow<'static, str>,
    /// The law's stable number, where the law refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u8>,
    /// The transaction that a block holds although it changed nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction: Option<String>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        next_step: impl Into<Cow<'static, str>>,
    ) -> Self {
        let code = code.into();
        Self(Box::new(Content {
            kind: format!("urn:allod:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Refused"),
            status,
            detail: detail.into(),
            code,
            next_step: next_step.into(),
            number: None,
            transaction: None,
            retry_after_s: None,
        }))
    }

    /// Something in the query, the path or the body that cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        let next = "correct the request; `GET /v1/openapi.json` says what is read";
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail, next)
    }

    /// The key may not do this, whatever it is about.
    pub(crate) fn verb_not_granted(verbs: &str) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "verb-not-granted",
            format!("the signing key's grant does not hold the verb {verbs}"),
            "ask the account's owner for a key with that verb: allod keys add --verbs",
        )
    }

    /// The key may do this, but not to that.
    pub(crate) fn resource_not_granted() -> Self {
        let rejection = Rejection::ResourceNotGranted;
        Self::of_rejection(&view::Rejection::from(&rejection))
    }

    pub(crate) fn busy(code: &'static str, detail: &'static str) -> Self {
        let next = "try again in a moment";
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail, next).retry_after(1)
    }

    pub(crate) fn internal(detail: impl Into<String>) -> Self {
        let next = "read the node's log; it says what happened";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail, next)
    }

    pub(crate) fn too_large(bytes_max: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body is longer than {bytes_max} bytes"),
            "send less at a time",
        )
    }

    pub(crate) fn timed_out(what: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            format!("{what} took too long"),
            "try again; if it stays so, read the node's log",
        )
    }

    /// The law's refusal, before or in a block.
    pub(crate) fn of_rejection(rejection: &view::Rejection) -> Self {
        let mut problem = Self::new(
            status_of(&rejection.name),
            rejection.name.clone(),
            rejection.text.clone(),
            rejection.next_step.clone(),
        );
        problem.0.number = Some(rejection.code);
        problem
    }

    /// A refusal that a block holds.
    pub(crate) fn of_receipt(receipt: &view::Receipt, rejection: &view::Rejection) -> Self {
        let mut problem = Self::of_rejection(rejection);
        problem.0.transaction = Some(receipt.transaction.to_string());
        problem
    }

    /// Says when it may be worth coming again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    pub(crate) const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The whole answer as it goes over a wire that is closed after it, for whom no request is read.
    pub(crate) fn written(&self, height: u64) -> Vec<u8> {
        let body = serde_json::to_string(&self.0).unwrap_or_default();
        let (status, length) = (self.0.status, body.len());
        let retry_after = self
            .0
            .retry_after_s
            .map(|seconds| format!("retry-after: {seconds}\r\n"));
        let retry_after = retry_after.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {length}\r\n{retry_after}\
             connection: close\r\n{HEIGHT}: {height}\r\nx-content-type-options: nosniff\r\n\
             cache-control: no-store\r\n\r\n"
        );
        [head, body].concat().into_bytes()
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let text = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = self.0.status;
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static(MEDIA_TYPE);
        headers.insert(CONTENT_TYPE, kind);
        if let Some(seconds) = self.0.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The header of every answer that says which block was the newest when it was written.
pub(crate) const HEIGHT: HeaderName = HeaderName::from_static("allod-height");

/// The status that goes with each of the law's refusals.
pub(crate) fn status_of(name: &str) -> StatusCode {
    match name {
        "insufficient-credit" => StatusCode::PAYMENT_REQUIRED,
        "unknown-key"
        | "expired-key"
        | "verb-not-granted"
        | "resource-not-granted"
        | "budget-exceeded"
        | "not-your-node"
        | "not-a-validator"
        | "not-your-app" => StatusCode::FORBIDDEN,
        "unknown-account" | "unknown-node" | "unknown-app" | "unknown-service"
        | "unknown-revision" | "unknown-lease" | "unknown-volume" => StatusCode::NOT_FOUND,
        "wrong-nonce" | "stale-lease" | "plan-changed" | "key-exists" | "last-key"
        | "last-validator" | "not-standing" | "volume-in-use" | "expired" => StatusCode::CONFLICT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

impl From<SignatureError> for Problem {
    fn from(error: SignatureError) -> Self {
        let problem = Self::new(
            error.status(),
            error.code(),
            error.to_string(),
            error.next_step(),
        );
        match error {
            SignatureError::TooMany { .. } => problem.retry_after(60),
            _ => problem,
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::BadSignature => Self::new(
                StatusCode::UNAUTHORIZED,
                "bad-signature",
                detail,
                "sign the transaction with the key that it names",
            ),
            SubmitError::Refused(refusal) => refused(&refusal, detail),
            SubmitError::Busy { retry_after_ms } => full(detail, retry_after_ms),
            SubmitError::Stopped => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                detail,
                "send the very same transaction again: it takes effect once",
            ),
            SubmitError::Store(_) => Self::internal(detail),
        }
    }
}

fn refused(refusal: &Refusal, detail: String) -> Problem {
    match refusal {
        Refusal::Rejected(rejection) => Problem::of_rejection(&view::Rejection::from(rejection)),
        Refusal::Full { retry_after_ms } => full(detail, *retry_after_ms),
        Refusal::KeyFull { .. } | Refusal::AccountFull { .. } => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            if matches!(refusal, Refusal::KeyFull { .. }) {
                "key-full"
            } else {
                "account-full"
            },
            detail,
            "wait for one of its transactions before sending more",
        )
        .retry_after(1),
        Refusal::Gap { .. } | Refusal::NonceTaken { .. } => Problem::new(
            StatusCode::CONFLICT,
            "wrong-nonce",
            detail,
            "read the key's nonce again and sign again",
        ),
        Refusal::ReadOnly => Problem::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "read-only",
            detail,
            "free some disk on the node; it goes on by itself",
        ),
    }
}

fn full(detail: String, retry_after_ms: u64) -> Problem {
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "mempool-full",
        detail,
        "send the same transaction again a moment later",
    )
    .retry_after(retry_after_ms.div_ceil(1_000))
}

impl From<KeepManifestError> for Problem {
    fn from(error: KeepManifestError) -> Self {
        match error {
            KeepManifestError::TooLarge { .. } => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "manifest-too-large",
                error.to_string(),
                "make the app's files and variables smaller",
            ),
            KeepManifestError::Write { .. } => Self::internal(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
