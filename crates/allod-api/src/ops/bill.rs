//! Bills, and what it takes to recompute them.

use allod_state::AccountId;
use allod_state::account::grant::Verb;

use super::{Access, Answer, Answered, Operation, Parameter, parameter, plain};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::problem::Problem;
use crate::shape::{BILL, BILL_PROOF, Shape};

const MONTH: &[Parameter] = &[Parameter {
    is_required: true,
    ..parameter("month", Shape::Count, "The month in UTC, as `yyyymm`.")
}];

pub(super) static SHOW: Operation = Operation {
    name: "bill.show",
    path: "/v1/bill",
    summary: "What the signer's account pays for a month, lease by lease.",
    access: Access::Granted(&[Verb::Read]),
    query: MONTH,
    answer: Answer::Json(Shape::View(&BILL)),
    ..plain(show)
};

pub(super) static PROVE: Operation = Operation {
    name: "bill.prove",
    path: "/v1/bill/proof",
    summary: "Everything needed to recompute that bill without trusting this node.",
    access: Access::Granted(&[Verb::Read]),
    query: MONTH,
    answer: Answer::Json(Shape::View(&BILL_PROOF)),
    ..plain(prove)
};

fn show(call: Call) -> Answered {
    Box::pin(async move {
        let (payer, month) = asked(&call)?;
        let node = call.node.clone();
        json(&call.blocking(move || node.bill(&payer, month)).await?)
    })
}

fn prove(call: Call) -> Answered {
    Box::pin(async move {
        let (payer, month) = asked(&call)?;
        let node = call.node.clone();
        let proof = call
            .blocking(move || node.bill_proof(&payer, month))
            .await?;
        let unproved = |error| Problem::internal(format!("the bill could not be proved: {error}"));
        json(&proof.map_err(unproved)?)
    })
}

fn asked(call: &Call) -> Result<(AccountId, u32), Problem> {
    let caller = call.caller()?;
    caller.must_cover_all()?;
    let text = call.query.required("month")?;
    let month = text.parse().ok().filter(|month| is_month(text, *month));
    let month = month.ok_or_else(|| {
        Problem::malformed("`month` is no month; write it as yyyymm, such as 202611")
    })?;
    Ok((caller.account, month))
}

fn is_month(text: &str, month: u32) -> bool {
    text.len() == 6 && (1..=12).contains(&(month % 100))
}
