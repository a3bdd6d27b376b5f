//! What an account takes along when it leaves.

use allod_state::account::grant::Verb;

use super::{Access, Answer, Answered, Operation, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{BELONGINGS, Shape};

pub(super) static SHOW: Operation = Operation {
    name: "export.show",
    path: "/v1/export",
    summary: "Everything that the ledger holds of the signer's account, with proofs.",
    access: Access::Granted(&[Verb::Read]),
    answer: Answer::Json(Shape::View(&BELONGINGS)),
    ..plain(show)
};

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let caller = call.caller()?;
        caller.must_cover_all()?;
        let (account, node) = (caller.account, call.node.clone());
        let all = call.blocking(move || node.belongings(&account)).await?;
        let unproved =
            |error| Problem::internal(format!("what there is could not be proved: {error}"));
        json(&all.map_err(unproved)?)
    })
}
