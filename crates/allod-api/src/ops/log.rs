//! What replicas wrote.

use allod_node::WorkloadError;
use allod_state::account::grant::Verb;
use http::StatusCode;

use super::{Access, Answer, Answered, Operation, Parameter, parameter, plain};
use crate::limits::{TAIL_DEFAULT, TAIL_MAX};
use crate::server::call::Call;
use crate::server::merge::Kind;
use crate::server::onward;
use crate::server::problem::Problem;
use crate::server::stream;
use crate::shape::{LOG_LINE, Shape};

const QUERY: &[Parameter] = &[
    parameter("service", Shape::Text, "Only of this service."),
    parameter("replica", Shape::Count, "Only of this replica."),
    parameter(
        "tail",
        Shape::Count,
        "About so many of the last lines of each replica; 1000 where absent.",
    ),
    parameter(
        "follow",
        Shape::Flag,
        "Whether to go on with what is yet to be written; `false` where absent.",
    ),
];

pub(super) static READ: Operation = Operation {
    name: "log.read",
    path: "/v1/apps/{app}/logs",
    summary: "What the replicas of an app wrote, on this machine and on others. The header `allod-missing` names machines \
              that could not be asked.",
    access: Access::Granted(&[Verb::Read]),
    query: QUERY,
    answer: Answer::LinesOrEvents(Shape::View(&LOG_LINE)),
    is_passed_on: true,
    ..plain(read)
};

fn read(call: Call) -> Answered {
    Box::pin(async move {
        let app = call.app()?;
        let account = call.caller()?.account;
        let which = super::exec::which(&call.query)?;
        let tail = call.query.count("tail", TAIL_DEFAULT, TAIL_MAX)?;
        let follows = call.query.flag("follow")?;
        let node = call.node.clone();
        let others = node.elsewhere(&account, &app.to_string(), &which);
        let is_here = node.has_running(&account, &app.to_string(), &which);
        let reader = call
            .blocking(move || node.logs(&account, &app.to_string(), &which, tail))
            .await?
            .map_err(unreachable)?;
        let (own, kind) = if follows {
            (stream::follow_logs(&call, reader)?, Kind::Events)
        } else {
            (stream::logs(&call, reader)?, Kind::Lines)
        };
        if call.asked.is_passed_on || others.is_empty() {
            return Ok(own);
        }
        onward::lines(&call, own, is_here, others, kind).await
    })
}

/// Why a replica cannot be reached, as callers read it.
pub(super) fn unreachable(error: WorkloadError) -> Problem {
    let detail = error.to_string();
    let (status, code, next) = match error {
        WorkloadError::NoApp(_) => (
            StatusCode::NOT_FOUND,
            "unknown-app",
            "list apps: allod status",
        ),
        WorkloadError::NoService(_) => (
            StatusCode::NOT_FOUND,
            "unknown-service",
            "list its services: allod status",
        ),
        WorkloadError::NotRunning => (
            StatusCode::CONFLICT,
            "not-running",
            "see why, and on which node it should run: allod status",
        ),
        WorkloadError::Elsewhere { .. } => (
            StatusCode::CONFLICT,
            "elsewhere",
            "ask again in a moment: it has just moved",
        ),
        WorkloadError::Ambiguous { .. } => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "ambiguous",
            "name one of them in full: APP/SERVICE",
        ),
        WorkloadError::Runtime(_) => (
            StatusCode::BAD_GATEWAY,
            "runtime",
            "correct the command, or see whether the replica runs: allod status",
        ),
        WorkloadError::Stopping => (
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "start it: allod up",
        ),
    };
    Problem::new(status, code, detail, next)
}
