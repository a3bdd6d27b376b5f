//! Answers that are not streams.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::problem::Problem;

/// One JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Problem::internal(format!("the answer could not be written: {error}")))?;
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// Done, and nothing to say.
pub(crate) fn nothing() -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
