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
use http::{HeaderValue, Response, StatusCode};
use tracing::{debug, error};

use super::call::{Call, Payload, Query};
use super::gate;
use super::held::Held;
use super::onward::Asked;
use super::problem::{HEIGHT, Problem};
use super::seats::{Seat, Standing};
use super::shared::Shared;
use crate::ops::{Method, OPERATIONS, Operation};
use crate::signature::PassedOn;

/// The routes of all operations.
pub(super) fn of(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for operation in OPERATIONS {
        let shared = Arc::clone(&shared);
        let answer = move |request: Request| {
            let shared = Arc::clone(&shared);
            async move {
                let seat = seat_of(&request);
                let outcome = checked(&shared, operation, request, &seat).await;
                finished(&shared, outcome, &seat)
            }
        };
        router = router.route(operation.path, on(filter(operation.method), answer));
    }
    let known = Arc::clone(&shared);
    router
        .method_not_allowed_fallback(move |request: Request| {
            let shared = Arc::clone(&known);
            async move {
                let seat = seat_of(&request);
                finished(&shared, Err(no_method(&shared, request)), &seat)
            }
        })
        .fallback(move |request: Request| {
            let shared = Arc::clone(&shared);
            async move {
                let seat = seat_of(&request);
                finished(&shared, Err(no_path(&shared, request)), &seat)
            }
        })
}

/// The seat of the connection that a request came on.
fn seat_of(request: &Request) -> Arc<Seat> {
    let seat = request.extensions().get::<Arc<Seat>>();
    Arc::clone(seat.expect("the accept loop gives each request its connection's seat"))
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
    seat: &Arc<Seat>,
) -> Result<Response<Body>, Problem> {
    let work = AssertUnwindSafe(answer(shared, operation, request, seat)).catch_unwind();
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
    seat: &Arc<Seat>,
) -> Result<Response<Body>, Problem> {
    let (mut parts, body) = request.into_parts();
    let asked = Asked {
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        is_passed_on: parts.extensions.get::<PassedOn>().is_some(),
    };
    if asked.is_passed_on && !operation.is_passed_on {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not-passed-on",
            format!(
                "`{}` is not answered through another machine",
                operation.name
            ),
            "ask this machine's own API",
        ));
    }
    let entry = gate::admit(shared, operation, &parts, seat)?;
    let query = Query::read(parts.uri.query().unwrap_or_default(), operation.query)?;
    let path = path(&mut parts).await?;
    let standing = seat.standing();
    let is_stranger = standing == Standing::Stranger;
    let must_take_turn = is_stranger && !operation.is_vital;
    // Not held while the body comes, which may take its time, but no body is read in vain either.
    drop(must_take_turn.then(|| shared.stranger_turn()).transpose()?);
    // A stranger who still owes us bytes can be asked to make room; whoever is proven has a share of its own.
    let busy = (!is_stranger).then(|| seat.busy());
    let (caller, head) = entry.into_parts();
    let room = shared.node.file(".");
    let payload: Payload = gate::payload(operation.input, head, &parts, body, &room).await?;
    let busy = busy.unwrap_or_else(|| seat.busy());
    let _turn = must_take_turn.then(|| shared.stranger_turn()).transpose()?;
    let call = Call {
        node: shared.node.clone(),
        shared: Arc::clone(shared),
        asked,
        headers: parts.headers,
        extensions: parts.extensions,
        query,
        path,
        caller,
        standing,
        payload,
    };
    let response = (operation.handler)(call).await?;
    Ok(response.map(|body| Held::body(body, busy)))
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
    seat: &Seat,
) -> Result<Response<Body>, Infallible> {
    let is_stranger = seat.standing() == Standing::Stranger;
    let mut response = outcome.unwrap_or_else(|problem| {
        debug!(status = problem.status().as_u16(), "a request was refused");
        let is_unread = matches!(
            problem.status(),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        );
        let mut response = problem.into_response();
        // Nobody who is unknown gets to be refused at the speed of a connection that is open already.
        if is_unread || is_stranger {
            close(&mut response);
        }
        response
    });
    if is_stranger && response.status().is_success() && seat.is_crowded() {
        close(&mut response);
    }
    let height = shared.node.state().tip().height;
    let headers = response.headers_mut();
    headers.insert(HEIGHT, HeaderValue::from(height));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

fn close(response: &mut Response<Body>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
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
