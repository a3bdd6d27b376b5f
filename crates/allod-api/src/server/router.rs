//! From a path and a method to an operation, and from its outcome to an answer.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::routing::{MethodFilter, on};
use futures_util::FutureExt;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tracing::{debug, error};

use super::call::{Call, Payload, Query};
use super::gate;
use super::problem::Problem;
use super::shared::Shared;
use crate::ops::{Method, OPERATIONS, Operation};

/// The newest block that the node knew when it answered.
const HEIGHT: HeaderName = HeaderName::from_static("allod-height");

/// The routes of all operations.
pub(super) fn of(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for operation in OPERATIONS {
        let shared = Arc::clone(&shared);
        let answer = move |request: Request| {
            let shared = Arc::clone(&shared);
            async move { finished(&shared, checked(&shared, operation, request).await) }
        };
        router = router.route(operation.path, on(filter(operation.method), answer));
    }
    let known = Arc::clone(&shared);
    router
        .method_not_allowed_fallback(move |request: Request| {
            let shared = Arc::clone(&known);
            async move { finished(&shared, Err(no_method(&shared, request))) }
        })
        .fallback(move |request: Request| {
            let shared = Arc::clone(&shared);
            async move { finished(&shared, Err(no_path(&shared, request))) }
        })
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// Answers within the operation's time. A defect in a handler ends its request and nothing else.
async fn checked(
    shared: &Arc<Shared>,
    operation: &'static Operation,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let work = AssertUnwindSafe(answer(shared, operation, request)).catch_unwind();
    match tokio::time::timeout(operation.timeout, work).await {
        Err(_) => Err(Problem::timed_out(operation.name)),
        Ok(Err(_)) => {
            error!(
                operation = operation.name,
                "an operation broke off because of a defect"
            );
            Err(Problem::internal(
                "the operation broke off because of a defect",
            ))
        }
        Ok(Ok(outcome)) => outcome,
    }
}

async fn answer(
    shared: &Arc<Shared>,
    operation: &'static Operation,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let (mut parts, body) = request.into_parts();
    let entry = gate::admit(shared, operation, &parts)?;
    let query = Query::read(parts.uri.query().unwrap_or_default(), operation.query)?;
    let path = path(&mut parts).await?;
    let _turn = shared.turn().await?;
    let (caller, head) = entry.into_parts();
    let payload: Payload = gate::payload(operation.input, head, &parts, body).await?;
    let call = Call {
        node: shared.node.clone(),
        shared: Arc::clone(shared),
        headers: parts.headers,
        extensions: parts.extensions,
        query,
        path,
        caller,
        payload,
    };
    (operation.handler)(call).await
}

async fn path(parts: &mut http::request::Parts) -> Result<Vec<(String, String)>, Problem> {
    let found = RawPathParams::from_request_parts(parts, &()).await;
    let found =
        found.map_err(|_| Problem::malformed("the path is not UTF-8 once it is decoded"))?;
    Ok(found
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn finished(
    shared: &Shared,
    outcome: Result<Response<Body>, Problem>,
) -> Result<Response<Body>, Infallible> {
    let mut response = outcome.unwrap_or_else(|problem| {
        debug!(status = problem.status().as_u16(), "a request was refused");
        let is_unread = matches!(
            problem.status(),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        );
        let mut response = problem.into_response();
        if is_unread {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        response
    });
    let height = shared.node.state().tip().height;
    let headers = response.headers_mut();
    headers.insert(HEIGHT, HeaderValue::from(height));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

fn no_path(shared: &Shared, request: Request) -> Problem {
    let (parts, _) = request.into_parts();
    if let Err(refused) = shared.verifier.door().check(&parts) {
        return refused.into();
    }
    Problem::new(
        StatusCode::NOT_FOUND,
        "unknown-path",
        "there is nothing at this path",
        "see what there is: GET /v1/openapi.json",
    )
}

fn no_method(shared: &Shared, request: Request) -> Problem {
    let (parts, _) = request.into_parts();
    if let Err(refused) = shared.verifier.door().check(&parts) {
        return refused.into();
    }
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        format!("{} is not possible here", parts.method),
        format!("use a method that the header `{ALLOW}` names"),
    )
}
