//! The machines of the network.

use super::{Access, Answer, Answered, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{NODE, Shape};

pub(super) static LIST: Operation = Operation {
    name: "node.list",
    path: "/v1/nodes",
    summary: "All machines: what they give, what is taken, what they ask.",
    access: Access::Member,
    answer: Answer::Json(Shape::List(&Shape::View(&NODE))),
    ..plain(list)
};

fn list(call: Call) -> Answered {
    Box::pin(async move {
        let node = call.node.clone();
        json(&call.blocking(move || node.nodes()).await?)
    })
}
