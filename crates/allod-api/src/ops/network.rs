//! The network, and the node that answers for it.

use http::Response;
use serde::Serialize;

use super::{Access, Answer, Answered, Operation, plain};
use crate::openapi;
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{HEALTH as HEALTH_VIEW, NETWORK, Shape};

pub(super) static HEALTH: Operation = Operation {
    name: "network.health",
    path: "/v1/health",
    summary: "Whether the node answers, and the newest block it knows.",
    access: Access::Public,
    answer: Answer::Json(Shape::View(&HEALTH_VIEW)),
    is_vital: true,
    ..plain(health)
};

pub(super) static OPENAPI: Operation = Operation {
    name: "network.openapi",
    path: "/v1/openapi.json",
    summary: "This document.",
    access: Access::Public,
    answer: Answer::Json(Shape::Any),
    ..plain(document)
};

pub(super) static SHOW: Operation = Operation {
    name: "network.show",
    path: "/v1/network",
    summary: "The network and this node in it.",
    access: Access::Public,
    answer: Answer::Json(Shape::View(&NETWORK)),
    ..plain(show)
};

#[derive(Serialize)]
struct Health {
    status: &'static str,
    height: u64,
}

fn health(call: Call) -> Answered {
    Box::pin(async move {
        json(&Health {
            status: "ok",
            height: call.node.state().tip().height,
        })
    })
}

fn document(_: Call) -> Answered {
    Box::pin(async move {
        json(&openapi::document()).map(|response: Response<axum::body::Body>| response)
    })
}

fn show(call: Call) -> Answered {
    Box::pin(async move { json(&call.node.network()) })
}
