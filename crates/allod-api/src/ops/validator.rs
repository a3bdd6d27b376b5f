//! The machines that decide blocks.

use super::{Access, Answer, Answered, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::shape::{Shape, VALIDATOR};

pub(super) static LIST: Operation = Operation {
    name: "validator.list",
    path: "/v1/validators",
    summary: "The machines that decide blocks, those that wait to, and those that stand for it.",
    access: Access::Member,
    answer: Answer::Json(Shape::List(&Shape::View(&VALIDATOR))),
    ..plain(list)
};

fn list(call: Call) -> Answered {
    Box::pin(async move {
        let node = call.node.clone();
        json(&call.blocking(move || node.validators()).await?)
    })
}
