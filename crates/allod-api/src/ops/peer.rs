//! The other machines, as this one reaches them.

use super::{Access, Answer, Answered, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{PEER, Shape};

pub(super) static LIST: Operation = Operation {
    name: "peer.list",
    path: "/v1/peers",
    summary: "The machines that this node has spoken to, by which way, and what was wrong.",
    access: Access::Member,
    answer: Answer::Json(Shape::List(&Shape::View(&PEER))),
    ..plain(list)
};

fn list(call: Call) -> Answered {
    Box::pin(async move {
        let node = call.node.clone();
        json(&call.blocking(move || node.peers()).await?)
    })
}
