//! Why a request got no answer from a service, in words and with the service's last log lines.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::time::timeout;

use crate::ingress::page::Problem;
use crate::ingress::routes::{HostName, Route};
use crate::ingress::upstream::SendError;
use crate::limits::LOG_TAIL_TIMEOUT;

/// No route has this name.
pub(crate) fn unknown_host(host: &HostName) -> Problem {
    Problem {
        cause: format!("No app here answers to the name {}.", host.as_str()),
        next_step: "Check the spelling; `allod status` prints the address of each of your apps."
            .into(),
        ..Problem::new(
            StatusCode::NOT_FOUND,
            "unknown_host",
            "There is no such app here",
        )
    }
}

/// Nobody has said yet which names there are.
pub(crate) fn starting() -> Problem {
    Problem {
        cause: "This node has just started, and does not know its apps yet.".into(),
        next_step: "Try again in a moment; the apps themselves run on.".into(),
        retry_after_s: Some(1),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "node_starting",
            "This node is starting",
        )
    }
}

/// No replica is ready.
pub(crate) async fn not_ready(route: &Arc<Route>) -> Problem {
    let retry_after_s = if route.outage.is_starting { 2 } else { 10 };
    Problem {
        cause: route.outage.cause.clone(),
        next_step: route.outage.next_step.clone(),
        about: Some(route.key.clone()),
        since: Some(route.outage.since),
        log: last_lines(route).await,
        retry_after_s: Some(retry_after_s),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_ready_replica",
            &format!("{} has no ready replica", route.key),
        )
    }
}

/// All ready replicas are at their limit.
pub(crate) fn busy(route: &Arc<Route>) -> Problem {
    Problem {
        cause: "Every ready replica has as many open requests as it may have.".into(),
        next_step: format!("Try again, or add replicas: allod scale {} N", route.key),
        about: Some(route.key.clone()),
        retry_after_s: Some(1),
        ..Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "replicas_busy",
            &format!("{} is at its limit", route.key),
        )
    }
}

/// A replica switched protocols by itself.
pub(crate) fn unasked_upgrade(route: &Arc<Route>) -> Problem {
    Problem {
        cause: "The replica changed the protocol although nobody had asked for that.".into(),
        next_step: format!("See its log: allod logs {}", route.key),
        about: Some(route.key.clone()),
        ..Problem::new(
            StatusCode::BAD_GATEWAY,
            "backend_failed",
            "A replica answered wrongly",
        )
    }
}

/// A ready replica gave no answer: 502, 504, or 400/408 when the client's own body was the reason; 503 where as many
/// connections lead to it as may.
pub(crate) async fn no_answer(route: &Arc<Route>, error: &SendError) -> Problem {
    if error.is_busy() {
        return busy(route);
    }
    let (status, code, title) = match error {
        SendError::Connect(..) => (
            StatusCode::BAD_GATEWAY,
            "backend_unreachable",
            "A replica could not be reached",
        ),
        SendError::Late(..) => (
            StatusCode::GATEWAY_TIMEOUT,
            "backend_late",
            "A replica took too long to answer",
        ),
        SendError::Broken(_, reason) if reason.is_user() => (
            StatusCode::BAD_REQUEST,
            "body_broken",
            "The request body did not arrive whole",
        ),
        SendError::Broken(..) => (
            StatusCode::BAD_GATEWAY,
            "backend_failed",
            "A replica broke off",
        ),
    };
    let is_clients_fault = status == StatusCode::BAD_REQUEST;
    Problem {
        cause: cause_of(error),
        next_step: if is_clients_fault {
            "Send the request again.".into()
        } else if error.is_elsewhere() {
            "It runs on another machine; see how that one is reached: allod network peers".into()
        } else {
            format!("See its log: allod logs {}", route.key)
        },
        about: Some(route.key.clone()),
        log: if is_clients_fault {
            Vec::new()
        } else {
            last_lines(route).await
        },
        retry_after_s: (!is_clients_fault).then_some(2),
        is_closing: is_clients_fault,
        ..Problem::new(status, code, title)
    }
}

/// The service's last log lines, if they come in time.
async fn last_lines(route: &Route) -> Vec<String> {
    let tail = route.log_tail.clone();
    let reading = tokio::task::spawn_blocking(move || tail.lines());
    let read = timeout(LOG_TAIL_TIMEOUT, reading).await;
    read.ok().and_then(Result::ok).unwrap_or_default()
}

/// Says which replica failed and how, without the addresses of the network inside.
fn cause_of(error: &SendError) -> String {
    let spoken = |wait: &Duration| format!("{} s", wait.as_secs());
    match error {
        SendError::Connect(id, reason) => {
            format!(
                "Replica {} did not accept a connection: {}.",
                id.replica,
                reason.kind()
            )
        }
        SendError::Late(id, wait) => {
            format!(
                "Replica {} had sent no answer after {}.",
                id.replica,
                spoken(wait)
            )
        }
        SendError::Broken(_, reason) if reason.is_user() => {
            "The body of the request broke off, stalled or was malformed.".into()
        }
        SendError::Broken(id, reason) => {
            format!(
                "Replica {} closed the connection before its answer: {reason}.",
                id.replica
            )
        }
    }
}
